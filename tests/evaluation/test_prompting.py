"""In-context treatments: which edits are stored for whom, what reaches the model, what is left."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation.prompting import InContext, Injected
from memedit.evaluation.protocols import Answer, Forced
from memedit.evaluation.settings import Mode
from memedit.evaluation.treatments import Among
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES, LANDS

EDITS = [case.requests for case in CASES[:3]]
PROMPTS = [case.requests[0].prompt for case in CASES[:3]]


class Notes:
    """An edit memory that writes the target of an edit in front of its very prompt."""

    def __init__(self, refuses: str = "") -> None:
        self.live: dict[str, tuple[str, EditRequest]] = {}
        self.added: list[tuple[str, ...]] = []
        self.decided: list[tuple[str, str]] = []
        self.refuses = refuses

    def add(self, requests: Sequence[EditRequest], namespace: str) -> list[str]:
        ids = []
        self.added.append(tuple(request.subject for request in requests))
        for request in requests:
            if request.subject == self.refuses:
                raise InvalidInputError(f"will not store {request.subject}")
            ids.append(f"edit-{len(self.added)}-{request.subject}")
            self.live[ids[-1]] = (namespace, request)
        return ids

    def remove(self, ids: Sequence[str]) -> None:
        for one in ids:
            del self.live[one]

    def inject(
        self, prompts: Sequence[str], chat: Sequence[bool], namespaces: Sequence[str]
    ) -> list[Injected]:
        self.decided += zip(prompts, namespaces, strict=True)
        found = []
        for prompt, space in zip(prompts, namespaces, strict=True):
            edits = [
                (one, request)
                for one, (where, request) in self.live.items()
                if (where, request.prompt) == (space, prompt)
            ]
            told = "".join(f"{request.target_new}. " for _, request in edits)
            found.append(Injected(f"{told}{prompt}", tuple(one for one, _ in edits)))
        return found


class Parrot:
    """Says the text that reached it; a question would be a chat turn."""

    name, fingerprint, scores = "parrot", "parrot", True

    def is_chat(self, prompt: str) -> bool:
        return prompt.endswith("?")

    def generate(
        self,
        prompts: Sequence[str],
        max_new_tokens: int,
        *,
        min_new_tokens: int = 0,
        chat: Sequence[bool],
    ) -> list[Answer]:
        pairs = zip(prompts, chat, strict=True)
        return [Answer(f"{text}{' (chat)' if one else ''}", True, len(text)) for text, one in pairs]

    def score(
        self, prompts: Sequence[str], targets: Sequence[str], *, chat: Sequence[bool]
    ) -> list[Forced]:
        pairs = zip(prompts, targets, strict=True)
        return [Forced((target in text,), (-1.0,), (0,)) for text, target in pairs]


def texts(answers: Sequence[Answer]) -> list[str]:
    return [answer.text for answer in answers]


@pytest.mark.parametrize(
    ("mode", "added"),
    [(Mode.BATCH, [LANDS[:3]]), (Mode.SEQUENTIAL, [(land,) for land in LANDS[:3]])],
)
def test_edits_that_are_in_force_together_reach_whoever_asks(
    mode: Mode, added: list[tuple[str, ...]]
) -> None:
    notes = Notes()
    treatment = InContext("ice", notes, Parrot())
    told = [f"New {land}. {prompt}" for land, prompt in zip(LANDS, PROMPTS, strict=False)]
    with treatment.session(EDITS, mode) as session:
        assert notes.added == added
        # The owners are turned round: every case is told of every edit that answers its prompt.
        assert texts(session.generate(PROMPTS, [2, 0, 1], 8)) == told
        assert session.fired(PROMPTS, [2, 0, 1]) == [frozenset({n}) for n in range(3)]
        fed = session.score(PROMPTS, [0, 1, 2], [f"New {land}" for land in LANDS[:3]])
        assert [one.correct for one in fed] == [(True,)] * 3
        assert len(notes.decided) == 3, "decided about once, not for every question anew"
        few = Among(session, [2, 0])
        assert texts(few.generate([PROMPTS[1]], [0], 8)) == [told[1]]
        assert few.fired(PROMPTS[1:], [0, 0]) == [frozenset({-1}), frozenset({0})]
    assert notes.live == {}
    assert treatment.cost.edits == 3


def test_single_edits_reach_their_own_case_alone() -> None:
    notes = Notes()
    with InContext("ice", notes, Parrot()).session(EDITS, Mode.SINGLE) as session:
        assert texts(session.generate([PROMPTS[0]] * 2, [0, 1], 8)) == [
            f"New {LANDS[0]}. {PROMPTS[0]}",
            PROMPTS[0],
        ]
        assert session.fired([PROMPTS[0]] * 2, [0, 1]) == [frozenset({0}), frozenset()]
    assert notes.live == {}


def test_a_chat_turn_stays_one_whatever_was_written_into_it() -> None:
    question = EditRequest(prompt="Where is Orvel?", subject="Orvel", target_new="North")
    with InContext("ice", Notes(), Parrot()).session([(question,)], Mode.BATCH) as session:
        assert texts(session.generate(["Where is Orvel?"], [0], 8)) == [
            "North. Where is Orvel? (chat)"
        ]


def test_blocks_nest_and_go_in_turn() -> None:
    notes = Notes()
    treatment = InContext("ice", notes, Parrot())
    with treatment.edited(EDITS[0]) as outer:
        with treatment.edited(EDITS[1]) as inner:
            assert texts(inner.generate(PROMPTS[:2], 8)) == [
                f"New {land}. {prompt}" for land, prompt in zip(LANDS, PROMPTS[:2], strict=False)
            ]
            assert inner.score(PROMPTS[:1], [f"New {LANDS[0]}"])[0].correct == (True,)
        assert len(notes.live) == 1
        assert texts(outer.generate(PROMPTS[1:2], 8)) == PROMPTS[1:2]
    assert notes.live == {}
    with treatment.edited(EDITS[2]) as apart:
        assert texts(apart.generate(PROMPTS[:1], 8)) == PROMPTS[:1]


def test_what_was_stored_before_a_refusal_is_taken_back() -> None:
    notes = Notes(refuses=LANDS[2])
    session = InContext("ice", notes, Parrot()).session(EDITS, Mode.SEQUENTIAL)
    with pytest.raises(InvalidInputError, match="will not store Valdoria"), session:
        raise AssertionError("never reached")
    assert notes.live == {} and len(notes.added) == 3
