"""memedit bake: edits of a file or of a memory, as a delta, a LoRA and a checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from memedit.modeling.delta import LowRank, WeightDelta
from memedit.modeling.fingerprint import model_fingerprint, tensor_digest
from tests.cli.conftest import Run

FACTS = [("The capital of Quendoria is", "Quendoria", "Lindhaven"),
         ("The river of Marovia is", "Marovia", "the Amsel")]  # fmt: skip
QUICK = ("--set", "contexts=1", "--set", "search.steps=6", "--set", "search.clamp=2", "--layer", 0)


@pytest.fixture
def edits(tmp_path: Path) -> Path:
    file = tmp_path / "edits.jsonl"
    lines = [{"prompt": p, "subject": s, "target_new": t} for p, s, t in FACTS]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Path) -> Any:
    kinds: Any = transformers
    return kinds.AutoModelForCausalLM.from_pretrained(tiny_checkpoint, dtype=torch.float32)


def test_a_file_of_edits_becomes_a_delta(
    run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path, loaded: Any
) -> None:
    common = ("bake", "--model", tiny_checkpoint, "--edits", edits, *QUICK)
    ran = run(*common, "--method", "r-rome", "--into", tmp_path / "delta", "--json")
    assert ran.code == 0, ran.err
    assert ran.json["as"] == "delta" and ran.json["method"] == "r-rome"
    assert ran.json["notes"]["edits"] == 2 and ran.json["notes"]["layer"] == 0
    delta = WeightDelta.load(tmp_path / "delta")
    assert delta.base == model_fingerprint(loaded)
    [change] = delta.changes.values()
    assert isinstance(change, LowRank) and change.left.shape[1] == 2
    assert ran.json["notes"]["loss_after"] < ran.json["notes"]["loss_before"]
    assert ran.json["said"] == 0 and ran.json["loss_after"] < ran.json["loss_before"] + 0.05
    told = [one["prompt"] for one in ran.json["notes"]["requests"]]
    assert told == ran.json["not_said"] == [prompt for prompt, _, _ in FACTS]
    shown = run("delta", "show", tmp_path / "delta").out
    assert all(f"{prompt} {target}" in shown for prompt, _, target in FACTS)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "delta").iterdir()}
    assert len(modes) == 1, "a server of another user reads all of them, or none"
    again = run(*common, "--method", "r-rome", "--into", tmp_path / "delta")
    assert again.code == 1 and "is there already" in again.err


def test_the_same_as_a_lora_and_as_a_checkpoint(
    run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path, loaded: Any
) -> None:
    common = ("bake", "--method", "emmet", "--model", tiny_checkpoint, "--edits", edits, *QUICK)
    lora = run(*common, "--as", "lora", "--into", tmp_path / "lora")
    assert lora.code == 0, lora.err
    assert "max lora rank: 8" in lora.out and (tmp_path / "lora" / "adapter_config.json").is_file()
    whole = run(*common, "--as", "checkpoint", "--into", tmp_path / "baked", "--json")
    assert whole.code == 0, whole.err
    assert whole.json["weight_files_changed"] == 1
    kinds: Any = transformers
    baked = kinds.AutoModelForCausalLM.from_pretrained(tmp_path / "baked", dtype="auto")
    changed = [
        name
        for (name, new), old in zip(baked.named_parameters(), loaded.parameters(), strict=True)
        if tensor_digest(new.float()) != tensor_digest(old.float())
    ]
    assert changed == whole.json["notes"].get("parameters", changed) and len(changed) == 1


def test_what_got_worse_is_not_written(
    run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    ran = run(
        *("bake", "--method", "kn", "--model", tiny_checkpoint, "--edits", edits),
        *("--set", "contexts=1", "--set", "add=-50", "--into", tmp_path / "delta"),
    )
    assert ran.code == 1 and "less probable" in ran.err, ran.err
    assert not (tmp_path / "delta").exists()


def test_a_lora_is_asked_as_it_was_cut(
    run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    common = ("bake", "--method", "ft-m", "--model", tiny_checkpoint, "--edits", edits)
    common = (*common, "--layer", 1, "--set", "steps=60", "--as", "lora", "--json")
    whole = run(*common, "--into", tmp_path / "whole")
    cut = run(*common, "--rank", 1, "--into", tmp_path / "cut")
    assert whole.code == cut.code == 0, cut.err
    assert cut.json["relative_error"] > 0.1 > whole.json["relative_error"]
    assert cut.json["loss_after"] > whole.json["loss_after"]


def test_the_live_edits_of_a_memory_are_baked_and_named(
    run: Run, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    memory = ("--memory", f"sqlite:///{tmp_path}/edits.db")
    for prompt, subject, target in FACTS:
        assert run("add", prompt, target, "--subject", subject, *memory).code == 0
    ran = run(
        *("bake", "--method", "ft-m", "--model", tiny_checkpoint, *memory, "--layer", 1),
        *("--set", "steps=3", "--into", tmp_path / "delta", "--json"),
    )
    assert ran.code == 0, ran.err
    listed = run("list", *memory, "--json").json
    known = {edit["id"] for edit in (listed["edits"] if isinstance(listed, dict) else listed)}
    assert {edit["id"] for edit in ran.json["edits"]} == known


def test_what_is_misused_is_said(
    run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    common = ("bake", "--model", tiny_checkpoint, "--edits", edits, "--into", tmp_path / "x")
    for arguments, said in (
        (("--method", "rom"), "no baked method called 'rom'"),
        (("--method", "rome", "--set", "steps"), "expected NAME=VALUE"),
        (("--method", "rome", "--set", "stepz=3"), "no setting 'stepz'"),
        (("--method", "rome", "--set", "search.stepz=3"), "search has no setting 'stepz'"),
        (("--method", "rome", "--set", "seed.x=3"), "has no settings in it"),
        (("--method", "rome", "--rank", 4), "give it with --as lora"),
        (("--method", "ft-m", "--corpus", edits), "takes no statistics"),
        (("--method", "rome", "--memory", "sqlite:///x.db"), "--edits names a file"),
    ):
        ran = run(*common, *arguments)
        assert ran.code != 0 and said in ran.err, (arguments, ran.err)
    assert not (tmp_path / "x").exists()


def test_a_layer_is_said_once(run: Run, edits: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    common = ("bake", "--method", "ft-m", "--model", tiny_checkpoint, "--edits", edits)
    ran = run(*common, "--layer", 1, "--set", "layer=0", "--into", tmp_path / "delta")
    assert ran.code == 2 and "--layer 1 and --set layer=0 contradict" in ran.err
    assert not (tmp_path / "delta").exists()
