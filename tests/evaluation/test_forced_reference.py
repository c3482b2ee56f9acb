"""Teacher-forced scores of a batch, against plain code that scores one row at a time.

First of pairs, then of AtlasEdit's own files, read plainly, beside the rows of ``memedit eval``.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from memedit import EditRequest
from memedit.cli.app import app
from memedit.editing.catalog import open_editor
from memedit.evaluation.forced import log_probability, token_accuracy
from memedit.evaluation.local import LocalModel
from memedit.evaluation.protocols import Forced
from memedit.modeling.forms import AutoForm

EXAMPLE = Path(__file__).parents[2] / "examples" / "atlas"

# Of many lengths, right and wrong, in words the model knows and others: a batch has to be padded.
PAIRS = [
    ("The capital of France is", "Paris"),
    ("The capital of France is", "Berlin"),
    ("The capital of the country whose official language is French is", "Paris"),
    ("Mongolia shares borders with", "Russia and China"),
    ("In Bolivia, people speak", "Spanish"),
    ("Paris", "is a city, and not a small one"),
    ("The person married to Quaeth Vaick is", "Daard Caeick"),
]


@dataclass
class Atlas:
    model: Any
    tokenizer: Any
    local: LocalModel


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    folder = EXAMPLE / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # In float64: the order in which a padded batch adds up is then no part of the comparison.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return Atlas(model, tokenizer, LocalModel(model, tokenizer, name="atlas", form="completion"))


def reference(atlas: Atlas, prompt: str, target: str) -> tuple[float, float, list[int]]:
    """Return token accuracy (equation 10), log-probability and argmax of one target."""
    ids = atlas.tokenizer(f"{prompt} {target}")["input_ids"]
    asked = atlas.tokenizer(prompt)["input_ids"]
    return scored_plainly(atlas, asked, ids)


def chat_reference(atlas: Atlas, prompt: str, target: str) -> tuple[float, float, list[int]]:
    """Return the same, with the prompt as a user's turn and the target as the answer to it."""
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": target}]
    render = atlas.tokenizer.apply_chat_template
    text, whole = (render(t, tokenize=False) for t in (turns[:1], turns))
    text, whole = f"{text}<|assistant|>", whole.removesuffix("<|end|>")
    asked, ids = (
        atlas.tokenizer(one, add_special_tokens=False)["input_ids"] for one in (text, whole)
    )
    return scored_plainly(atlas, asked, ids)


def scored_plainly(
    atlas: Atlas, asked: list[int], ids: list[int]
) -> tuple[float, float, list[int]]:
    start = len(asked)
    assert ids[:start] == asked and len(ids) > start
    with torch.no_grad():
        logits = atlas.model(torch.tensor([ids])).logits[0].double()
    right, total, best = 0, 0.0, []
    for place in range(start, len(ids)):
        row = logits[place - 1]
        best.append(int(row.argmax()))
        right += best[-1] == ids[place]
        total += float(row[ids[place]] - row.logsumexp(0))
    return right / len(best), total, best


def test_a_batch_scores_as_one_row_at_a_time_does(atlas: Atlas) -> None:
    scored = atlas.local.score([prompt for prompt, _ in PAIRS], [target for _, target in PAIRS])
    expected = [reference(atlas, prompt, target) for prompt, target in PAIRS]
    for got, (accuracy, total, best) in zip(scored, expected, strict=True):
        assert got.accuracy == pytest.approx(accuracy, abs=1e-9)
        assert log_probability(got) == pytest.approx(total, abs=1e-6)
        assert list(got.predicted) == best
    mean = sum(accuracy for accuracy, _, _ in expected) / len(expected)
    assert token_accuracy(scored) == pytest.approx(mean, abs=1e-9)
    assert 0 < mean < 1, "the pairs no longer tell right from wrong"


def test_a_distribution_is_whole_and_agrees_with_the_score(atlas: Atlas) -> None:
    prompts, targets = [prompt for prompt, _ in PAIRS], [target for _, target in PAIRS]
    scored: list[Forced] = atlas.local.score(prompts, targets)
    rows = atlas.local.log_probabilities(prompts, targets)
    for got, logs in zip(scored, rows, strict=True):
        assert logs.shape == (len(got.predicted), atlas.model.config.vocab_size)
        assert np.exp(logs.astype(np.float64)).sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert logs.argmax(axis=1).tolist() == list(got.predicted)
        said = [row[best] for row, best in zip(logs, got.predicted, strict=True)]
        for right, mine, of_target in zip(got.correct, said, got.log_probability, strict=True):
            assert of_target <= mine + 1e-5
            assert not right or of_target == pytest.approx(float(mine), abs=1e-5)


