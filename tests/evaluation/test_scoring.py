"""One probe's score."""

from __future__ import annotations

import math

import pytest

from memedit.errors import InvalidInputError
from memedit.evaluation.cases import Metric, Probe
from memedit.evaluation.matching import REFUSALS
from memedit.evaluation.protocols import Forced
from memedit.evaluation.scoring import score_forced, score_generated

EDIT = Probe(Metric.EDIT_SUCCESS, "", "The capital of France is", ("Lyon", "City of Lyon"))
LOCAL = Probe(Metric.LOCALITY, "Forgetfulness", "The river of Paris is the", ("Seine",))


def test_generated_answers_are_right_or_wrong() -> None:
    assert score_generated(EDIT, " Lyon.", "Paris") == (1, "right", {"contains": 1})
    assert score_generated(EDIT, "Lyon, not Paris", "Paris") == (0, "embedded", {"contains": 1})
    assert score_generated(EDIT, "Paris", " Paris.") == (0, "old", {"contains": 0})


def test_locality_asks_whether_the_answer_stayed_right_or_wrong() -> None:
    assert score_generated(LOCAL, "Thames.", "the Thames") == (1, "right", {})
    assert score_generated(LOCAL, "Seine", "Thames") == (0, "irrelevant", {})


def test_what_has_to_stay_is_compared_with_the_answer() -> None:
    kept = Probe(Metric.RETENTION, "", "Which war began in 1914?", ("The First World War",))
    assert score_generated(kept, "First World War", "First World War").score == 1
    # The unedited model did not know it either: wrong, but not for want of an edit.
    assert score_generated(kept, "Second", "Second").verdict == "irrelevant"


def test_any_refusal_counts_where_knowledge_was_erased() -> None:
    erased = Probe(Metric.EDIT_SUCCESS, "", "What is halloumi?", REFUSALS)
    assert score_generated(erased, "I do not know", "Cheese").score == 1
    assert score_generated(erased, "Cheese", "Cheese").verdict == "old"


def test_forced_targets_are_scored_by_token() -> None:
    after = Forced((True, False), (math.log(0.5), math.log(0.1)), (1, 2))
    score, verdict, also = score_forced(EDIT, after)
    assert (score, verdict) == (0.5, "")
    assert also == {"all_tokens": 0, "log_probability": pytest.approx(math.log(0.05))}


def test_forced_locality_compares_the_argmax() -> None:
    before = Forced((True, True), (-0.1, -0.1), (5, 6))
    after = Forced((True, False), (-0.2, -3.0), (5, 9))
    assert score_forced(LOCAL, after, before) == (0.5, "", {"all_tokens": 0})
    assert score_forced(LOCAL, before, before) == (1, "", {"all_tokens": 1})
    with pytest.raises(InvalidInputError, match="unedited model's scores"):
        score_forced(LOCAL, after)


def test_an_impossible_target_gives_no_log_probability() -> None:
    after = Forced((False,), (-math.inf,), (3,))
    assert score_forced(EDIT, after) == (0, "", {"all_tokens": 0})
