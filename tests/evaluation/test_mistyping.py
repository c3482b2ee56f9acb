"""Prompts whose subject has a letter wrong."""

from __future__ import annotations

from memedit.evaluation.cases import EditCase
from memedit.evaluation.mistyping import with_typos
from memedit.evaluation.scoping import ScopeProbe
from memedit.types import EditRequest


def case(subject: str) -> EditCase:
    request = EditRequest(prompt=f"The age of {subject} is", subject=subject, target_new="7")
    return EditCase(id=subject, task="ages", requests=(request,), probes=())


def probe(text: str, number: int, *own: int) -> ScopeProbe:
    return ScopeProbe(text, "rephrase", frozenset(own), text, case=number)


CASES = [case("Ada Lovelace"), case("Bo Li")]
ASKED = [
    *(probe("How old is Ada Lovelace?", 0, 0) for _ in range(60)),
    probe("How old is Bo Li?", 1, 1),
    probe("How old is she?", 0, 0),
    probe("Where was Ada Lovelace born?", 0),
]


def test_one_letter_of_the_subject_is_wrong_and_nothing_else() -> None:
    made = with_typos(ASKED, CASES, seed=1)
    assert made.left_out == 2, "no long word, and no subject at all"
    *wrong, unrelated = made.probes
    assert unrelated == ASKED[-1]
    texts = {one.text for one in wrong}
    assert len(texts) > 10 and "How old is Ada Lovelace?" not in texts
    for text in texts:
        assert text.startswith("How old is Ada L") and text.endswith("e?")
        assert abs(len(text) - len(ASKED[0].text)) <= 1
    assert {len(text) - len(ASKED[0].text) for text in texts} == {-1, 0, 1}


def test_the_same_seed_makes_the_same_mistakes() -> None:
    assert with_typos(ASKED, CASES, seed=1) == with_typos(ASKED, CASES, seed=1)
    assert with_typos(ASKED, CASES, seed=1) != with_typos(ASKED, CASES, seed=2)
