"""Adapters under evaluation: at work inside a session, and gone without a trace after it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import torch

from memedit.adapters.catalog import open_adapter
from memedit.errors import InvalidInputError
from memedit.evaluation.adapted import Adapted, without_contradictions
from memedit.evaluation.local import LocalModel
from memedit.evaluation.settings import Mode
from memedit.evaluation.treatments import Plain
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES
from tests.modeling.families import tiny_model, tiny_tokenizer

EDITS = [case.requests for case in CASES[:4]]
FAR = ["Seven times eight is", "Who wrote the old book?"]


class Noted:
    """An adapter that notes what it is told."""

    def __init__(self) -> None:
        self.held: tuple[str, ...] = ()
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
        self.told.append(("learn", len(self.held), len(requests)))
        self.held += tuple(edit.id for edit in edits)

    @contextmanager
    def attached(self, model: Any) -> Iterator[Self]:
        if self.held:
            self.told.append(("on", len(self.held)))
        yield self
        if self.held:
            self.told.append(("off", len(self.held)))

    @contextmanager
    def prompts_end(self, positions: Sequence[int]) -> Iterator[None]:
        self.told.append(list(positions))
        yield


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> LocalModel:
    return LocalModel.load(tiny_checkpoint, dtype="float32", device="cpu")


def test_what_a_setting_learns_together(model: LocalModel) -> None:
    adapter = Noted()
    treatment = Adapted("noted", adapter, model)
    with treatment.session(EDITS, Mode.BATCH) as session:
        assert session.scores
    assert adapter.told == [("learn", 0, 4), ("on", 4), ("off", 4)]
    adapter.told.clear()
    with treatment.session(EDITS, Mode.SEQUENTIAL):
        adapter.told.append("asked")
    learned = [("learn", n, 1) for n in range(4)]
    assert adapter.told == [*learned, ("on", 4), "asked", ("off", 4)]
    assert adapter.held == () and treatment.cost.edits == 8
    assert treatment.cost.seconds > 0 and treatment.cost.added_bytes is not None
    with pytest.raises(InvalidInputError, match="got 4 cases"):
        treatment.session(EDITS, Mode.SINGLE).__enter__()


def test_a_sequence_passes_over_what_is_refused(model: LocalModel) -> None:
    adapter = Noted()
    refused = EDITS[1][0].model_copy(update={"target_new": "refused"})
    treatment = Adapted("noted", adapter, model)
    # the second of these is learned with its case or not at all
    sequence = [EDITS[0], [EDITS[1][0], refused], EDITS[2]]
    with treatment.session(sequence, Mode.SEQUENTIAL) as session:
        assert isinstance(session, Plain) and session.refused == {1: "refused"}
    assert adapter.told[-2:] == [("on", 2), ("off", 2)]
    with pytest.raises(InvalidInputError, match="refused"):
        treatment.session(sequence, Mode.BATCH).__enter__()


def test_scored_prompts_are_told_to_end_where_they_end(model: LocalModel) -> None:
    adapter = Noted()
    with Adapted("noted", adapter, model).session(EDITS[:1], Mode.SINGLE) as session:
        adapter.told.clear()
        session.score(["one", "four"], [0, 0], ["x", "y"])
        lengths = [len(model.encoded(prompt).ids) for prompt in ("four", "one")]
        assert adapter.told == [[n - 1 for n in lengths]]
    adapter.told.clear()
    model.score(["one"], ["x"])
    assert adapter.told == []


def test_inner_blocks_learn_beside_the_outer_ones(model: LocalModel) -> None:
    adapter = Noted()
    treatment = Adapted("noted", adapter, model)
    with treatment.edited(EDITS[0]) as outer:
        assert outer is model
        with treatment.edited(EDITS[1]):
            pass
        with (
            pytest.raises(InvalidInputError),
            treatment.edited([EDITS[1][0].model_copy(update={"target_new": "refused"})]),
        ):
            raise AssertionError("never reached")
        adapter.told.append("outer")
    assert adapter.told == [
        *[("learn", 0, 1), ("on", 1)],
        *[("off", 1), ("learn", 1, 1), ("on", 2), ("off", 2), ("on", 1)],
        *[("off", 1), ("on", 1), "outer", ("off", 1)],
    ]


def test_two_answers_to_one_prompt_are_learned_one_after_the_other() -> None:
    one = EDITS[0][0]
    answers = [one.model_copy(update={"target_new": t}) for t in ("a", "b", "b", "a")]
    other = EDITS[1][0]
    assert without_contradictions([answers[0], other, *answers[1:]]) == [
        [answers[0], other],
        [answers[1], answers[2]],
        [answers[3]],
    ]
    assert without_contradictions([]) == []


QUICK: dict[str, dict[str, Any]] = {
    "grace": {"layer": 1, "search": {"steps": 60, "enough": 1.6}},
    "melo": {"layer": 0, "training": {"steps": 40, "enough": 1.6}},
    "lora": {"training": {"steps": 120, "enough": 1.6}},
}


@pytest.mark.parametrize("kind", list(QUICK))
@pytest.mark.parametrize("mode", [Mode.BATCH, Mode.SEQUENTIAL])
def test_sessions_with_real_adapters(kind: str, mode: Mode) -> None:
    model = LocalModel(tiny_model("llama"), tiny_tokenizer(), name="tiny")
    adapter = open_adapter(kind, QUICK[kind]).bound(model.model)
    requests = [
        EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
        EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
    ]
    asked = [*(request.prompt for request in requests), *FAR]
    targets = [*(request.target_new for request in requests), "xy", "z"]
    before = copy.deepcopy(model.model.state_dict())
    said, fed = model.generate(FAR, 6), model.score(FAR, targets[2:])
    treatment = Adapted(kind, adapter, model)
    with treatment.session([[one] for one in requests], mode) as session:
        answers = session.generate(asked, [0, 1, 0, 1], 6)
        scores = session.score(asked, [0, 1, 0, 1], targets)
        whole = session.log_probabilities(asked, [0, 1, 0, 1], targets)
    new = slice(0 if adapter.scoped or mode is Mode.BATCH else 1, 2)  # a LoRA forgets in a sequence
    for answer, target, forced in list(zip(answers, targets, scores, strict=True))[new]:
        assert answer.text.startswith(target) and all(forced.correct)
    for forced, logs in zip(scores, whole, strict=True):
        assert forced.predicted == tuple(logs.argmax(-1).tolist())
    if adapter.scoped:
        assert answers[2:] == said
        for now, old in zip(scores[2:], fed, strict=True):
            assert now.predicted == old.predicted
            assert now.log_probability == pytest.approx(old.log_probability, abs=1e-5)
    after = model.model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert model.generate(FAR, 6) == said and adapter.edits == ()
