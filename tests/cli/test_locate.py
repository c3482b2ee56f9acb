"""memedit locate: a trace, a proposal, where it is kept, a plot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.modeling.locate import load_site
from tests.cli.conftest import Run

FACTS: list[Any] = [
    {"prompt": "The mayor of Paris is", "subject": "Paris", "ground_truth": [["Anne", "A."]]},
    {"prompt": "Who leads Lyon?", "subject": "Lyon", "ground_truth": "Bruno"},
    {"prompt": "Rome is in", "subject": "Rome", "attribute": "Italy"},
    {"prompt": "Nobody is in", "subject": "Atlantis", "attribute": "water"},
    {"prompt": "Bern is in", "subject": "Bern", "target_new": "Italy"},
]
ALL_KNOWN = ("--threshold", "0", "--samples", "1")


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    file = tmp_path / "facts.json"
    file.write_text(json.dumps(FACTS))
    return file


def test_it_proposes_layers_and_keeps_them(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    cache, plot = tmp_path / "sites", tmp_path / "trace.svg"
    ran = run(
        *("locate", tiny_checkpoint, "--prompts", facts, "--cache", cache, "--plot", plot),
        *(*ALL_KNOWN, "--json"),
    )
    assert ran.code == 0, ran.err
    found = ran.json
    trace, site = found["trace"], found["site"]
    assert (trace["asked"], trace["known"], len(found["unread"])) == (4, 3, 1)
    assert "Atlantis" in trace["skipped"][0]["reason"]
    assert "attribute or ground_truth" in found["unread"][0]["reason"]
    mlp = [
        c["effect"] for c in trace["cells"] if (c["kind"], c["position"]) == ("mlp", "subject_last")
    ]
    assert site["layer"] == mlp.index(max(mlp)) and site["effects"] == mlp
    kept = load_site(site["fingerprint"], cache)
    assert (
        kept is not None and kept.layer == site["layer"] and found["stored"].startswith(str(cache))
    )
    assert "<svg" in plot.read_text()


def test_the_table_says_what_was_traced_and_where_it_is_kept(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    arguments = ("locate", tiny_checkpoint, "--prompts", facts, *ALL_KNOWN, "--limit", "2")
    ran = run(*arguments, env={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    assert ran.code == 0, ran.err
    assert "2 of 2 facts traced" in ran.out and "hidden" in ran.out and "mlp" in ran.out
    assert f"kept in {tmp_path / 'cache' / 'memedit' / 'sites'}" in " ".join(ran.out.split("\n"))


def test_without_prompts_it_says_what_to_give(run: Run, tiny_checkpoint: Path) -> None:
    ran = run("locate", tiny_checkpoint, "--json", env={"MEMEDIT_ATLASEDIT": "nowhere"})
    assert ran.code == 2
    assert "--prompts is missing" in ran.error["message"] and "known_1000" in ran.error["message"]


def test_without_prompts_it_takes_the_reference_models_facts(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    ran = run(
        *("locate", tiny_checkpoint, "--cache", tmp_path, "--limit", "3", *ALL_KNOWN, "--json"),
    )
    assert ran.code == 0, ran.err
    assert ran.json["trace"]["asked"] == 3


def test_what_cannot_be_used_is_said_before_anything_is_kept(
    run: Run, tiny_checkpoint: Path, facts: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "sites"
    common = ("locate", tiny_checkpoint, "--cache", cache, "--json")
    for arguments, words in (
        (("--prompts", facts, "--plot", "trace.gif"), "end its name in .svg"),
        (("--prompts", tmp_path / "none.json"), "cannot be read as JSON"),
        (("--prompts", facts, "--threshold", "1"), "can be traced"),
        (("--prompts", facts, "--window", "5", *ALL_KNOWN), "1 to 2 layers"),
    ):
        ran = run(*common, *arguments)
        assert ran.code == 1 and words in ran.error["message"], ran.err
    empty = tmp_path / "empty.json"
    empty.write_text('[{"prompt": "x"}]')
    assert "no fact to trace" in run(*common, "--prompts", empty).error["message"]
    empty.write_text("{}")
    assert "expected a JSON list" in run(*common, "--prompts", empty).error["message"]
    assert not cache.exists()
