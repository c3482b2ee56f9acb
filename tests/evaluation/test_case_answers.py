"""Every answer in the real benchmark files counts: each is read again, plainly, and looked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from memedit.evaluation.cases import Dataset, Metric
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.matching import exact, normalised
from memedit.evaluation.trace_prompts import read_trace_prompts
from memedit.types import Operation

pytestmark = pytest.mark.data

Load = Callable[[str], Dataset]


@pytest.fixture(scope="module")
def load(data: Path) -> Load:
    """Read a file of KnowEdit once for all tests."""
    return cache(lambda stem: load_dataset(f"knowedit:{data / 'knowedit' / stem}.json"))


def read_plainly(data: Path, stem: str) -> Any:
    return json.loads((data / "knowedit" / f"{stem}.json").read_text(encoding="utf-8"))


def texts(value: Any) -> Iterator[str]:
    """Go through every text of a ground truth, whatever its form."""
    if isinstance(value, str):
        if value.strip():
            yield value
    else:
        for inner in value:
            yield from texts(inner)


def form_of(value: Any) -> str:
    """Name the form of a ground truth: str, blank, or a list with the forms of what it holds."""
    if isinstance(value, str):
        return "str" if value.strip() else "blank"
    return f"[{','.join(sorted({form_of(inner) for inner in value}))}]"


def counts_as_right(value: Any, answers: tuple[str, ...]) -> tuple[int, int]:
    """Ask of each text in a ground truth whether it would be right.

    Returns how many there are, and how many of them are signs alone: an alias of nothing but full
    stops cannot be told from silence.
    """
    signs_alone = 0
    for alias in (found := list(texts(value))):
        assert alias.strip() in answers
        if normalised(alias):
            assert exact(alias, answers)
        else:
            signs_alone += 1
    return len(found), signs_alone


# File: (aliases of probes at least, forms of their ground truths).
PROBES = {
    "zsre_dev": (1_900, {"str", "[str]"}),
    "wiki_counterfact_train": (4_000, {"str", "blank"}),
    "wiki_recent_train": (6_000, {"[[str]]", "[[],[str]]", "[[]]"}),
    "wikibio_train": (900, {"[str]"}),
}


@pytest.mark.parametrize("stem", PROBES)
def test_every_alias_of_every_probe_counts_as_its_answer(stem: str, data: Path, load: Load) -> None:
    """Read the JSON again, plainly, and ask of each alias in it whether it would be right."""
    document = read_plainly(data, stem)
    cases = load(stem).cases
    checked, signs_alone, forms = 0, 0, set()
    for record, case in zip(document, cases, strict=True):
        for metric in (Metric.PORTABILITY, Metric.LOCALITY):
            for kind, probes in record.get(metric, {}).items():
                mine = [p for p in case.probes if (p.metric, p.kind) == (metric, kind)]
                for probe, read in zip(probes, mine, strict=True):
                    assert read.prompt == probe["prompt"].strip()
                    n, signs = counts_as_right(probe["ground_truth"], read.answers)
                    assert len(read.answers) <= n and bool(read.answers) is bool(n)
                    checked, signs_alone = checked + n, signs_alone + signs
                    forms.add(form_of(probe["ground_truth"]))
    at_least, all_forms = PROBES[stem]
    assert checked > at_least
    assert signs_alone <= checked / 1_000
    assert forms == all_forms


# File: the field that says what the edit makes true, and the forms of its and of the old answers.
TARGETS = {
    "zsre_dev": ("target_new", {"str"}, {"[str]"}),
    "wiki_counterfact_train": ("target_new", {"str"}, {"str", "blank"}),
    "wiki_recent_train": ("target_new", {"str"}, set()),
    "wikibio_train": ("labels", {"str"}, set()),
}


@pytest.mark.parametrize("stem", TARGETS)
def test_every_new_and_old_answer_of_an_edit_is_read(stem: str, data: Path, load: Load) -> None:
    field, target_forms, old_forms = TARGETS[stem]
    document = read_plainly(data, stem)
    dataset = load(stem)
    own = (Metric.EDIT_SUCCESS, Metric.GENERALITY)
    for record, case in zip(document, dataset.cases, strict=True):
        [request] = case.requests
        assert request.target_new == next(texts(record[field])).strip()
        asked = [probe for probe in case.probes if probe.metric in own]
        assert len(asked) == 1 + ("rephrase_prompt" in record)
        for probe in asked:
            assert counts_as_right(record[field], probe.answers) == (len(probe.answers), 0)
        old = [text.strip() for text in texts(record.get("ground_truth", []))]
        assert request.ground_truth == (old[0] if old else None)
    assert {form_of(record[field]) for record in document} == target_forms
    old_answers = [record["ground_truth"] for record in document if "ground_truth" in record]
    assert {form_of(value) for value in old_answers} == old_forms
    named = [fault for fault in dataset.faults if fault.where.endswith("].ground_truth")]
    assert len(named) == sum(form_of(value) == "blank" for value in old_answers)


def test_all_that_is_erased_and_retained_is_read(data: Path, load: Load) -> None:
    document = read_plainly(data, "sanitation_train")
    cases = load("sanitation_train").cases
    for record, case in zip(document["K_F"], cases, strict=True):
        [request] = case.requests
        assert request.operation is Operation.ERASE
        assert (request.target_new, request.ground_truth) == (
            record["target_new"].strip(),
            record["ground_truth"].strip(),
        )
        [erased] = [probe for probe in case.probes if probe.metric is Metric.EDIT_SUCCESS]
        assert erased.prompt == record["question"].strip()
        assert counts_as_right(record["target_new"], erased.answers) == (1, 0)
        assert not exact(record["ground_truth"], erased.answers)
    retained = [
        [probe for probe in case.probes if probe.metric is Metric.RETENTION] for case in cases
    ]
    for number, record in enumerate(document["K_R"]):
        probe = retained[number % len(cases)][number // len(cases)]
        assert probe.prompt == record["question"].strip()
        for field in ("ground_truth", "target_new"):
            assert counts_as_right(record[field], probe.answers)[0] == 1


def test_every_reply_of_both_sentiments_is_read(data: Path, load: Load) -> None:
    document = read_plainly(data, "convsent_val")
    cases = load("convsent_val").cases
    n, positive = 0, 0
    for place, (record, case) in enumerate(zip(document, cases, strict=True)):
        assert case.replies is not None
        side = "pos" if case.requests[0].target_new == record["pos"][0].strip() else "neg"
        positive += side == "pos"
        for mine, field in (
            (case.replies.wanted, side),
            (case.replies.unwanted, "neg" if side == "pos" else "pos"),
        ):
            found, signs_alone = counts_as_right(record[field], mine)
            assert (len(mine), signs_alone) == (len({text.strip() for text in record[field]}), 0)
            n += found
        said, other = case.probes
        assert said.answers == case.replies.wanted
        following = document[(place + 1) % len(document)]
        assert following["ent"].strip() in other.prompt
        assert counts_as_right([following["pos"], following["neg"]], other.answers)[0] == 20
    assert n == 20 * len(cases)
    assert 0.4 < positive / len(cases) < 0.6


def test_facts_to_trace_are_read(data: Path) -> None:
    file = data / "known_1000" / "known_1000.json"
    document = json.loads(file.read_text(encoding="utf-8"))
    prompts, faults = read_trace_prompts(file)
    assert len(prompts) == len(document) == 1_209 and not faults
    for record, read in zip(document, prompts, strict=True):
        assert (read.prompt, read.subject, read.answer) == (
            record["prompt"],
            record["subject"],
            record["attribute"],
        )
        assert read.subject in read.prompt
    assert read_trace_prompts(file, limit=5)[0] == prompts[:5]
