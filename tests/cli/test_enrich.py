"""``memedit enrich``, and writes of the command line where the settings say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.cli import enriching
from memedit.memory import EditMemory
from memedit.routing.steps import NeedUpstream, UpstreamReply
from tests.cli.conftest import Run

TEMPLATES = {"MEMEDIT_MEMORY__ENRICH": "templates"}
MODEL = {"MEMEDIT_MEMORY__ENRICH": "model"}
ASKED = "Where do foreign ambassadors to Quendoria have their offices?"


def add(run: Run, name: str = "Quendoria", env: dict[str, str] | None = None) -> dict[str, Any]:
    more = ("Lindhaven", "--subject", name, "--json")
    edit: dict[str, Any] = run("add", f"The capital of {name} is", *more, env=env).json
    return edit


def generated(run: Run) -> dict[str, list[str]]:
    return {one["ref"]: one["texts"] for one in run("enrich", "--list", "--json").json}


def test_edits_that_are_there_get_questions_and_lose_them_again(run: Run) -> None:
    first, other = add(run), add(run, "Marovia")
    assert generated(run) == {}
    ran = run("enrich", "--method", "templates", "--json")
    assert ran.code == 0 and (ran.json["enriched"], ran.json["questions"]) == (2, 16)
    found = generated(run)
    assert set(found) == {f"{first['id']}@1", f"{other['id']}@1"}
    assert "What is the capital of Quendoria?" in found[f"{first['id']}@1"]
    # once more: there is nothing left; anew: all of them
    assert run("enrich", "--method", "templates", "--json").json["enriched"] == 0
    env = TEMPLATES | {"MEMEDIT_MEMORY__ENRICH_QUESTIONS": "2"}
    assert run("enrich", "--anew", "--json", env=env).json["questions"] == 4
    [hit] = run("search", "Quendoria's capital is", "-k", "1", "--json").json
    assert hit["matched"] == "Quendoria's capital is" and hit["similarity"] > 0.999
    assert run("verify").code == 0
    assert "capital" not in run("enrich", "--method", "templates").out
    assert run("enrich", "--method", "none", "--json").json == {"removed_from": 2}
    assert generated(run) == {} and run("verify").code == 0


def test_only_a_namespace(run: Run) -> None:
    add(run)
    run("add", "The capital of Marovia is", "Velden", "-s", "Marovia", "-n", "wiki")
    ran = run("enrich", "--method", "templates", "-n", "wiki", "--json")
    assert ran.json["enriched"] == 1
    [texts] = generated(run).values()
    assert all("Marovia" in text for text in texts)
    assert "Marovia" in run("enrich", "--list", "-n", "wiki").out
    assert run("enrich", "--list", "-n", "default", "--json").json == []


def test_what_is_written_with_the_setting_is_enriched_and_exported_as_it_was(run: Run) -> None:
    edit = add(run, env=TEMPLATES)
    assert ASKED in generated(run)[f"{edit['id']}@1"]
    line = json.loads(run("export").out)
    assert set(line) == {"prompt", "subject", "target_new", "namespace"}
    said = ("The ruler of Quendoria is", "Ana Bok", "--subject", "Quendoria")
    assert run("supersede", edit["id"], *said, env=TEMPLATES).code == 0
    [(ref, texts)] = generated(run).items()
    assert ref == f"{edit['id']}@2" and ASKED not in texts
    assert "Who is the ruler of Quendoria?" in texts or "Quendoria's ruler is" in texts
    run("retract", edit["id"], env=TEMPLATES)
    assert generated(run) == {} and run("verify").code == 0


def test_an_import_is_enriched_once(run: Run, tmp_path: Path) -> None:
    add(run)
    run("export", "edits.jsonl")
    Path("memedit.db").unlink()
    for _ in range(2):
        assert run("import", "edits.jsonl", env=TEMPLATES).code == 0
    [texts] = generated(run).values()
    assert ASKED in texts


def test_a_model_that_does_not_answer_fails_no_write(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    env = MODEL | {"MEMEDIT_SERVE__UPSTREAM": "http://127.0.0.1:1"}
    edits = [
        add(run, name, env) for name in ("Quendoria", "Marovia", "Zarkania", "Tamsin", "Velden")
    ]
    assert len({edit["id"] for edit in edits}) == 5 and all(
        edit["status"] == "live" for edit in edits
    )
    assert "Quendoria" not in caplog.text and edits[0]["id"] in caplog.text
    ran = run("enrich", "--json", env=env)
    # given up after a few in a row
    assert ran.code == 1 and ran.json["failed"] == enriching.MOST_FAILURES and not generated(run)
    bad = MODEL | {"MEMEDIT_SERVE__UPSTREAM": "nowhere"}
    assert run("enrich", "--json", env=bad).code == 2
    assert add(run, "Lemuria", bad)["status"] == "live"  # the write itself wants no model
    assert "base URL" in caplog.text


def test_a_model_that_answers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from contextlib import nullcontext

    def ask(need: NeedUpstream) -> UpstreamReply:
        if need.path == "/v1/models":
            return UpstreamReply(200, b'{"data": [{"id": "m"}]}')
        content = "1. Name the capital of Quendoria.\n2. What is the capital of France?"
        body = {"choices": [{"message": {"content": content}}]}
        return UpstreamReply(200, json.dumps(body).encode())

    monkeypatch.setattr("memedit.enrichment.open_asker", lambda settings: nullcontext(ask))
    edit = add(run)
    ran = run("enrich", "--method", "model", "--json").json
    assert (ran["questions"], ran["rejected"]) == (1, 1)
    assert generated(run) == {f"{edit['id']}@1": ["Name the capital of Quendoria."]}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("enrich",), "memory.enrich is none"),
        (("enrich", "--method", "magic"), "magic"),
        (("enrich", "--method", "templates", "--memory", "sqlite:///nothing.db"), "no edit memory"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: tuple[str, ...], said: str) -> None:
    add(run)
    ran = run(*arguments)
    assert ran.code in (1, 2) and said in ran.err and len(ran.err.splitlines()) == 1


def test_eval_scope_measures_with_them(run: Run, tmp_path: Path) -> None:
    case = {
        "subject": "Quendoria",
        "prompt": "The capital of Quendoria is",
        "target_new": "Lindhaven",
        "ground_truth": "Velden",
        "rephrase_prompt": ASKED,
        "locality": {
            "Relation_Specificity": [{"prompt": "The anthem of Marovia is", "ground_truth": "Hail"}]
        },
        "portability": {},
    }
    Path("cases.json").write_text(json.dumps([case]))
    command = ("eval", "scope", "--dataset", "knowedit:cases.json", "--classifier", "cosine")
    rows = {}
    for how in ("none", "templates"):
        ran = run(*command, "--enrich", how, "--json")
        assert ran.code == 0, ran.err
        rows[how] = {row["kind"]: row for row in ran.json if row["threshold_from"] == "shipped"}
    kind = next(kind for kind, row in rows["none"].items() if row["recall"] is not None)
    assert rows["none"][kind]["recall"] == 0 and rows["templates"][kind]["recall"] == 1
    assert "8 questions for 1 edits" in ran.err


def test_a_running_memory_finds_what_the_command_stored(run: Run, encoder: Any) -> None:
    with EditMemory.open("sqlite:///memedit.db", encoder) as memory:
        add(run)
        assert run("enrich", "--method", "templates").code == 0
        assert memory.search(ASKED)[0].matched == ASKED
