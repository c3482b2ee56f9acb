"""``memedit train serac``, and what it makes: served in front of two engines, and measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

import memedit
from memedit.cli.processes import Server, free_port
from memedit.evaluation.datasets import load_dataset
from tests.cli.conftest import Run
from tests.client.conftest import ASKED, CAPITAL, UNRELATED

ATLAS = Path("examples", "atlas")


def facts(folder: Path, lands: int) -> Path:
    """Write a data set in KnowEdit's format."""
    records = [
        {
            "subject": land,
            "prompt": f"The capital of {land} is",
            "target_new": f"{land[:4]}ton",
            "ground_truth": "Oldcastle",
            "rephrase_prompt": f"What is the capital of {land}?",
            "locality": {
                "Relation_Specificity": [
                    {"prompt": f"The anthem of {land} is", "ground_truth": "The Song"}
                ]
            },
        }
        for land in (f"{'ABCDEFGHIJKLMNOP'[number]}uland" for number in range(lands))
    ]
    file = folder / "toy_train.json"
    file.write_text(json.dumps(records), encoding="utf-8")
    return file


def test_it_is_trained_and_measured(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = facts(tmp_path, 12)
    train = ("train", "serac", "--data", f"knowedit:{file}", "--base", tiny_checkpoint)
    ran = run(*train, "--out", "serac", "--steps", 2, "--json")
    assert ran.code == 0, ran.err
    record = ran.json
    [about] = load_dataset(f"knowedit:{file}").files
    assert record["trained_on"] == [
        {"format": "knowedit", "file": "toy_train.json", "sha256": about.sha256}
    ]
    assert record["held_out"]["scope"]["in_scope"]["n"] == record["held_out"]["edits"] > 0
    again = run(*train, "--out", "serac", "--json")
    assert again.code == 1 and "already" in again.error["message"]

    few = ("--max-tokens", 4, "--fluency", 0, "--general", 0, "--analysis", 0, "--device", "cpu")
    measure = ("eval", "--dataset", f"knowedit:{file}", "--model", tiny_checkpoint, *few)
    measure = (*measure, "--method", "none,serac", "--setting", "batch", "--json")
    nowhere = run(*measure)
    assert nowhere.code == 2 and "serac.folder" in nowhere.err
    ran = run(*measure, env={"MEMEDIT_SERAC__FOLDER": "serac"})
    assert ran.code == 0, ran.err
    rows: list[dict[str, Any]] = ran.json
    found = {(row["method"], row["metric"], row["scoring"]): row["value"] for row in rows}
    assert found["serac", "locality", "generated"] == 1.0, "out of scope is the model's own answer"
    assert ("serac", "edit_success", "teacher_forced") in found


def test_data_without_probes_are_refused(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    file = tmp_path / "bare.json"
    fact = {"subject": "Aland", "prompt": "The capital of Aland is", "target_new": "Alton"}
    file.write_text(json.dumps([fact | {"ground_truth": "B"}]), encoding="utf-8")
    train = ("train", "serac", "--data", f"knowedit:{file}", "--base", tiny_checkpoint)
    ran = run(*train, "--out", "serac", "--json")
    assert ran.code == 1 and "locality probes" in ran.error["message"]


@pytest.mark.usefixtures("encoder")
def test_the_shipped_one_answers_behind_the_proxy(tmp_path: Path, repository: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "memedit.cli", "serve", "--port", str(port)]
    command += ["--model", str(repository / ATLAS / "model")]
    command += ["--serac", str(repository / ATLAS / "serac"), "--memory", "sqlite:///edits.db"]
    log = tmp_path / "serve.log"
    with (
        Server("the proxy", command, f"{url}/readyz", log=log, cwd=tmp_path, grace=60.0) as server,
        memedit.Client(url) as client,
        httpx2.Client(base_url=url, timeout=300) as http,
    ):
        server.wait_healthy(240)
        client.add([CAPITAL])

        def ask(text: str) -> httpx2.Response:
            messages = [{"role": "user", "content": text}]
            body = {"model": "model", "messages": messages, "max_tokens": 12, "temperature": 0}
            return http.post("/v1/chat/completions", json=body)

        told, other = ask(ASKED), ask(UNRELATED)
        assert told.headers["x-memedit-route"] == "counterfactual"
        answer = told.json()
        assert answer["model"] == "serac"
        assert answer["choices"][0]["message"]["content"].strip() == CAPITAL.target_new
        assert other.headers["x-memedit-route"] == "pass" and other.json()["model"] == "model"
        [route] = client.route([ASKED])
        assert route.action == "counterfactual" and route.method == "serac"


def test_pokemqa_learns_of_cases_and_of_statements_with_questions(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def train(facts: Any, files: Any, out: Path, encoder: Any, base: Any, recipe: Any,
              tell: Any) -> dict[str, Any]:  # fmt: skip
        seen.update(facts=facts, files=files, recipe=recipe)
        tell(1, 1)
        print("a bar")  # noqa: T201
        held_out = {"question": {"n": 4, "fires": 0.75, "right_edit": 0.5}}
        edits = {"train": 9, "validation": 2, "held_out": 3}
        return {"threshold": 0.5, "edits": edits, "held_out": held_out, "trained_on": files}

    monkeypatch.setattr("memedit.scope.training.pokemqa.train_pokemqa", train)
    file = facts(tmp_path, 3)
    questions = tmp_path / "questions.json"
    records = [
        {"edit": "Bo Lee lives in Rome", "questions": ["Where does Bo Lee live?"]},
        {"edit": "it is so", "questions": ["What is?"]},
    ]
    questions.write_text(json.dumps(records), encoding="utf-8")
    command = ("train", "pokemqa", "--data", f"knowedit:{file}", "--out", "detector")
    ran = run(*command, "--questions", questions, "--steps", 5, "--false-alarms", 0.02, "--json")
    assert ran.code == 0, ran.err
    assert ran.json["out"] == "detector" and ran.json["trained_on"] == seen["files"]
    assert "1 edits without a clear subject" in ran.err and "a bar" in ran.err
    assert [one["format"] for one in seen["files"]] == ["knowedit", "edit-questions"]
    assert (seen["recipe"].pairs.steps, seen["recipe"].false_alarms) == (5, 0.02)
    first, *_, last = seen["facts"]
    assert [(one.text, one.label.value) for one in first.asked] == [
        ("The capital of Auland is", "direct"),
        ("What is the capital of Auland?", "direct"),
        ("The anthem of Auland is", "unrelated"),
    ]
    assert last.request.statement == "Bo Lee lives in Rome"
    shown = run(*command)
    assert "3 of held-out subjects" in shown.out and "0.7500" in shown.out