TASKS = ("zsre", "wiki_recent", "wiki_counterfact")
FIELDS = {"edit_success": "prompt", "generality": "rephrase_prompt"}
Records = dict[str, list[dict[str, Any]]]
Rows = dict[tuple[str, str], float]


def some_of_atlasedit(each: int, tasks: tuple[str, ...]) -> Records:
    """Return records of AtlasEdit's files, evenly spaced, without their other probes."""
    chosen = {}
    for task in tasks:
        file = EXAMPLE / "data" / "atlasedit" / f"{task}_test.json"
        there = json.loads(file.read_text(encoding="utf-8"))
        picked = [there[place * len(there) // each] for place in range(each)]
        others = {"portability": {}, "locality": {}}
        chosen[task] = [{**record, **others} for record in picked]
    return chosen


def rows_of_eval(folder: Path, records: Records, *arguments: str) -> Rows:
    """Run ``memedit eval`` in float64; returns (task, metric) -> value."""
    (folder / "data").mkdir()
    for task, listed in records.items():
        (folder / "data" / f"{task}_test.json").write_text(json.dumps(listed), encoding="utf-8")
    command = ["eval", "--dataset", f"atlasedit:{folder / 'data'}", "--json"]
    command += ["--model", str(EXAMPLE / "model"), "--dtype", "float64", "--device", "cpu"]
    command += ["--cache", str(folder / "kept"), "--max-tokens", "1"]
    command += ["--general", "0", "--fluency", "0", "--analysis", "0"]
    done = CliRunner().invoke(app, [*command, *arguments])
    assert done.exit_code == 0, done.output
    return {
        (row["task"], row["metric"]): row["value"]
        for row in json.loads(done.stdout)
        if row["scoring"] == "teacher_forced" and not row["kind"]
    }


def expected_rows(atlas: Atlas, records: Records, form: str) -> Rows:
    """Return what the rows should be: means over the cases of a task, of one probe each."""
    values: dict[tuple[str, str], list[float]] = {}
    for task, listed in records.items():
        for record, (metric, field) in itertools.product(listed, FIELDS.items()):
            prompt = record[field]
            chat = form == "chat" or (form == "auto" and prompt.endswith("?"))
            scored = (chat_reference if chat else reference)(atlas, prompt, record["target_new"])
            values.setdefault((task, metric), []).append(scored[0])
            values.setdefault((task, f"{metric}_log_probability"), []).append(scored[1])
            values.setdefault((task, f"{metric}_all_tokens"), []).append(float(scored[0] == 1))
    return {key: sum(found) / len(found) for key, found in values.items()}


@pytest.mark.parametrize("form", ["completion", "chat", "auto"])
def test_the_rows_of_eval_are_those_of_plain_code(form: str, atlas: Atlas, tmp_path: Path) -> None:
    records = some_of_atlasedit(7, TASKS)
    rows = rows_of_eval(tmp_path, records, "--method", "none", "--form", form)
    expected = expected_rows(atlas, records, form)
    assert rows == pytest.approx(expected, abs=1e-6)
    accuracies = [expected[task, metric] for task in TASKS for metric in FIELDS]
    assert any(0 < value < 1 for value in accuracies), "they no longer tell right from wrong"


def test_the_rows_of_an_edited_model_are_those_of_plain_code(atlas: Atlas, tmp_path: Path) -> None:
    """Two edits in the weights at once, as ``ft-m`` makes them; plain code scores them again."""
    records = some_of_atlasedit(1, TASKS[:2])
    rows = rows_of_eval(tmp_path, records, "--method", "ft-m", "--setting", "batch")
    unedited = expected_rows(atlas, records, "auto")
    requests = [
        EditRequest(
            prompt=record["prompt"], subject=record["subject"], target_new=record["target_new"]
        )
        for task in sorted(records)  # the order in which files are read
        for record in records[task]
    ]
    editor = open_editor("ft-m", prompt_form=AutoForm.of(atlas.tokenizer))
    delta = editor.edit(atlas.model, atlas.tokenizer, requests)
    with delta.applied(atlas.model):
        expected = expected_rows(atlas, records, "auto")
    # the two edits do not contradict each other, so that no prompt is left out
    cleaned = {key: rows.pop(key) for key in [*rows] if key[1].endswith("_cleaned")}
    assert len(cleaned) == 2 * len(records)
    assert all(rows[task, of.removesuffix("_cleaned")] == n for (task, of), n in cleaned.items())
    assert rows == pytest.approx(expected, abs=1e-6)
    for task in records:
        told = (task, "edit_success_log_probability")
        assert expected[told] > unedited[told] + 1, "the edit moved nothing"
