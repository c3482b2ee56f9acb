"""Adapters behind a router: which prompts they are at work for, and for which edit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest

from memedit.adapters.catalog import open_adapter
from memedit.errors import InvalidInputError
from memedit.evaluation.local import LocalModel
from memedit.evaluation.prompting import Injected
from memedit.evaluation.routed import Routed
from memedit.evaluation.settings import Mode
from memedit.evaluation.treatments import Plain
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest
from tests.evaluation.test_adapted import FAR, QUICK
from tests.evaluation.toy_facts import CASES
from tests.modeling.families import tiny_model, tiny_tokenizer

EDITS = [case.requests for case in CASES[:3]]


class Named:
    """A router that sends a prompt to the edits whose subjects it names."""

    def __init__(self) -> None:
        self.live: dict[str, tuple[str, EditRequest]] = {}
        self.asked: list[str] = []

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        ids = [f"{namespace}/{len(self.live) + n}" for n in range(len(requests))]
        self.live |= {one: (namespace, r) for one, r in zip(ids, requests, strict=True)}
        return ids

    def remove(self, ids: Sequence[str]) -> None:
        for one in ids:
            del self.live[one]

    def inject(
        self, prompts: Sequence[str], chat: Sequence[bool], namespaces: Sequence[str]
    ) -> list[Injected]:
        self.asked += prompts
        return [
            Injected(
                "never asked",
                tuple(i for i, (own, r) in self.live.items() if own == space and r.subject in p),
            )
            for p, space in zip(prompts, namespaces, strict=True)
        ]


class Noted:
    """An adapter that notes for which edit it is at work; one that refuses a target."""

    by_edit: ClassVar[bool] = True

    def __init__(self) -> None:
        self.edits: tuple[EditVersion, ...] = ()
        self.told: list[Any] = []  # shared by all copies

    def learn(
        self,
        model: Any,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        *,
        edits: Sequence[EditVersion],
    ) -> None:
        if any(request.target_new == "refused" for request in requests):
            raise InvalidInputError("refused")
        self.edits += tuple(edits)

    @contextmanager
    def attached(self, model: Any) -> Iterator[Any]:
        raise AssertionError("without asking the router")
        yield

    @contextmanager
    def attached_for(self, model: Any, edit_id: str) -> Iterator[Any]:
        self.told.append(edit_id)
        yield self
        self.told.append("off")

    @contextmanager
    def prompts_end(self, positions: Sequence[int]) -> Iterator[None]:
        self.told.append(list(positions))
        yield


class Whole(Noted):
    """One to which it is all the same which edit a prompt concerns."""

    by_edit = False


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> LocalModel:
    return LocalModel.load(tiny_checkpoint, dtype="float32", device="cpu")


@pytest.mark.parametrize("kind", [Noted, Whole])
def test_at_work_only_for_the_edit_that_a_prompt_concerns(
    model: LocalModel, kind: type[Noted]
) -> None:
    router, adapter = Named(), kind()
    prompts = [EDITS[1][0].prompt, FAR[0], EDITS[0][0].prompt, EDITS[1][0].prompt]
    plain = model.generate(prompts, 4)
    with Routed("noted+router", adapter, model, router).session(EDITS, Mode.SEQUENTIAL) as session:
        ids = list(router.live)
        assert session.generate(prompts, [1, 0, 0, 1], 4) == plain
        each = [ids[1], "off", ids[0], "off"] if kind.by_edit else [ids[1], "off"]
        assert adapter.told == each
        assert session.fired(prompts, [1, 0, 0, 1]) == [{1}, frozenset(), {0}, {1}]
        adapter.told.clear()
        session.score(prompts[:2], [1, 0], ["x", "y"])
        assert adapter.told == [ids[1], [len(model.encoded(prompts[0]).ids) - 1], "off"]
        assert router.asked == prompts[:3]  # each is decided about once
    assert router.live == {} and adapter.edits == ()


def test_what_the_adapter_refused_is_asked_of_the_model_as_it_is(model: LocalModel) -> None:
    adapter = Noted()
    wrong = EDITS[1][0].model_copy(update={"target_new": "refused"})
    treatment = Routed("noted+router", adapter, model, Named())
    with treatment.session([EDITS[0], [wrong]], Mode.SEQUENTIAL) as session:
        assert isinstance(session, Plain) and session.refused == {1: "refused"}
        session.generate([wrong.prompt], [1], 2)
        assert adapter.told == [] and session.fired([wrong.prompt], [1]) == [frozenset()]
    with pytest.raises(InvalidInputError, match="in sessions"):
        treatment.edited(EDITS[0]).__enter__()


@pytest.mark.parametrize("kind", ["grace", "melo"])
def test_another_wording_gets_the_edit_that_the_router_names(kind: str) -> None:
    model = LocalModel(tiny_model("llama"), tiny_tokenizer(), name="tiny")
    adapter = open_adapter(kind, QUICK[kind]).bound(model.model)
    request = EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France")
    other = "Seven times Lyon is"
    before = model.generate([other, *FAR], 4)
    with Routed(kind, adapter, model, Named()).session([[request]], Mode.BATCH) as session:
        said = session.generate([request.prompt, other, *FAR], [0] * 4, 4)
        fed = session.score([request.prompt], [0], [request.target_new])
    assert said[0].text.startswith("France") and all(fed[0].correct)
    assert said[1] != before[0] and said[2:] == before[1:]
    assert model.generate([other, *FAR], 4) == before
