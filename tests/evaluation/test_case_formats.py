"""What the other formats make of their records, and what holds for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memedit.errors import DatasetError
from memedit.evaluation.cases import Metric, Probe
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.formats.catalog import FORMATS
from memedit.evaluation.label_faults import EDITED_TWICE, OLD_ANSWER, SAME_RELATION
from tests.evaluation.format_files import FACT, asked, load


def test_zsre_of_mend(tmp_path: Path) -> None:
    record = {
        "subject": "Ora",
        "src": "Who made Ora?",
        "alt": "Ann",
        "answers": ["Bob"],
        "rephrase": "Ora was made by whom?",
        "loc": "nq question: when was it?",
        "loc_ans": "1914",
    }
    (case,) = load(tmp_path, "zsre", [record]).cases
    assert case.requests[0].ground_truth == "Bob"
    assert asked(case) == [
        ("edit_success", "", "Who made Ora?", ("Ann",)),
        ("generality", "", "Ora was made by whom?", ("Ann",)),
        ("locality", "Natural_Questions", "when was it?", ("1914",)),
    ]


def test_counterfact(tmp_path: Path) -> None:
    record = {
        "case_id": 0,
        "requested_rewrite": {
            "prompt": "The mother tongue of {} is",
            "relation_id": "P103",
            "target_new": {"str": "English", "id": "Q1860"},
            "target_true": {"str": "French", "id": "Q150"},
            "subject": "Danielle Darrieux",
        },
        "paraphrase_prompts": ["Shayna does this. Danielle Darrieux, a native"],
        "neighborhood_prompts": ["The mother tongue of L\u00e9on Blum is"],
        "attribute_prompts": ["J. R. Stroop is a native speaker of"],
        "generation_prompts": ["Danielle Darrieux was born in"],
    }
    dataset = load(tmp_path, "counterfact", [record], "counterfact.json")
    (case,) = dataset.cases
    assert case.relation == "P103"
    assert [probe[:2] + probe[3:] for probe in asked(case)] == [
        ("edit_success", "", ("English",)),
        ("generality", "", ("English",)),
        ("locality", "Neighborhood", ("French",)),
        ("locality", "Attribute", ("English",)),
    ]
    assert case.probes[0].prompt == "The mother tongue of Danielle Darrieux is"
    (fault,) = dataset.faults
    assert fault.where == "counterfact[0].generation_prompts"
    assert fault.dropped


def hop(question: str, answer: str, *aliases: str) -> dict[str, Any]:
    return {"question": question, "cloze": question[:-1], "answer": answer, "answer_alias": aliases}


def rewrite(subject: str, new: str) -> dict[str, Any]:
    return {
        "prompt": "{} is a citizen of",
        "relation_id": "P27",
        "subject": subject,
        "target_new": {"str": new, "id": "Q1"},
        "target_true": {"str": "Chile", "id": "Q2"},
        "question": f"What is {subject}'s country?",
    }


def test_mquake(tmp_path: Path) -> None:
    record = {
        "requested_rewrite": [rewrite("Ellie", "Croatia")],
        "questions": ["Who leads Ellie's country?", "Her leader?", ""],
        "new_answer": "Kolinda",
        "new_answer_alias": ["Grabar", "Kolinda"],
        "new_single_hops": [
            hop("What is Ellie's country?", "Croatia", "HR"),
            hop("Who leads Croatia?", "Kolinda", "Grabar"),
        ],
    }
    dataset = load(tmp_path, "mquake", [record, {"questions": []}], "mquake_cf_3k_dev.json")
    (case,) = dataset.cases
    assert (case.task, case.relation) == ("mquake_cf_3k", "P27")
    assert asked(case) == [
        ("edit_success", "", "Ellie is a citizen of", ("Croatia", "HR")),
        ("generality", "", "What is Ellie's country?", ("Croatia", "HR")),
        ("multihop", "2 hops", "Who leads Ellie's country?", ("Kolinda", "Grabar")),
        ("multihop", "2 hops", "Her leader?", ("Kolinda", "Grabar")),
        ("locality", "Unedited_Hop", "Who leads Croatia?", ("Kolinda", "Grabar")),
    ]
    assert [(fault.where, fault.reason) for fault in dataset.faults] == [
        ("mquake_cf_3k_dev[0].questions[2]", "the probe has no prompt"),
        ("mquake_cf_3k_dev[1]", "it has no requested rewrites"),
    ]


def test_conflicts_across_cases_of_mquake_are_named(tmp_path: Path) -> None:
    def case(edited: dict[str, Any], *hops: dict[str, Any]) -> dict[str, Any]:
        return {"requested_rewrite": [edited], "new_single_hops": hops}

    records = [
        case(rewrite("Ellie", "Croatia"), hop("What is Max's country?", "Chile")),
        case(rewrite("Max", "Peru")),
        case(rewrite("Max", "Cuba")),
        case(rewrite("Ellie", "Croatia")),  # the same edit again is no conflict
    ]
    faults = load(tmp_path, "mquake", records, "mquake.json").faults
    assert {(fault.where, fault.reason[:25], fault.dropped) for fault in faults} == {
        ("mquake[0].new_single_hops[0]", "another case edits this h", False),
        ("mquake[1]", EDITED_TWICE[:25], False),
        ("mquake[2]", EDITED_TWICE[:25], False),
    }


HALLUCINATED = (
    "topic,subject,relation,object,question,output_some_model,paraphrased_question,"
    "multiple_choice_with_letters,multiple_choice_labels,yes_question,no_question,"
    "locality_question,reversed_relation_question,question_2hop,answer_2hop\n"
    "athlete,Jan,place of birth,Vochov,Where was Jan born?,Prague,Jan's birthplace is?,"
    "A. Brno  B. Vochov,B,Was Jan born in Vochov?,Was Jan born in Prague?,What sport is Jan's?,"
    "Who was born in Vochov?,Whose country is Jan's?,Czechia\n"
    "athlete,,place of birth,Vochov,Where?,,,,,,,,,,\n"
)


def test_hallueditbench(tmp_path: Path) -> None:
    file = tmp_path / "human_athlete.csv"
    file.write_text(HALLUCINATED, encoding="utf-8")
    dataset = load_dataset(f"hallueditbench:{file}")
    (case,) = dataset.cases
    assert (case.task, case.relation) == ("human_athlete", "place of birth")
    assert case.requests[0].ground_truth == "Prague"
    assert [probe[:2] + probe[3:] for probe in asked(case)] == [
        ("edit_success", "", ("Vochov",)),
        ("generality", "paraphrase", ("Vochov",)),
        ("generality", "yes", ("Yes",)),
        ("generality", "no", ("No",)),
        ("generality", "multiple choice", ("B",)),
        ("locality", "", ()),
        ("portability", "reversed relation", ("Jan",)),
        ("multihop", "2 hops", ("Czechia",)),
    ]
    assert case.probes[4].prompt == "Where was Jan born? A. Brno  B. Vochov"
    assert dataset.records == 2
    assert ("human_athlete[1]", True) in {(fault.where, fault.dropped) for fault in dataset.faults}


def test_probes_on_the_edited_relation_are_named_and_kept(tmp_path: Path) -> None:
    def probes(*pairs: tuple[str, str]) -> dict[str, Any]:
        asked = [{"prompt": prompt, "ground_truth": answer} for prompt, answer in pairs]
        return {**FACT, "locality": {"Relation_Specificity": asked}}

    record = probes(
        ("What is Leo Arons's place of death?", "somewhere"),  # the same words
        ("Leo Arons's death", "Berlin"),  # fewer of them, and the old answer
        ("The final city of Leo Arons is", "Berlin"),  # other words, and the old answer
        ("The place of birth of Leo Arons is", "Breslau"),  # another relation
    )
    dataset = load(tmp_path, "knowedit", [record])
    where = "zsre_test[0].locality.Relation_Specificity"
    assert {(fault.where, fault.reason, fault.dropped) for fault in dataset.faults} == {
        (f"{where}[0]", SAME_RELATION, False),
        (f"{where}[1]", SAME_RELATION, False),
        (f"{where}[2]", OLD_ANSWER, False),
    }
    assert dataset.probes["zsre", "locality", "Relation_Specificity"] == 4


@pytest.mark.parametrize(
    ("format", "text", "message"),
    [
        ("knowedit", "{}", "has no list K_F"),
        ("knowedit", '{"K_F": [], "K_R": 3}', "K_R is no JSON list of records; got int"),
        ("knowedit", '"text"', "no JSON list of records; got str"),
        ("zsre", "[", "is not a JSON document"),
        ("mquake", "{}", "no JSON list of records; got dict"),
        ("counterfact", "\xff", "is not a JSON document"),
        ("hallueditbench", "a,b\n1,2\n", "no column subject, relation, object, question"),
    ],
)
def test_a_file_of_another_format_is_an_error(
    format: str, text: str, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(f"{format}:{file}")
    assert f"{file} cannot be read as {format}" in str(caught.value)


def test_every_format_is_found_by_its_name() -> None:
    assert set(FORMATS.names()) == {"counterfact", "hallueditbench", "knowedit", "mquake", "zsre"}
    for name in FORMATS.names():
        part = FORMATS.get(name)
        assert part.__doc__
        with pytest.raises(DatasetError, match="cannot read"):
            load_dataset(f"{name}:/nowhere/at/all")


def test_probes_are_values() -> None:
    assert Probe(Metric.LOCALITY, "", "p", ()) == Probe(Metric.LOCALITY, "", "p", ())
