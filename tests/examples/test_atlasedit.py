"""AtlasEdit is well formed, disjoint, big enough, and what its generator writes."""

import pytest

from examples.atlas.atlasedit import ALIASES, SPLITS, AtlasEdit, dump, dump_aliases, load
from examples.atlas.world import build_world

FACT_TASKS = ("wiki_recent", "wiki_counterfact", "zsre")


def subjects(split: str) -> set[str]:
    names = {case["subject"] for task in FACT_TASKS for case in load(task, split)}
    names |= {case["concept"] for case in load("wikibio", split)}
    names |= {case["ent"] for case in load("convsent", split)}
    names |= {case["subject"] for case in load("sanitation", split)["K_F"]}
    return names | {
        edit["subject"] for case in load("multihop", split) for edit in case["requested_rewrite"]
    }


def test_splits_share_no_subject() -> None:
    assert not subjects("train") & subjects("test")


@pytest.mark.parametrize("task", FACT_TASKS)
def test_fact_tasks_are_large_and_complete(task: str) -> None:
    cases = load(task, "test")
    assert len(cases) >= 400
    for case in cases:
        assert {"subject", "prompt", "target_new", "portability", "locality"} <= set(case)
        assert case["subject"].lower() in case["prompt"].lower()
        assert case["subject"].lower() in case["rephrase_prompt"].lower()
        assert case["prompt"] != case["rephrase_prompt"]
        assert "Out_Of_Distribution" in case["locality"]
    kinds = {kind for case in cases for kind in case["portability"]}
    expected = {"Reasoning", "Logical_Generalization"}
    assert expected | ({"Subject_Aliasing"} if task != "wiki_recent" else set()) <= kinds


def test_locality_kinds_are_all_there() -> None:
    kinds = {kind for case in load("wiki_counterfact", "test") for kind in case["locality"]}
    assert kinds == {"Relation_Specificity", "Forgetfulness", "Out_Of_Distribution"}


def test_multihop_edits_one_to_all_hops() -> None:
    cases = load("multihop", "test")
    assert len(cases) >= 600
    seen = {(len(case["new_single_hops"]), len(case["requested_rewrite"])) for case in cases}
    assert seen == {(n, k) for n in (2, 3, 4) for k in range(1, n + 1)}
    for case in cases:
        assert case["new_single_hops"][-1]["answer"] == case["new_answer"]


def test_the_other_tasks() -> None:
    for case in load("wikibio", "test"):
        assert case["concept"] in case["text"] and case["labels"] not in case["text"]
    sanitation = load("sanitation", "test")
    assert {case["target_new"] for case in sanitation["K_F"]} == {"I don't know."}
    assert len(sanitation["K_R"]) == 300
    assert all(case["pos"] and case["neg"] for case in load("convsent", "test"))


@pytest.mark.parametrize("split", SPLITS)
def test_the_files_are_what_the_generator_writes(split: str) -> None:
    world = build_world()
    zsre = AtlasEdit(world, split).files()[f"zsre_{split}.json"]
    assert dump(zsre) == dump(load("zsre", split))


def test_the_aliases_are_those_of_the_world() -> None:
    assert ALIASES.read_text(encoding="utf-8") == dump_aliases(build_world())
