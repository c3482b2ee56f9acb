"""memedit adapters, deploy, undeploy; adapt and bake into a library."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import memedit
from memedit.cli.adapter_notes import adapter_notes
from memedit.config import AdapterSettings
from memedit.memory import AdapterRecord
from tests.cli.conftest import Run
from tests.library.loras import BASE, write_codebook, write_lora


@pytest.fixture
def registered(run: Run, added: dict[str, Any], tmp_path: Path) -> str:
    """Return the name of an adapter that holds the stored edit."""
    folder = write_lora(tmp_path / "lora", f"{added['id']}@1")
    ran = run("adapters", "add", folder, "--name", "capitals", "--library", "lib", "--json")
    assert ran.code == 0, ran.err
    return str(ran.json["name"])


def test_what_is_registered_is_listed_routed_to_retired_and_deleted(
    run: Run, registered: str, added: dict[str, Any]
) -> None:
    assert registered == "memedit-capitals-1"
    [row] = run("adapters", "list", "--json").json
    assert row["edits"] == [f"{added['id']}@1"] and row["outdated"] == [] and row["base"] == BASE
    env = {"MEMEDIT_ADAPTERS__LIBRARY": "lib", "MEMEDIT_ADAPTERS__BASE": BASE}
    question = "The capital of Quendoria is"
    [routed] = run("route", question, "--json", env=env).json
    assert (routed["action"], routed["adapter"]) == ("adapter", registered)
    assert registered in run("route", question, env=env).out
    [without] = run("route", question, "--json").json
    assert (without["action"], without["adapter"]) == ("in_context", None)
    assert run("supersede", added["id"], question, "Velden", "-s", "Quendoria").code == 0
    [newer] = run("route", question, "--json", env=env).json
    assert (newer["action"], newer["note"]) == ("in_context", "adapter-outdated")
    assert "0 of 1 current" in run("adapters", "list").out
    assert run("adapters", "prune", "--library", "lib", "--json").json == {"deleted": []}
    assert run("adapters", "retire", registered).code == 0
    assert "retired" in run("adapters", "list").out
    assert run("adapters", "prune", "--library", "lib", "--json").json == {"deleted": []}
    gone = run("adapters", "prune", "--older-than", 0, "--library", "lib", "--json").json
    assert gone == {"deleted": [registered]} and list(Path("lib").glob("memedit-*")) == []


def test_what_is_not_there_or_is_damaged_is_not_said_to_be_live(
    run: Run, registered: str, added: dict[str, Any]
) -> None:
    env = {"MEMEDIT_ADAPTERS__LIBRARY": "lib", "MEMEDIT_ADAPTERS__BASE": BASE}
    question = "The capital of Quendoria is"

    def told() -> tuple[str, str | None, str | None]:
        [line] = run("route", question, "--json", env=env).json
        return line["action"], line["adapter"], line["note"]

    assert told() == ("adapter", registered, None)
    tensors = Path("lib") / registered / "adapter_model.safetensors"
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-1])
    assert told() == ("in_context", None, "adapter-failed:damaged")
    assert "damaged" in run("adapters", "list", env=env).out
    [row] = run("adapters", "list", "--json", env=env).json
    assert row["fault"] == "damaged" and row["folder_gone"] is False
    tensors.write_bytes(whole)
    assert told() == ("adapter", registered, None)
    manifest = tensors.with_name("manifest.json")
    kept = manifest.read_bytes()
    manifest.unlink()
    assert told() == ("in_context", None, "adapter-failed:damaged")
    assert "folder gone" not in run("adapters", "list", env=env).out
    manifest.write_bytes(kept)
    assert told() == ("adapter", registered, None)
    shutil.rmtree(tensors.parent)
    assert told() == ("in_context", None, "adapter-failed:missing")
    assert "folder gone" in run("adapters", "list", env=env).out
    assert "folder gone" in run("adapters", "list", "--library", "lib").out
    [row] = run("adapters", "list", "--library", "lib", "--json").json
    assert row["folder_gone"] is True
    [row] = run("adapters", "list", "--json").json
    assert row["folder_gone"] is None, "no library is named"
    run("deploy", registered, "-n", "default")
    assert "folder gone; deployed" in run("adapters", "list", "--library", "lib").out


def test_a_lora_that_did_not_learn_the_end_of_its_answers_is_taken_and_said_to_be_one(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    ref = f"{added['id']}@1"
    open_ended = run(
        "adapters",
        "add",
        write_lora(tmp_path / "a", ref, format="memedit-adapter/1"),
        "--library",
        "lib",
    )
    assert open_ended.code == 0 and "--set ends=true" in open_ended.err
    taught = write_lora(tmp_path / "b", ref, format="memedit-adapter/1", settings={"ends": True})
    assert "ends" not in run("adapters", "add", taught, "--library", "lib").err
    block = write_lora(tmp_path / "c", ref, format="memedit-adapter/1", notes={"block": 1})
    assert "ends" not in run("adapters", "add", block, "--library", "lib").err


def test_a_name_goes_on_in_another_library_and_after_it_was_pruned(
    run: Run, registered: str, tmp_path: Path
) -> None:
    second = run("adapters", "add", tmp_path / "lora", "--name", "capitals", "--library", "other")
    assert second.code == 0, second.err
    assert "memedit-capitals-2" in second.out and f"retired: {registered}" in second.out
    pruned = run("adapters", "prune", "--older-than", 0, "--library", "lib", "--json").json
    assert pruned == {"deleted": [registered]}
    assert run("adapters", "retire", "memedit-capitals-2").code == 0
    gone = run("adapters", "prune", "--older-than", 0, "--library", "other", "--json").json
    assert gone == {"deleted": ["memedit-capitals-2"]}
    for library, name in (("lib", "memedit-capitals-2"), ("other", "memedit-capitals-3")):
        ran = run(
            *("adapters", "add", tmp_path / "lora", "--name", "capitals", "--library", library),
            "--json",
        )
        assert ran.json["name"] == name, ran.err


def test_prune_forgets_what_was_deleted_by_hand_but_not_what_lies_elsewhere(
    run: Run, registered: str, tmp_path: Path
) -> None:
    assert run("adapters", "retire", registered).code == 0
    (tmp_path / "other").mkdir()
    elsewhere = run("adapters", "prune", "--older-than", 0, "--library", "other")
    assert "deleted: nothing" in elsewhere.out and registered in elsewhere.err
    shutil.rmtree(tmp_path / "lib" / registered)
    gone = run("adapters", "prune", "--older-than", 0, "--library", "lib", "--json")
    assert gone.json == {"deleted": [registered]} and not gone.err
    assert run("adapters", "list", "--json").json == []


def test_an_adapter_for_another_model_than_is_served_is_refused(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_lora(tmp_path / "lora", f"{added['id']}@1")
    arguments = ("adapters", "add", folder, "--name", "capitals", "--library", "lib")
    ran = run(*arguments, env={"MEMEDIT_ADAPTERS__BASE": "cd" * 32})
    assert ran.code == 2, ran.err
    assert "fingerprint abababababab, adapters.base is cdcdcdcdcdcd" in ran.err
    assert not Path("lib").exists() and run("adapters", "list", "--json").json == []
    assert run(*arguments, env={"MEMEDIT_ADAPTERS__BASE": BASE}).code == 0


def test_an_empty_library_is_said_to_be_one(run: Run, added: dict[str, Any]) -> None:
    ran = run("adapters", "list")
    assert ran.code == 0 and ran.out.startswith("no adapters; ")
    assert run("adapters", "list", "--json").json == []


def test_what_keeps_adapters_from_being_used_is_said_at_the_start(tmp_path: Path) -> None:
    def notes(*records: AdapterRecord, **settings: Any) -> list[str]:
        return adapter_notes(AdapterSettings(**settings), records)

    record = AdapterRecord("memedit-capitals-1", BASE, "lora", ("e-a@1",))
    other = AdapterRecord("memedit-other-1", "cd" * 32, "lora", ("e-b@1",))
    retired = replace(other, retired_at=datetime.now(UTC))
    assert notes() == [] == notes(retired)
    [unnamed] = notes(record)
    assert "1 adapter (memedit-capitals-1), but no library is named" in unnamed
    [based] = notes(base=BASE)
    assert "adapters.base is set, but no library is named" in based
    library = tmp_path / "lib"
    [absent] = notes(library=library, base=BASE)
    assert f"there is no folder {library}" in absent
    library.mkdir()
    assert notes(library=library, base=BASE) == []
    foreign, gone = notes(record, other, retired, library=library, base=BASE)
    assert "memedit-other-1) not used: learned for another model" in foreign
    assert f"memedit-capitals-1) not in the library {library}" in gone
    write_lora(library / record.name, "e-a@1")
    assert notes(record, library=library, base=BASE) == []


def test_an_edit_that_an_adapter_did_not_learn_to_say_stays_in_the_context(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    question = "The anthem of Marovia is"
    other = run("add", question, "Vel", "--subject", "Marovia", "--json").json
    folder = write_lora(tmp_path / "lora", f"{added['id']}@1", f"{other['id']}@1")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["edits"][1]["said"] = False
    (folder / "manifest.json").write_text(json.dumps(manifest))
    ran = run("adapters", "add", folder, "--name", "half", "--library", "lib")
    assert ran.code == 0, ran.err
    [row] = run("adapters", "list", "--json").json
    assert row["edits"] == [f"{added['id']}@1"]
    env = {"MEMEDIT_ADAPTERS__LIBRARY": "lib", "MEMEDIT_ADAPTERS__BASE": BASE}
    [routed] = run("route", question, "--json", env=env).json
    assert (routed["action"], routed["adapter"]) == ("in_context", None)


def test_deploying_and_undoing_it(run: Run, registered: str, added: dict[str, Any]) -> None:
    env = {"MEMEDIT_ADAPTERS__LIBRARY": "lib", "MEMEDIT_ADAPTERS__BASE": BASE}
    ran = run("deploy", registered, "-n", "default", "--library", "lib", "--json")
    expected = {"namespace": "default", "adapter": registered, "before": None, "outdated": []}
    assert ran.code == 0 and ran.json == expected, ran.err
    [other] = run("route", "How many legs does a spider have?", "--json", env=env).json
    assert (other["action"], other["note"]) == ("adapter", "deployed")
    assert "deployed: namespace default" in run("adapters", "list").out
    refused = run("adapters", "retire", registered)
    assert refused.code == 1 and "memedit undeploy --namespace default" in refused.err
    run("retract", added["id"])
    twice = run("deploy", registered, "-n", "default")
    assert twice.code == 0 and "not memedit" not in twice.out
    again = run("deploy", registered, "--model", "atlas")
    assert again.code == 0 and "careful: it still says" in again.err
    assert run("undeploy", "-n", "default", "--json").json["before"] == registered
    assert run("undeploy", "--model", "atlas").code == 0
    [other] = run("route", "How many legs does a spider have?", "--json", env=env).json
    assert other["action"] == "pass"


def test_what_is_misused_changes_nothing(run: Run, registered: str, tmp_path: Path) -> None:
    stranger = write_lora(tmp_path / "stranger", "e-000000000000@1")
    for arguments, code, said in (
        (("deploy", registered), 2, "either --namespace NAME or --model NAME"),
        (("deploy", registered, "-n", "a", "--model", "b"), 2, "either"),
        (("deploy", "memedit-none-1", "-n", "a"), 1, "no adapter 'memedit-none-1'"),
        (("undeploy", "-n", "a"), 1, "nothing is deployed"),
        (("adapters", "retire", "x"), 1, "no adapter 'x'"),
        (("adapters", "add", tmp_path / "lora"), 2, "no library is named"),
        (("adapters", "add", tmp_path, "--library", "lib"), 1, "no adapter at"),
        (("adapters", "add", stranger, "--library", "lib"), 1, "not in this memory"),
        (("adapters", "add", tmp_path / "lora", "--name", "A", "--library", "lib"), 2, "no id"),
        (("adapters", "prune", "--library", "nowhere"), 1, "no library at"),
        (("serve", "--library", "lib"), 2, "adapters.base is not"),
        (("serve", "--base", "abc"), 2, "memedit adapters fingerprint DIR"),
        (
            ("adapt", "--method", "lora", "--model", "m", "--out", "o", "-n", "empty"),
            2,
            "no live edits in the namespace 'empty' of sqlite:",
        ),
    ):
        ran = run(*arguments)
        assert ran.code == code and said in ran.err, (arguments, ran.code, ran.err)
    assert [one.name for one in Path("lib").glob("memedit-*")] == [registered]
    (Path("lib") / registered / "adapter_model.safetensors").write_bytes(b"x")
    ran = run("deploy", registered, "-n", "default", "--library", "lib")
    assert ran.code == 1 and "damaged" in ran.err
    [row] = run("adapters", "list", "--json").json
    assert row["deployed"] == []


def test_an_adapter_that_was_learned_from_a_file_is_refused_with_the_way_out(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    folder = write_lora(tmp_path / "lora", "local-0123456789abcdef@1", f"{added['id']}@1")
    ran = run("adapters", "add", folder, "--library", "lib")
    assert ran.code == 1 and "was learned from a file: 1 of its 2 edits" in ran.err
    assert "memedit import FILE" in ran.err and "--method r-rome" in ran.err
    assert not Path("lib").exists()
    said = run("adapt", "--help").out
    assert "Not with --edits" in said and "Not with --library" in said


def test_a_folder_of_many_loras_is_refused_with_the_way_out(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    hosts = ["process", "vllm-lora"]
    for edit, said in (
        (f"{added['id']}@1", "memedit adapt --method melo --model DIR"),
        ("local-0123456789abcdef@1", "was learned from a file: 1 of its 1 edits"),
    ):
        folder = write_codebook(tmp_path / edit, edit, method="melo", servable_by=hosts)
        for env in ({}, {"MEMEDIT_ADAPTERS__BASE": BASE}):
            ran = run("adapters", "add", folder, "--library", "lib", env=env)
            assert ran.code == 1 and said in ran.err, ran.err
    assert not Path("lib").exists()


def test_retiring_twice_says_since_when_and_what_next(run: Run, registered: str) -> None:
    assert run("adapters", "retire", registered).code == 0
    twice = run("adapters", "retire", registered)
    assert twice.code == 1 and f"{registered} was retired on 20" in twice.err
    assert "adapters prune" in twice.err and "adapters add" in twice.err


def test_what_long_ago_is_stands_in_the_help_of_prune(run: Run) -> None:
    said = run("adapters", "prune", "--help").out
    assert "a day, or --older-than hours" in said
    assert "Example: memedit adapters prune --older-than 72" in said


def test_no_example_writes_into_a_folder_of_the_checkout() -> None:
    """``adapters`` there is source, which a library's folders would lie among."""
    root = Path(memedit.__file__).parents[1]
    writes = re.compile(r"""(--library|--out|--into|save\("|adapter\(")[ ]?adapters\b""")
    for page in (root / "README.md", *root.glob("docs/*.md"), *root.glob("memedit/cli/*.py")):
        assert writes.search(page.read_text(encoding="utf-8")) is None, page
