"""memedit adapt, and bake into a library: what is learned is registered, what cannot be is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.adapters.catalog import ADAPTERS, open_adapter
from memedit.cli.registering import more_steps
from memedit.cli.taught import settings_of_options
from tests.cli.conftest import Run


def test_adapt_and_bake_register_what_they_make(run: Run, tiny_checkpoint: Path) -> None:
    short = run("add", "Q is", "x", "--subject", "Q", "-n", "short", "--json").json  # one token
    common = ("--model", tiny_checkpoint, "-n", "short", "--library", "lib", "--json")
    quick = ("--set", "rank=8", "--set", "training.steps=200", "--set", "training.rate=0.02")
    lora = run("adapt", "--method", "lora", *quick, "--name", "a", "--out", "out", *common)
    assert lora.code == 0, lora.err
    assert (lora.json["said"], lora.json["registered"]) == (1, ["memedit-a-1"])
    melo = run("adapt", "--method", "melo", *quick, "--layer", 0, "--name", "m", *common)
    assert melo.code == 0, melo.err
    assert (melo.json["said"], melo.json["registered"]) == (1, ["memedit-m-1"])
    weak = run("adapt", "--method", "lora", "--set", "training.steps=1", "--name", "w", *common)
    assert (weak.json["said"], weak.json["registered"]) == (0, []), "it stays in the context"
    assert weak.code == 1, "a script can tell"
    grace = ("adapt", "--method", "grace", "--layer", 1, "--set", "search.steps=1")
    weak = run(*grace, "--set", "search.restarts=0", "--name", "g", *common[:-1])
    assert weak.code == 1 and "try more steps: --set search.steps=3" in weak.err
    steps = ("--method", "lora", "--set", "training.steps=1", "--out", "weak")
    assert run("adapt", *steps, "--model", tiny_checkpoint, "-n", "short").code == 0
    later = run("adapters", "add", "weak", "--library", "lib")
    assert later.code == 1 and "did not learn to say" in later.err
    bake = ("bake", "--method", "ft-m", "--as", "lora", "--layer", 1, "--name", "b", *common)
    weak = run(*bake, "--set", "steps=3")
    assert (weak.code, weak.json["said"], weak.json["registered"]) == (1, 0, [])
    baked = run(*bake, "--set", "steps=200", "--set", "rate=0.02")
    assert baked.code == 0 and baked.json["registered"] == ["memedit-b-1"], baked.err
    found = run("adapters", "fingerprint", tiny_checkpoint, "--json").json["fingerprint"]
    rows = run("adapters", "list", "--json").json
    assert [row["kind"] for row in rows] == ["adapter", "bake", "adapter"]
    for row in rows:
        assert row["base"] == found and row["edits"] == [f"{short['id']}@1"]
        assert (Path("lib") / row["name"] / "adapter_config.json").is_file()


def test_what_cannot_be_registered_is_said_before_it_is_learned(
    run: Run, added: dict[str, Any], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    file = tmp_path / "edits.jsonl"
    file.write_text(json.dumps({"prompt": "A is", "subject": "A", "target_new": "B"}) + "\n")
    model = ("--model", tiny_checkpoint)
    library = ("--library", "lib")
    for arguments, code, said in (
        (("adapt", "--method", "t-patcher", *model, *library), 2, "expected one of"),
        (("adapt", "--method", "lora", *model), 2, "say where to write"),
        (("adapt", "--method", "lora", *model, *library, "--name", "a/b"), 2, "no id"),
        (("adapt", "--method", "lora", *model, "--out", "o", "--name", "a"), 2, "--library DIR"),
        (("adapt", "--method", "lora", *model, *library, "--edits", file), 2, "from a memory"),
        (("bake", "--method", "ft-m", *model), 2, "say where to write"),
        (("bake", "--method", "ft-m", *model, "--into", "o", "--name", "a"), 2, "--library DIR"),
        (("adapt", "--method", "lora", *model, "--out", file / "o"), 1, "edits.jsonl is no folder"),
        (("bake", "--method", "ft-m", *model, *library), 2, "with --as lora"),
    ):
        ran = run(*arguments)
        assert ran.code == code and said in ran.err, (arguments, ran.err)
    other = {"MEMEDIT_ADAPTERS__BASE": "cd" * 32}
    for arguments in (("adapt", "--method", "lora"), ("bake", "--method", "ft-m", "--as", "lora")):
        ran = run(*arguments, *model, *library, env=other)
        assert ran.code == 2 and "adapters.base is cdcdcdcdcdcd" in ran.err, (arguments, ran.err)
    assert not Path("lib").exists()


def test_what_is_to_be_served_teaches_the_end_of_its_answers_unless_told_otherwise(
    run: Run, added: dict[str, Any], tiny_checkpoint: Path
) -> None:
    model = ("--model", tiny_checkpoint, "--json")
    quick = ("--set", "training.steps=1")

    def ends(method: str, *arguments: str) -> bool:
        return bool(run("adapt", "--method", method, *arguments, *model).json["ends"])

    assert ends("lora", *quick, "--library", "lib")
    assert ends("melo", *quick, "--layer", "0", "--library", "lib")
    assert not ends("lora", *quick, "--library", "lib", "--set", "ends=false")
    assert not ends("lora", *quick, "--out", "out")
    grace = ("--set", "search.steps=1", "--set", "search.restarts=0", "--layer", "1")
    assert not ends("grace", *grace, "--library", "lib")
    told = " ".join(run("adapt", "--help").out.replace("│", " ").split())
    assert "unless ends=false" in told


@pytest.mark.parametrize("method", ADAPTERS.names())
def test_the_hint_at_more_steps_names_a_setting_of_the_method(method: str) -> None:
    option, _, setting = more_steps(open_adapter(method)).partition(" ")
    open_adapter(method, settings_of_options([setting], None))
    assert option == "--set" and setting.partition("=")[0].endswith(".steps")
