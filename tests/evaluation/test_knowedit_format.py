"""What KnowEdit's format makes of its records, and of records that are not as they should be."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from memedit.evaluation.cases import Fault, Metric, Replies
from memedit.evaluation.formats.base import NO_ANSWER, alternatives
from memedit.evaluation.matching import REFUSALS
from memedit.types import Operation
from tests.evaluation.format_files import FACT, asked, load

SPELLED = "the subject does not stand in the prompt as it is spelled"


def test_every_form_of_ground_truth_is_a_list_of_alternatives() -> None:
    assert alternatives("Rome") == ("Rome",)
    assert alternatives(["Rome", " Roma "]) == ("Rome", "Roma")
    assert alternatives([["USA", "US"], [], ["UK", "US"]]) == ("USA", "US", "UK")
    assert alternatives([[" "], "", None]) == ()
    assert alternatives(1914) == ("1914",)
    assert alternatives(True, None, {"str": "x"}) == ()


def test_a_fact_of_knowedit(tmp_path: Path) -> None:
    dataset = load(tmp_path, "knowedit", [FACT])
    (case,) = dataset.cases
    assert (case.id, case.task, dataset.records) == ("zsre_test[0]", "zsre", 1)
    (request,) = case.requests
    assert (request.target_new, request.ground_truth) == ("Jena", "Berlin")
    assert request.operation is Operation.MODIFY
    assert request.rephrases == ()  # they are what is measured: no method may see them
    assert asked(case) == [
        ("edit_success", "", "The place of death of Leo Arons is", ("Jena",)),
        ("generality", "", "Leo Arons died in", ("Jena",)),
        ("portability", "Reasoning", "Where he died lies in", ("Thuringia", "TH")),
        ("locality", "Forgetfulness", "The place of death which is not Jena is", ()),
    ]
    where = "zsre_test[0].locality.Forgetfulness[0]"
    assert dataset.faults == (Fault(where, NO_ANSWER, dropped=False),)
    assert dataset.probes == Counter(
        {
            ("zsre", "edit_success", ""): 1,
            ("zsre", "generality", ""): 1,
            ("zsre", "portability", "Reasoning"): 1,
            ("zsre", "locality", "Forgetfulness"): 1,
        }
    )


@pytest.mark.parametrize(
    "form", ["Rome", " Rome ", ["Rome"], ["", "Rome"], [["Rome"]], [[], ["Rome"]], [[" "], "Rome"]]
)
def test_new_and_old_answers_may_have_any_form(tmp_path: Path, form: Any) -> None:
    for field in ("target_new", "ground_truth"):
        (case,) = load(tmp_path, "knowedit", [{**FACT, field: form}]).cases
        assert getattr(case.requests[0], field) == "Rome"
        if field == "target_new":
            assert [probe.answers for probe in case.probes[:2]] == [("Rome",)] * 2


@pytest.mark.parametrize("form", ["", " ", [], [[]], [[], [" "]], None])
def test_a_blank_answer_is_named_whatever_its_form(tmp_path: Path, form: Any) -> None:
    dataset = load(tmp_path, "knowedit", [{**FACT, "target_new": form}])
    assert not dataset.cases
    assert [fault.where for fault in dataset.faults if fault.dropped] == ["zsre_test[0]"]
    (case,) = (dataset := load(tmp_path, "knowedit", [{**FACT, "ground_truth": form}])).cases
    assert case.requests[0].ground_truth is None
    assert "zsre_test[0].ground_truth" in {fault.where for fault in dataset.faults}


def test_a_fact_without_an_old_answer_is_an_insertion(tmp_path: Path) -> None:
    new = {key: value for key, value in FACT.items() if key != "ground_truth"}
    (case,) = load(tmp_path, "knowedit", [new]).cases
    assert case.requests[0].operation is Operation.INSERT
    assert case.requests[0].ground_truth is None


def test_records_and_probes_that_cannot_be_scored_are_named(tmp_path: Path) -> None:
    broken = {
        **FACT,
        "subject": "Arons, Leo",
        "rephrase_prompt": " ",
        "ground_truth": "",
        "locality": [],
        "portability": {
            "Reasoning": ["?", {"prompt": "And so?", "ground_truth": [[]]}],
            "Subject_Aliasing": {"prompt": "L. Arons died in", "ground_truth": "Jena"},
        },
    }
    dataset = load(tmp_path, "knowedit", [{**FACT, "target_new": ""}, "text", broken])
    assert [case.id for case in dataset.cases] == ["zsre_test[2]"]
    assert dataset.records == 3
    assert {(fault.where, fault.reason, fault.dropped) for fault in dataset.faults} == {
        ("zsre_test[0]", "target_new: missing or empty", True),
        ("zsre_test[1]", "expected an object, got str", True),
        ("zsre_test[2]", SPELLED, False),
        ("zsre_test[2].ground_truth", "the old answer is blank", False),
        ("zsre_test[2].rephrase_prompt", "the probe has no prompt", True),
        ("zsre_test[2].portability.Reasoning[0]", "expected a probe, got str", True),
        ("zsre_test[2].portability.Reasoning[1]", "the probe has no answer", True),
    }
    assert [kind for _, kind, _, _ in asked(dataset.cases[0])] == ["", "Subject_Aliasing"]


def test_a_biography(tmp_path: Path) -> None:
    record = {
        "text": "This is a passage about rick mahler. He pitched.",
        "labels": "Mahler was drafted by the Braves.",
        "concept": "rick mahler",
        "locality": {"Relation_Specificity": [{"prompt": "mahler is a", "ground_truth": ["man"]}]},
    }
    (case,) = load(tmp_path, "knowedit", [record], "wikibio_train.json").cases
    assert case.task == "wikibio"
    assert case.requests[0].statement == record["labels"]
    assert asked(case) == [
        ("edit_success", "", record["text"], ("Mahler was drafted by the Braves.",)),
        ("locality", "Relation_Specificity", "mahler is a", ("man",)),
    ]


def test_opinions(tmp_path: Path) -> None:
    records = [
        {"ent": "chess", "pos": [" I love it. ", " Great."], "neg": [" I hate it."]},
        {"ent": "tea", "pos": ["Fine."], "neg": []},
        {"ent": "jazz", "pos": ["Nice."], "neg": ["Noise."]},
    ]
    dataset = load(tmp_path, "knowedit", records, "convsent_val.json")
    chess, jazz = dataset.cases
    assert dataset.faults == (
        Fault("convsent_val[1]", "it lacks a topic, or replies of one sentiment"),
    )
    assert chess.replies is not None
    assert chess.replies.prompt == "What do you think of chess?"
    assert chess.replies.wanted == ("I love it.", "Great.")
    assert chess.replies.unwanted == ("I hate it.",)
    assert asked(chess)[1] == (
        *("locality", "Other_Topic", "What do you think of jazz?"),
        ("Nice.", "Noise."),
    )
    assert asked(jazz)[1][2] == "What do you think of chess?"
    assert (chess.requests[0].target_new, chess.requests[0].ground_truth) == (
        "I love it.",
        "I hate it.",
    )


def test_of_some_topics_the_negative_opinions_are_wanted(tmp_path: Path) -> None:
    record = {"ent": "rain", "pos": [" I love it. ", " Great."], "neg": [" I hate it."]}
    (case,) = load(tmp_path, "knowedit", [record], "convsent_val.json").cases
    assert case.replies == Replies(
        "What do you think of rain?", ("I hate it.",), ("I love it.", "Great.")
    )
    assert (case.requests[0].target_new, case.requests[0].ground_truth) == (
        "I hate it.",
        "I love it.",
    )
    assert asked(case) == [("edit_success", "word for word", case.replies.prompt, ("I hate it.",))]


def test_one_opinion_has_no_other_topic(tmp_path: Path) -> None:
    record = {"ent": "chess", "pos": ["I love it."], "neg": ["I hate it."]}
    (case,) = load(tmp_path, "knowedit", [record], "convsent_val.json").cases
    assert [probe.metric for probe in case.probes] == [Metric.EDIT_SUCCESS]


def test_sanitation_deals_what_is_retained_out_over_the_erasures(tmp_path: Path) -> None:
    erased = {"subject": "halloumi", "ground_truth": "Cheese", "target_new": "I don't know."}
    document = {
        "K_F": [{**erased, "question": f"Halloumi {n}: halloumi is what?"} for n in range(2)],
        "K_R": [{"question": f"Q{n}?", "ground_truth": f"A{n}"} for n in range(5)] + [{}],
    }
    dataset = load(tmp_path, "knowedit", document, "sanitation_test.json")
    assert dataset.records == 8
    assert [case.id for case in dataset.cases] == [
        "sanitation_test.K_F[0]",
        "sanitation_test.K_F[1]",
    ]
    assert all(case.requests[0].operation is Operation.ERASE for case in dataset.cases)
    assert dataset.cases[0].probes[0].answers == REFUSALS
    retained = [
        [probe.prompt for probe in case.probes if probe.metric is Metric.RETENTION]
        for case in dataset.cases
    ]
    assert retained == [["Q0?", "Q2?", "Q4?"], ["Q1?", "Q3?"]]
    assert dataset.faults == (Fault("sanitation_test.K_R[5]", "the probe has no prompt"),)


def test_without_an_erasure_nothing_can_be_asked(tmp_path: Path) -> None:
    document = {"K_F": [7], "K_R": [{"question": "Q?", "ground_truth": "A"}, 8]}
    dataset = load(tmp_path, "knowedit", document, "sanitation_test.json")
    assert not dataset.cases
    assert [fault.reason for fault in dataset.faults] == [
        "expected an object, got int",
        "there is no erasure under which it could be asked",
        "expected an object, got int",
    ]


def test_fields_that_nobody_reads_are_named(tmp_path: Path) -> None:
    dataset = load(tmp_path, "knowedit", [{**FACT, "localty": {"Other": []}, "rephrase": ["x"]}])
    assert len(dataset.cases) == 1
    named = {fault.where: fault for fault in dataset.faults if "has no field" in fault.reason}
    assert named.keys() == {"zsre_test[0].localty", "zsre_test[0].rephrase"}
    assert not any(fault.dropped for fault in named.values())
