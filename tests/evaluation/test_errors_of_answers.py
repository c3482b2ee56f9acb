"""In which way an answer is wrong: the rules by example."""

from __future__ import annotations

import pytest

from memedit.evaluation.errors_of_answers import Verdict, judge


@pytest.mark.parametrize(
    ("answer", "expected", "verdict"),
    [
        ("Dublin", ("Dublin",), Verdict.RIGHT),
        ("the USSR.", ("Soviet Union", "USSR"), Verdict.RIGHT),
        ("", ("Dublin",), Verdict.MEANINGLESS),
        ("\n,.", ("Dublin",), Verdict.MEANINGLESS),
        ("of the", ("Dublin",), Verdict.MEANINGLESS),
        ("the a of the", ("The Mummy",), Verdict.MEANINGLESS),
        ("Dub Dub Dub", ("Dublin",), Verdict.MEANINGLESS),
        ("so New York New York New York", ("New York",), Verdict.MEANINGLESS),
        ("Dublin, the capital of Ireland", ("Dublin",), Verdict.EMBEDDED),
        ("It is not Dublin", ("Cork", "Dublin"), Verdict.EMBEDDED),
        ("Oxford", ("University of Oxford",), Verdict.MISSING),
        ("University Oxford", ("University of Oxford",), Verdict.MISSING),
        ("Oxford University", ("University of Oxford",), Verdict.PARTIAL),
        ("University of Cambridge", ("University of Oxford",), Verdict.PARTIAL),
        ("Bank of England", ("University of Oxford",), Verdict.IRRELEVANT),
        ("Lyon", ("Dublin",), Verdict.IRRELEVANT),
        ("I", ("Henry I",), Verdict.MISSING),  # a function word that the target is made of
    ],
)
def test_kinds_of_answers(answer: str, expected: tuple[str, ...], verdict: Verdict) -> None:
    assert judge(answer, expected) is verdict


def test_the_alias_that_comes_nearest_decides() -> None:
    assert judge("Soviet", ("USSR", "Soviet Union")) is Verdict.MISSING
    assert judge("the old USSR", ("Soviet Union", "USSR")) is Verdict.EMBEDDED


def test_an_edit_that_did_not_take_is_told_from_a_wrong_one() -> None:
    assert judge("Paris", ("Dublin",), base="Paris.") is Verdict.OLD
    assert judge("Lyon", ("Dublin",), base="Paris.") is Verdict.IRRELEVANT
    assert judge("Paris", ("Paris",), base="Paris.") is Verdict.RIGHT


def test_two_empty_answers_agree() -> None:
    assert judge("", ("",)) is Verdict.RIGHT
