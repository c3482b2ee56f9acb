"""memedit adapt: edits of a file or of a memory become an adapter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memedit.adapters.files import load_adapter
from memedit.adapters.grace import Grace
from tests.cli.conftest import Run

FACTS = [("The capital of Quendoria is", "Quendoria", "Lindhaven"),
         ("The river of Marovia is", "Marovia", "the Amsel")]  # fmt: skip


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    file = tmp_path / "edits.jsonl"
    lines = [{"prompt": p, "subject": s, "target_new": t} for p, s, t in FACTS]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_a_file_of_edits_becomes_an_adapter(
    run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    common = ("adapt", "--method", "grace", "--model", tiny_checkpoint, "--edits", edits)
    quick = ("--layer", 0, "--set", "search.steps=5")
    ran = run(*common, *quick, "--out", tmp_path / "a", "--json")
    assert ran.code == 0, ran.err
    assert (ran.json["method"], ran.json["edits"], ran.json["layer"]) == ("grace", 2, 0)
    assert ran.json["loss_after"] < ran.json["loss_before"]
    assert ran.json["said"] + len(ran.json["not_said"]) == 2
    adapter = load_adapter(tmp_path / "a")
    assert isinstance(adapter, Grace) and len(adapter.edits) == 2
    again = run(*common, "--out", tmp_path / "a")
    assert again.code == 1 and "is there already" in again.err


def test_the_live_edits_of_a_memory_keep_their_ids(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    memory = f"sqlite:///{tmp_path}/memory.db"
    prompt, subject, target = FACTS[0]
    added = run("add", prompt, target, "--subject", subject, "--memory", memory, "--json")
    assert added.code == 0, added.err
    ran = run(
        *("adapt", "--method", "lora", "--model", tiny_checkpoint, "--memory", memory),
        *("--set", "training.steps=2", "--set", "rank=2", "--out", tmp_path / "lora"),
    )
    assert ran.code == 0, ran.err
    assert "targets are said" in ran.out and "vllm-lora" in ran.out
    assert (tmp_path / "lora" / "adapter_config.json").is_file()
    [edit] = load_adapter(tmp_path / "lora").edits
    assert edit.version == 1 and not edit.id.startswith("local-")


def test_misuse_is_said(run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    common = ("adapt", "--model", tiny_checkpoint, "--edits", edits, "--out", tmp_path / "a")
    unknown = run(*common, "--method", "grase")
    assert unknown.code == 2 and "Did you mean 'grace'" in unknown.err
    setting = run(*common, "--method", "grace", "--set", "radios=1")
    assert setting.code == 2 and "no setting 'radios'" in setting.err and ", ends" in setting.err
    layer = run(*common, "--method", "melo", "--layer", 1)
    assert layer.code == 2 and "expected layers above it" in layer.err
    both = run(*common, "--method", "grace", "--memory", "sqlite:///x.db")
    assert both.code == 2 and "--edits names a file" in both.err
    assert not (tmp_path / "a").exists()
