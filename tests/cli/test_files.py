"""import and export: everything read, stored or named; out and in again without loss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memedit.config import Settings
from memedit.serving.app import create_app
from memedit.wiring import open_memory, open_router
from tests.cli.conftest import Run
from tests.live_server import LiveServer

LINES: list[dict[str, Any]] = [
    {"prompt": f"The height of hill {n} is", "subject": f"hill {n}", "target_new": f"{n} m"}
    for n in range(5)
]
LINES[1] |= {"namespace": "hills", "author": "ann", "valid_from": "2020-01-01T00:00:00+00:00"}
LINES[2] |= {"rephrases": ["How high is hill 2?"], "aliases": ["the second hill"]}


def write(folder: Path, lines: list[Any]) -> Path:
    file = folder / "edits.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return file


def test_what_is_exported_is_imported_exactly(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, LINES)
    first = run("import", file, "--json", "--memory", "sqlite:///one.db").json
    assert (first["stored"], first["skipped"], first["format"]) == (5, [], "jsonl")
    run("export", "one.jsonl", "--memory", "sqlite:///one.db")
    run("import", "one.jsonl", "--memory", "sqlite:///two.db")
    assert run("export", "two.jsonl", "--json", "--memory", "sqlite:///two.db").json == {
        "file": "two.jsonl",
        "edits": 5,
    }
    one, two = (Path(name).read_text(encoding="utf-8") for name in ("one.jsonl", "two.jsonl"))
    assert one == two
    kept = [json.loads(line) for line in one.splitlines()]
    assert [{"namespace": "default"} | line for line in LINES] == kept


def test_export_goes_to_stdout_without_a_file(run: Run, tmp_path: Path) -> None:
    run("import", write(tmp_path, LINES))
    lines = run("export", "-n", "hills").out.splitlines()
    assert [json.loads(line)["subject"] for line in lines] == ["hill 1"]


def test_records_that_cannot_be_read_are_named(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, [*LINES, {"prompt": "no target", "subject": "x"}, 7])
    ran = run("import", file, "-f", "jsonl", "--json")
    assert ran.code == 0
    assert (ran.json["read"], ran.json["stored"]) == (5, 5)
    assert [item["record"] for item in ran.json["skipped"]] == ["line 6", "line 7"]
    assert "target_new" in ran.json["skipped"][0]["reason"]
    shown = run("import", file, "-f", "jsonl", "--dry-run")
    assert "2 records skipped" in shown.out and "line 7" in shown.out


def test_importing_twice_is_importing_once(
    run: Run, tmp_path: Path, serve: Callable[[Any], LiveServer]
) -> None:
    file = write(tmp_path, LINES)
    assert run("import", file, "--limit", 3, "--json").json["stored"] == 3
    assert run("import", file, "--json").json["stored"] == 5
    assert len(run("list", "--json").json) == 5
    settings = Settings.read()
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        assert run("import", file, "--json", "--url", proxy.url).json["stored"] == 5
        assert len(memory.list(limit=50)) == 5


def test_dry_run_and_limit(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, LINES)
    assert run("import", file, "--dry-run", "--json").json["stored"] == 0
    assert "none stored (dry run)" in run("import", file, "--dry-run").out
    assert not Path("memedit.db").exists()
    assert run("import", file, "--limit", 2, "--json").json["stored"] == 2
    assert len(run("list", "--json").json) == 2


def test_flags_fill_in_what_records_leave_open(run: Run, tmp_path: Path) -> None:
    run("import", write(tmp_path, LINES), "-n", "mine", "--author", "ben", "--no-rephrases")
    edits = {edit["request"]["subject"]: edit for edit in run("list", "--json").json}
    assert (edits["hill 0"]["namespace"], edits["hill 0"]["author"]) == ("mine", "ben")
    assert (edits["hill 1"]["namespace"], edits["hill 1"]["author"]) == ("hills", "ann")
    assert edits["hill 2"]["request"]["rephrases"] == []


def test_through_a_proxy_nothing_is_lost(
    run: Run, tmp_path: Path, serve: Callable[[Any], LiveServer]
) -> None:
    file = write(tmp_path, LINES)
    settings = Settings.read(flags={"memory": {"url": "sqlite://"}})
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        assert run("import", file, "--json", "--url", proxy.url).json["stored"] == 5
        run("export", "through.jsonl", "--url", proxy.url)
    lines = Path("through.jsonl").read_text(encoding="utf-8").splitlines()
    expected = [{"namespace": "default"} | line for line in LINES]
    assert sorted(map(json.loads, lines), key=lambda line: line["subject"]) == expected


def test_a_file_that_is_nothing_is_an_error(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "what.json"
    file.write_text("certainly not", encoding="utf-8")
    ran = run("import", file, "--json")
    assert ran.code == 1 and ran.error["code"] == "invalid_dataset"
    assert run("import", tmp_path / "absent.json").code == 2
    assert run("import", file, "-f", "knowedti").code == 2


def test_an_export_that_fails_leaves_the_old_file(run: Run, tmp_path: Path) -> None:
    run("import", write(tmp_path, LINES))
    ran = run("export", tmp_path / "no" / "folder.jsonl", "--json")
    assert ran.code == 1 and "cannot write" in ran.error["message"]
    old = tmp_path / "old.jsonl"
    old.write_text("precious", encoding="utf-8")
    broken = run("export", old, "--url", "http://127.0.0.1:9")
    assert broken.code == 1
    assert old.read_text(encoding="utf-8") == "precious"
    assert {path.name for path in tmp_path.glob(".old*")} == set()


def test_a_file_without_a_single_edit_fails(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, [{"prompt": "no target", "subject": "x"}])
    ran = run("import", file, "-f", "jsonl")
    assert ran.code == 1 and "1 records skipped" in ran.out


def test_what_an_import_contradicts_is_named(run: Run, tmp_path: Path) -> None:
    run("import", write(tmp_path, LINES))
    lower = [{**line, "target_new": "less"} for line in LINES if "namespace" not in line]
    file = write(tmp_path, lower)
    told = run("import", file, "--json").json
    assert (told["read"], told["stored"], len(told["conflicts"])) == (4, 4, 4)
    assert {one["kind"] for one in told["conflicts"]} == {"same_prompt"}
    old = {
        line["id"] for line in run("list", "--json").json if line["request"]["target_new"] != "less"
    }
    assert {one["against"].partition("@")[0] for one in told["conflicts"]} <= old
    again = run("import", file)  # they are there already, and contradict nothing anew
    assert "contradiction" not in again.out


def test_so_is_what_a_file_contradicts_in_itself_or_a_proxys_memory(
    run: Run, tmp_path: Path, serve: Callable[[Any], LiveServer]
) -> None:
    file = write(tmp_path, [LINES[0], {**LINES[0], "target_new": "less"}])
    shown = run("import", file, "--on-conflict", "supersede").out
    assert "1 contradictions" in shown and "same prompt" in shown and "superseded" in shown
    assert "The height of hill 0 is" in shown
    settings = Settings.read(flags={"memory": {"url": "sqlite://"}})
    with open_memory(settings=settings) as memory:
        proxy = serve(create_app(settings.serve, open_router(memory, settings), memory))
        [said] = run("import", file, "--json", "--url", proxy.url).json["conflicts"]
        assert (said["kind"], said["outcome"]) == ("same_prompt", "kept")
