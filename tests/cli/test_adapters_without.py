"""memedit adapters without: edits are taken out of a folder, or of an adapter in a library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from memedit.adapters.files import load_adapter
from memedit.adapters.grace import Grace
from memedit.adapters.learned_together import take_out
from memedit.modeling.delta import EditVersion
from memedit.types import EditRequest
from tests.cli.conftest import Run
from tests.library.loras import write_lora
from tests.modeling.families import tiny_model, tiny_tokenizer

FACTS = [("The capital of Quendoria is", "Quendoria", "x"), ("A b c", "b", "y")]
LORA = ("--method", "lora", "--set", "rank=8", "--set", "training.steps=200",
        "--set", "training.rate=0.02", "--set", "ends=true")  # fmt: skip


@pytest.fixture
def ids(run: Run) -> list[str]:
    """Return the ids of two stored edits whose targets a tiny model learns soon."""
    return [str(run("add", p, t, "-s", s, "--json").json["id"]) for p, s, t in FACTS]


def written(path: Path) -> dict[str, bytes]:
    return {str(one): one.read_bytes() for one in sorted(path.rglob("*")) if one.is_file()}


def test_of_a_folder_another_is_written_and_the_rest_is_bit_for_bit_the_same(
    run: Run, ids: list[str], tiny_checkpoint: Path
) -> None:
    quick = ("--method", "grace", "--layer", 0, "--set", "search.steps=2")
    assert run("adapt", *quick, "--model", tiny_checkpoint, "--out", "a").code == 0
    before = written(Path("a"))
    ran = run("adapters", "without", "a", ids[0], "--out", "b")
    assert ran.code == 0 and "b: 1 edit left" in ran.out, ran.err
    left, whole = load_adapter(Path("b")), load_adapter(Path("a"))
    assert isinstance(left, Grace) and isinstance(whole, Grace)
    assert [edit.id for edit in left.edits] == ids[1:]
    whole.delete(ids[0])
    assert {n: t.tolist() for n, t in left.to_saved().tensors.items()} == {
        n: t.tolist() for n, t in whole.to_saved().tensors.items()
    }
    for arguments, said in (
        (("a", "e-000000000000", "--out", "c"), f"it holds {ids[0]}@1, {ids[1]}@1"),
        (("a", f"{ids[0]}@2", "--out", "c"), "holds no edit"),
        (("a", *ids, "--out", "c"), "nothing would be left; delete the folder"),
        (("a", ids[0]), "--out DIR"),
        (("a", ids[0], "--out", "c", "--library", "lib"), "leave out --library"),
        (("memedit-a-1", ids[0], "--library", "lib", "--out", "c"), "leave out --out"),
        (("memedit-a-1", ids[0]), "no library is named"),
        (("a",), "EDIT_ID"),
    ):
        ran = run("adapters", "without", *arguments)
        assert ran.code == 2 and said in ran.err, (arguments, ran.code, ran.err)
    assert not Path("c").exists() and written(Path("a")) == before
    assert run("adapters", "without", "a", ids[0], "--out", "b").code == 1, "it is there"
    assert run("adapters", "without", "no", ids[0], "--out", "c").code == 1


def test_of_one_in_a_library_the_next_version_takes_its_place(
    run: Run, ids: list[str], tiny_checkpoint: Path
) -> None:
    common = ("--model", tiny_checkpoint, "--library", "lib")
    made = run("adapt", *LORA, *common, "--name", "two", "--json")
    assert made.json["registered"] == ["memedit-two-1"], made.err
    run("deploy", "memedit-two-1", "-n", "other")
    before = written(Path("lib"))
    command = ("adapters", "without", "memedit-two-1", ids[0], "--library", "lib")
    unlearned = run(*command)
    assert unlearned.code == 2 and "--model DIR" in unlearned.err
    strange = run("adapters", "without", "memedit-two-1", "e-000000000000", *common)
    assert strange.code == 2 and "holds no edit 'e-000000000000'" in strange.err
    none = run("adapters", "without", "memedit-none-1", ids[0], "--library", "lib")
    assert none.code == 1 and "no adapter 'memedit-none-1'" in none.err
    assert written(Path("lib")) == before
    ran = run(*command, "--model", tiny_checkpoint)
    assert ran.code == 0 and "memedit-two-2: 1 edit left" in ran.out, ran.err
    assert "memedit deploy memedit-two-2 --namespace other" in ran.err
    run("undeploy", "-n", "other")
    again = run(*command, "--model", tiny_checkpoint, "--json")
    assert again.code == 0, again.err
    assert again.json["name"] == "memedit-two-3" and again.json["edits"] == [f"{ids[1]}@1"]
    assert again.json["retired"] == ["memedit-two-1", "memedit-two-2"]
    rows = {row["name"]: row for row in run("adapters", "list", "--json").json}
    assert rows["memedit-two-3"]["edits"] == [f"{ids[1]}@1"]
    assert rows["memedit-two-3"]["retired_at"] is None
    ages = {row["created_at"] for row in rows.values()}
    assert len(ages) == 1, "it keeps its place among other adapters of its edits"
    settings = json.loads(Path("lib/memedit-two-3/manifest.json").read_text())["settings"]
    assert settings["ends"] is True and settings["training"]["steps"] == 200
    retired = run(*command)
    assert retired.code == 1 and "is retired" in retired.err


def test_what_cannot_be_parted_says_what_to_do(run: Run, added: dict[str, Any]) -> None:
    write_lora(Path("bake"), f"{added['id']}@1", "e-000000000001@1")
    ran = run("adapters", "without", "bake", added["id"], "--out", "c")
    assert ran.code == 2 and "memedit bake --method r-rome --as lora" in ran.err
    write_lora(Path("block"), f"{added['id']}@1", method="melo", notes={"block": 0})
    ran = run("adapters", "without", "block", added["id"], "--out", "c")
    assert ran.code == 2 and "LoRA block of melo" in ran.err


def test_several_are_taken_out_with_one_training_and_an_error_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from memedit.adapters.calinet import Calinet
    from memedit.errors import InvalidInputError

    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    requests = [
        EditRequest(prompt=f"{city} lies in", subject=city, target_new="France")
        for city in ("Paris", "Lyon", "Rome")
    ]
    adapter = Calinet()
    edits = [EditVersion(f"e{n}", 1) for n in range(3)]
    adapter.learn(model, tokenizer, requests, edits=edits)
    with pytest.raises(InvalidInputError, match="learned again"):
        take_out(adapter, ["e0", "e1"])
    assert list(adapter.edits) == edits
    learned = []
    own = Calinet._learn
    monkeypatch.setattr(Calinet, "_learn", lambda self, *a: (learned.append(1), own(self, *a))[1])
    take_out(adapter, ["e0", "e1"], model, tokenizer)
    assert learned == [1] and list(adapter.edits) == edits[2:]
