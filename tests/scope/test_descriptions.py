"""Descriptions in a prompt: what they are by grammar, and what the classifier makes of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import RouteQuery
from memedit.scope.base import Encoder, ScopeInput
from memedit.scope.descriptions import descriptions
from memedit.scope.pair import PairClassifier
from memedit.scope.pair_input import HIDDEN
from memedit.types import Candidate, Edit, EditRequest, QueryText, ScopeDecision, ScopeLabel
from memedit.wiring import open_router


@pytest.mark.parametrize(
    ("prompt", "described"),
    [
        ("The birthplace of the author of X is", ["The author of X is"]),
        ("The person married to X is the person who leads", ["The person married to X is"]),
        ("Which currency is used in the country where X is located?",
         ["The country where X is located is"]),
        ("The city where X was born is the capital of", ["The city where X was born is"]),
        ("The boss of the company that X founded is", ["The company that X founded is"]),
        ("The capital of the country whose king is X is", ["The country whose king is X is"]),
        ("Who is X's mother's employer?", ["X's mother is"]),
        # the innermost first
        ("The mayor of the birthplace of the author of X is",
         ["The author of X is", "The birthplace of the author of X is"]),
    ],
)  # fmt: skip
def test_what_is_described_by_a_name_can_be_asked_for(prompt: str, described: list[str]) -> None:
    found = descriptions(prompt.replace("X", HIDDEN, 1))
    assert [one.replace(HIDDEN, "X") for one in found] == described


@pytest.mark.parametrize(
    "prompt",
    [
        "The capital of X is",
        "What is the name of the capital of X?",
        "Can you tell me who the author of X is?",
        "Which city serves as the capital of X?",
        "The person who is the king of X is called",
        "The country in which X lies is",
        "Who heads the city of X?",  # says what X is
        "The company X is run from",
        "What is the age of X Hilton?",  # the name goes on
        "In the orchestra, X plays the",
        "Who was X married to?",
        "Is the capital of X Lyon?",
        "Was the author of X born in France?",  # read as a whole
        "What is the capital of X? A. Lyon B. Paris",
        "Which of these is the capital of X, Lyon or Paris",
        "The capital of Spain is",
        "The birthplace of the author of X is " + "very " * 100,
    ],
)
def test_what_asks_for_nothing_more_describes_nothing(prompt: str) -> None:
    assert descriptions(prompt.replace("X", HIDDEN, 1)) == ()


@pytest.fixture(scope="module")
def judged() -> PairClassifier:
    return PairClassifier()


def decide(classifier: PairClassifier, prompt: str, edit: tuple[str, str, str]) -> ScopeDecision:
    asked, subject, target = edit
    request = EditRequest(prompt=asked, subject=subject, target_new=target)
    stored = Edit(
        id="e-000000000001", version=1, namespace="default", request=request,
        statement=f"{asked} {target}", created_at=datetime.now(UTC),
    )  # fmt: skip
    candidate = Candidate(stored, similarity=0.9, matched=asked, named=True)
    [[decision]] = classifier.classify([ScopeInput(QueryText(prompt), (candidate,))])
    assert decision.direct + decision.dependent + decision.unrelated == pytest.approx(1, abs=1e-5)
    return decision


CAPITAL = ("The capital of Quendoria is", "Quendoria", "Lindhaven")
EMPLOYER = ("The company that employs Ina Vorn is", "Ina Vorn", "Kestrel Foods")
LEADS = ("Ansa Dorn is the head of state of", "Ansa Dorn", "Quendoria")
PARTNER = ("The partner of Torm Bell is", "Torm Bell", "Ina Vorn")


@pytest.mark.parametrize(
    ("prompt", "edit"),
    [
        # the cross-encoder takes these for what the edit answers
        ("The capital of Quendoria belongs to", CAPITAL),
        ("On the map, the capital city of Quendoria is in", CAPITAL),
        ("The company that employs Ina Vorn was set up by", EMPLOYER),
        # and these for something else
        ("The country whose head of state is Ansa Dorn's currency is the", LEADS),
        ("The person married to Torm Bell's employer is", PARTNER),
    ],
)
def test_a_prompt_leans_on_an_edit_that_answers_its_description(
    judged: PairClassifier, prompt: str, edit: tuple[str, str, str]
) -> None:
    decision = decide(judged, prompt, edit)
    assert decision.label is ScopeLabel.DEPENDENT
    assert decision.dependent > decision.direct


def test_an_edits_own_prompt_and_one_that_only_looks_like_two_stay_direct(
    judged: PairClassifier,
) -> None:
    seat = ("The government of Quendoria sits in", "Quendoria", "Velden")
    for edit in (CAPITAL, EMPLOYER, LEADS, PARTNER, seat):
        assert decide(judged, edit[0], edit).label is ScopeLabel.DIRECT
    assert decide(judged, seat[0], CAPITAL).label is ScopeLabel.DIRECT
    # what is described is not what the edit says
    assert decide(judged, "The age of the mayor of Quendoria is", CAPITAL).direct < 0.1


def test_an_own_prompt_of_several_hops_is_answered_by_its_edit(encoder: Encoder) -> None:
    prompt = "The home town of the head of state of Quendoria is"
    home = EditRequest(prompt=prompt, subject="Quendoria", target_new="Velden")
    with EditMemory.open("sqlite://", encoder) as memory:
        memory.add([home])
        router = open_router(memory, Settings.read(flags={}))
        for beside in (None, "The head of state of Quendoria is"):
            if beside is not None:
                memory.add([EditRequest(prompt=beside, subject="Quendoria", target_new="Ansa")])
            [route] = router.decide([RouteQuery(QueryText(prompt.lower() + "?"))])
            assert [one.candidate.edit.request for one in route.applied] == [home]
            assert route.applied[0].label is ScopeLabel.DIRECT
        [silenced] = router.decide([RouteQuery(QueryText(prompt), threshold=1.0)])
        assert not silenced.applied
