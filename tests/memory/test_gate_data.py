"""What the gate loses and saves on the benchmarks' files: the numbers of docs/scope.md."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from memedit.indexes.name_gate import NameGate
from memedit.memory.gating import let_through
from memedit.types import EditRequest

Asked = list[tuple[EditRequest, list[str]]]
"""Edits, each with prompts that mean it."""

pytestmark = pytest.mark.data


def load(data: Path, file: str) -> Any:
    return json.loads((data / file).read_text(encoding="utf-8"))


def edit(prompt: str, subject: str) -> EditRequest:
    return EditRequest(prompt=prompt, subject=subject, target_new="another")


def asked_in(data: Path, name: str) -> Asked:
    if name == "zsre":
        records = load(data, "knowedit/zsre_dev.json")
        return [(edit(it["prompt"], it["subject"]), [it["rephrase_prompt"]]) for it in records]
    if name == "counterfact":
        records = load(data, "knowedit/wiki_counterfact_train.json")
        by_alias = [it["portability"].get("Subject_Aliasing", ()) for it in records]
        return [
            (edit(it["prompt"], it["subject"]), [probe["prompt"] for probe in probes])
            for it, probes in zip(records, by_alias, strict=True)
        ]
    if name == "mend":
        records = load(data, "zsre/zsre_mend_train_10000.json")
        return [(edit(it["src"], it["subject"]), [it["rephrase"]]) for it in records]
    if name == "mquake":
        rewrites = [
            it
            for case in load(data, "mquake/mquake_cf_3k_dev.json")
            for it in case["requested_rewrite"]
        ]
        return [
            (edit(it["prompt"].format(it["subject"]), it["subject"]), [it["question"]])
            for it in rewrites
        ]
    asked = []
    for file in sorted((data / "hallueditbench").glob("*.csv")):
        with file.open(encoding="utf-8", newline="") as lines:
            for row in csv.DictReader(lines):
                request = edit(row["question"], row["subject"])
                asked.append((request, [row["paraphrased_question"]]))
    return asked


@pytest.mark.parametrize(
    ("name", "lost", "n"),
    [
        ("zsre", 7, 652),
        ("mend", 0, 10_000),
        ("mquake", 0, 2_988),
        ("hallueditbench", 0, 1_185),
        ("counterfact", 171, 1_410),  # by names that the edits do not have as aliases
    ],
)
def test_paraphrases_that_name_their_subject_in_no_part(
    data: Path, name: str, lost: int, n: int
) -> None:
    held, count = 0, 0
    for request, prompts in asked_in(data, name):
        gate = NameGate()
        let_through(gate, 0, request)
        held += sum(not gate.passes(prompt) for prompt in prompts)
        count += len(prompts)
    assert (held, count) == (lost, n)


@pytest.mark.parametrize(
    ("name", "edits", "stopped"),
    [("zsre", 10, 0.99), ("zsre", 100, 0.96), ("zsre", 652, 0.74), ("mend", 10_000, 0.10)],
)
def test_ordinary_questions_that_it_stops(
    data: Path, name: str, edits: int, stopped: float
) -> None:
    gate = NameGate()
    for key, (request, _) in enumerate(asked_in(data, name)[:edits]):
        let_through(gate, key, request)
        if gate.held_open:
            gate.remove(key)  # the one edit whose prompt spells its subject in another way
    questions = load(data, "entityquestions/entityquestions_dev_6000.json")
    held = sum(not gate.passes(it["question"]) for it in questions)
    assert round(held / len(questions), 2) == stopped
