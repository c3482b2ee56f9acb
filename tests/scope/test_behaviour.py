"""How each classifier behaves, with the real encoder: what holds for all, and what was measured.

``MEASURED`` documents, right or wrong, which subjects' edits fire on a prompt; a classifier that
is added gets a column of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import Route, RouteQuery
from memedit.scope.base import Encoder
from memedit.types import EditRequest, Operation, QueryText
from memedit.wiring import open_router

FACTS = [
    ("The capital of Quendoria is", "Quendoria", "Lindhaven"),
    ("The capital of Marovia is", "Marovia", "Velden"),
    ("The age of Paris is", "Paris", "2,300 years"),
    ("The mayor of Paris is", "Paris", "Ansa"),
    ("The spouse of Ada Lovelace is", "Ada Lovelace", "Tamsin"),
]

Q, M, P = "Quendoria", "Marovia", "Paris"
PROMPTS = {
    "plain": ["What is the capital of Quendoria?", "How old is Paris?"],
    "in other words": [
        "Quendoria is governed from",
        "What city does the government of Marovia have its seat in?",
        "Who is Ada Lovelace married to?",
        "For how many years has Paris existed?",
    ],
    "a letter wrong": [
        "Who is the spouse of Ada Lovelave?",
        "Who is Ada Lvoelace married to?",
        "What is the capital of Quendora?",
        "What is the capital of Marowia?",
    ],
    "another relation": [
        "What is the largest city of Quendoria?",
        "Who was Ada Lovelace's mother?",
        "How many people live in Paris?",
    ],
    "negation": [
        "Which city is not the capital of Quendoria?",
        "Do not tell me what the capital of Quendoria is.",
        "Name a city that is not the capital of Quendoria.",
    ],
    "a longer name": [
        "What is the age of Paris Hilton?",
        "Where was Paris Hilton born?",
        "Who is the mayor of Paris, Texas?",
    ],
    "two subjects": [
        "What are the capitals of Quendoria and Marovia?",
        "Who is the mayor of Paris, and who is the spouse of Ada Lovelace?",
    ],
    "other languages": [
        "Was ist die Hauptstadt von Quendoria?",
        "Quelle est la capitale de la Quendoria ?",
        "¿Cuál es la capital de Quendoria?",
        "Quendoriaの首都はどこですか?",
    ],
}
"""By what they try, in the order of MEASURED."""

MEASURED: dict[str, dict[str, list[set[str]]]] = {
    "cosine": {
        "plain": [{Q}, {P}],
        # other words are another sentence
        "in other words": [set(), set(), {"Ada Lovelace"}, set()],
        # another letter makes another word; of a short prompt the rest carries it
        "a letter wrong": [set(), set(), {Q}, set()],
        "another relation": [set(), set(), set()],
        # similarity hardly sees a "not": it fires on most of them, though none asks the fact
        "negation": [{Q}, {Q}, set()],
        # a longer name makes another sentence of it; "Paris, Texas" is just below the threshold
        "a longer name": [set(), set(), set()],
        # half of a prompt about each is near enough to neither: both are missed
        "two subjects": [set(), set()],
        # the default encoder knows English
        "other languages": [set(), set(), set(), set()],
    },
    "pair": {
        "plain": [{Q}, {P}],
        "in other words": [{Q}, {M}, {"Ada Lovelace"}, {P}],
        # of a shorter name of one word nothing else would say that it is meant
        "a letter wrong": [{"Ada Lovelace"}, {"Ada Lovelace"}, {Q}, set()],
        "another relation": [set(), set(), set()],
        # it reads what is asked about, not whether the answer is wanted
        "negation": [{Q}, {Q}, {Q}],
        # another head word makes another name; but a comma ends a name
        "a longer name": [set(), set(), {P}],
        # each mention is judged by itself
        "two subjects": [{Q, M}, {P, "Ada Lovelace"}],
        # never trained on: words like "capital" carry it, or nothing does
        "other languages": [{Q}, {Q}, {Q}, set()],
    },
}

Decide = Callable[[str], Route]


@pytest.fixture(params=sorted(MEASURED))
def classifier(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def memory(encoder: Encoder) -> Iterator[EditMemory]:
    with EditMemory.open("sqlite://", encoder) as opened:
        yield opened


@pytest.fixture
def decide(memory: EditMemory, classifier: str) -> Decide:
    router = open_router(memory, Settings.read(flags={"scope": {"classifier": classifier}}))
    return lambda text: router.decide([RouteQuery(QueryText(text))])[0]


def facts() -> list[EditRequest]:
    return [
        EditRequest(prompt=prompt, subject=subject, target_new=target)
        for prompt, subject, target in FACTS
    ]


@pytest.mark.parametrize("kind", PROMPTS)
def test_which_edits_fire(memory: EditMemory, classifier: str, decide: Decide, kind: str) -> None:
    memory.add(facts())
    fired = [
        {one.candidate.edit.request.subject for one in decide(prompt).applied}
        for prompt in PROMPTS[kind]
    ]
    assert fired == MEASURED[classifier][kind]


def test_what_is_no_longer_live_never_fires(memory: EditMemory, decide: Decide) -> None:
    first, second, *_ = memory.add(facts())
    erasing = EditRequest(
        prompt="The treasure of Quendoria lies in",
        subject="Quendoria",
        target_new="I don't know.",
        operation=Operation.ERASE,
    )
    [erased] = memory.add([erasing])
    asked = {first.id: FACTS[0][0], second.id: FACTS[1][0], erased.id: erasing.prompt}
    for edit, prompt in asked.items():
        assert [ref.partition("@")[0] for ref in decide(prompt).edit_ids] == [edit]
    for edit, prompt in asked.items():
        memory.retract(edit)
        route = decide(prompt)
        assert route.edit_ids == ()
        assert edit not in {one.candidate.edit.id for one in route.considered}


def test_before_and_after_its_validity_an_edit_never_fires(
    memory: EditMemory, decide: Decide
) -> None:
    now, hour = datetime.now(UTC), timedelta(hours=1)
    over, later, current = facts()[:3]
    memory.add([over], valid_to=now - hour)
    memory.add([later], valid_from=now + hour)
    memory.add([current], valid_from=now - hour, valid_to=now + hour)
    fired = [decide(request.prompt).edit_ids != () for request in (over, later, current)]
    assert fired == [False, False, True]


def test_a_superseded_version_never_fires(memory: EditMemory, decide: Decide) -> None:
    [old] = memory.add([facts()[0]])
    new = memory.supersede(old.id, old.request.model_copy(update={"target_new": "Oster"}))
    assert decide(old.request.prompt).edit_ids == (new.ref,)
    moved = EditRequest(prompt="The anthem of Marovia is", subject="Marovia", target_new="Dawn")
    newest = memory.supersede(old.id, moved)
    assert decide(old.request.prompt).edit_ids == (), "it asks nothing that the newest answers"
    assert decide(moved.prompt).edit_ids == (newest.ref,)
