"""memedit moments: taken once, in shares, gone on with, and found by memedit bake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.modeling.moments import SecondMoment
from tests.cli.conftest import Run


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    file = tmp_path / "corpus.txt"
    file.write_text("\n\n".join(f"The river number {n} runs to the sea." for n in range(9)))
    return file


def moment(folder: Path) -> SecondMoment:
    [file] = folder.rglob("layer-1.safetensors")
    return SecondMoment.load(file)


def test_shares_add_up_to_what_one_process_takes(
    run: Run, tiny_checkpoint: Path, corpus: Path, tmp_path: Path
) -> None:
    for source in (("--corpus", corpus), ("--texts", 150)):
        kept = tmp_path / source[0].strip("-")
        common = ("moments", tiny_checkpoint, *source, "--layer", 1, "--json", "--cache")
        whole = run(*common, kept / "whole")
        assert whole.code == 0 and whole.json["missing_shares"] == [], whole.err
        for share, missing in (("3/3", [1, 2]), ("1/3", [2]), ("2/3", [])):
            ran = run(*common, kept / "parts", "--share", share)
            assert ran.code == 0 and ran.json["missing_shares"] == missing, ran.err
        one, three = moment(kept / "whole"), moment(kept / "parts")
        assert (one.tokens, one.texts) == (three.tokens, three.texts)
        assert whole.json["tokens"] == {"1": one.tokens}
        assert float((one.total - three.total).norm() / one.total.norm()) < 1e-5
        assert not list((kept / "parts").rglob("running*"))


def test_bake_takes_what_was_kept_and_words_say_what_is_wanted(
    run: Run,
    tiny_checkpoint: Path,
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    common = ("moments", tiny_checkpoint, "--corpus", corpus, "--texts", 8, "--layer", 0)
    half = run(*common, "--share", "1/2")
    assert half.code == 0 and "share 1/2 is done; still wanted: 2/2" in half.out
    assert "layer 0: over" in run(*common, "--share", "2/2").out

    def never(*args: Any, **more: Any) -> Any:
        raise AssertionError("taken again")

    monkeypatch.setattr("memedit.editing.statistics.collect_moments", never)
    assert run(*common).code == 0
    edits = tmp_path / "edits.jsonl"
    edits.write_text(json.dumps({"prompt": "The river is", "subject": "river", "target_new": "x"}))
    ran = run(
        *("bake", "--method", "rome", "--model", tiny_checkpoint, "--edits", edits, "--layer", 0),
        *("--corpus", corpus, "--texts", 8, "--set", "contexts=0", "--set", "search.steps=6"),
        *("--set", "search.clamp=2", "--into", tmp_path / "delta"),
    )
    assert ran.code == 0, ran.err


def test_what_is_misused_is_said(run: Run, tiny_checkpoint: Path, corpus: Path) -> None:
    common = ("moments", tiny_checkpoint, "--corpus", corpus, "--cache", "kept")
    for arguments, said in (
        (("--share", "3/2"), "expected I/N"),
        (("--share", "half"), "expected I/N"),
        (("--share", "1/20"), "20 shares of 9 texts"),
        (("--layer", 7), "0 to 1"),
    ):
        ran = run(*common, *arguments)
        assert ran.code != 0 and said in ran.err, (arguments, ran.err)
    sampled = run("moments", tiny_checkpoint, "--texts", 100, "--share", "3/3", "--cache", "kept")
    assert sampled.code == 1 and "at most 2 shares" in sampled.err
    assert not Path("kept").exists()
