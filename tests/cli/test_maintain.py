"""config, verify, reindex, help."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from memedit.cli.app import app
from tests.cli.conftest import Run

COMMANDS = (
    *("serve", "add", "import", "export", "list", "show", "search", "supersede", "retract"),
    *("history", "route", "ask", "engine", "config", "verify", "reindex", "demo", "demos build"),
    *(
        "agent",
        "adapters without",
        "replay",
        "eval",
        "eval scope",
        "eval data",
        "scope calibrate",
        "scope train",
        "train language-patches",
        "train pokemqa",
        "train remedi",
        "train serac",
        "locate",
        "moments",
        "bake",
        "adapt",
        "delta show",
        "delta compose",
        "delta merge",
        "delta lora",
        "delta apply",
        "delta revert",
    ),
    *("adapters list", "adapters add", "adapters retire", "adapters prune"),
    *("adapters fingerprint", "deploy", "undeploy", "mcp", "enrich"),
)


def test_config_prints_what_counts_and_where_it_comes_from(run: Run, tmp_path: Path) -> None:
    (tmp_path / "memedit.toml").write_text("[serve]\nport = 8200\nhost = '127.0.0.2'\n")
    environment = {"MEMEDIT_SERVE__PORT": "8300"}
    shown = run("config", "--json", "--memory", "sqlite:///x.db", env=environment).json
    assert (shown["serve"]["port"], shown["serve"]["host"]) == (8300, "127.0.0.2")
    assert shown["memory"]["url"] == "sqlite:///x.db"
    lines = run("config", "--memory", "sqlite:///x.db", env=environment).out.splitlines()
    origin = {line.split()[0]: line for line in lines if "." in line}
    assert "environment (MEMEDIT_SERVE__PORT)" in origin["serve.port"]
    assert "memedit.toml" in origin["serve.host"]
    assert "flag" in origin["memory.url"]
    assert "default" in origin["scope.classifier"]


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_config_never_prints_secrets(run: Run, form: tuple[str, ...]) -> None:
    ran = run(
        "config",
        *form,
        env={
            "MEMEDIT_SERVE__ADMIN_KEYS": '["hush-admin"]',
            "MEMEDIT_SERVE__INFERENCE_KEYS": '["hush-inference"]',
            "MEMEDIT_SERVE__UPSTREAM_API_KEY": "hush-upstream",
            "MEMEDIT_SERVE__UPSTREAM": "http://user:hush-basic@model.test",
            "MEMEDIT_MEMORY__URL": "postgresql://user:hush-db@db.test/edits?password=hush-query",
        },
    )
    assert ran.code == 0
    assert "hush" not in ran.out + ran.err
    assert "db.test" in ran.out and "model.test" in ran.out


def test_settings_that_are_wrong_are_misuse(run: Run, tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("[serve]\nprot = 1\n[scope]\nthreshold = 2\n")
    ran = run("config", "--config", "wrong.toml", "--json")
    assert ran.code == 2
    assert "serve.prot" in ran.error["message"] and "scope.threshold" in ran.error["message"]


def test_verify_tells_a_sound_memory_from_a_damaged_one(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    sound = run("verify", "--json")
    assert sound.code == 0 and sound.json["ok"] is True and sound.json["edits"] == 1
    assert "agrees" in run("verify").out
    with sqlite3.connect(tmp_path / "memedit.db") as database:
        [vectors] = [
            name
            for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            if "vector" in name
        ]
        database.execute(
            f"DELETE FROM {vectors} WHERE rowid IN (SELECT rowid FROM {vectors} LIMIT 1)"
        )
    database.close()
    damaged = run("verify", "--json")
    assert damaged.code == 1 and damaged.json["ok"] is False and damaged.json["faults"]
    assert run("reindex", "--json").json == {"edits": 1}
    assert run("verify").code == 0


def test_another_encoder_is_refused_until_reindexed(
    run: Run, added: dict[str, Any], tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "memedit.db") as database:
        [(table, column)] = [
            (table, column)
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")
            for (_, column, *_) in database.execute(f"PRAGMA table_info({table})")
            if column in ("encoder", "fingerprint")
        ]
        database.execute(f"UPDATE {table} SET {column} = 'another encoder'")
    database.close()
    refused = run("list", "--json")
    assert refused.code == 1 and refused.error["code"] == "encoder_mismatch"
    assert "memedit reindex" in refused.error["message"]
    assert run("reindex").code == 0
    assert [edit["id"] for edit in run("list", "--json").json] == [added["id"]]


def _commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Return all commands by name; those of a group under its name, such as "delta show"."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        inner = hasattr(command, "commands")
        if inner:
            found |= _commands(command, f"{prefix}{name} ")
        if not inner or command.invoke_without_command:  # "eval" is both
            found[prefix + name] = command
    return found


def test_all_commands_are_there_with_json_and_an_example() -> None:
    commands = _commands(get_command(app))
    assert sorted(commands) == sorted(COMMANDS)
    for name, command in commands.items():
        options = {option for parameter in command.params for option in parameter.opts}
        assert "--json" in options, name
        assert f"Example: memedit {name}" in command.help or "memedit config" in command.help
        undescribed = [p.name for p in command.params if not getattr(p, "help", None)]
        assert undescribed == [], f"{name}: {undescribed}"


def test_help_and_version(run: Run) -> None:
    from memedit import __version__

    assert run("--version").out.strip() == f"memedit {__version__}"
    for name in COMMANDS:
        ran = run(*name.split(), "--help")
        assert ran.code == 0 and "--json" in ran.out, name


def test_help_is_there_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom memedit.cli.app import app\n"
        "heavy = {'torch', 'numpy', 'faiss', 'onnxruntime', 'sqlalchemy', 'fastapi', 'uvicorn',"
        " 'httpx2', 'aiohttp', 'transformers'}\nprint(sorted(heavy & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_the_module_runs_as_the_command_does() -> None:
    started = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "memedit.cli", "list", "--odd"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "--odd" in ran.stderr and len(ran.stderr.splitlines()) == 1
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("MEMEDIT_SCOPE__CLASSIFIER=cosin", "scope.classifier: no scope classifier called 'cosin'"),
        ("MEMEDIT_INCONTEXT__CHAT=statment", "Did you mean 'statement'?"),
        ("MEMEDIT_MEMORY__INDEX=fais", "memory.index: no vector index called 'fais'"),
    ],
)
@pytest.mark.parametrize("command", [("config",), ("route", "Who?")])
def test_a_part_that_is_not_there_is_misuse(
    run: Run, setting: str, said: str, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", "The capital of Quendoria is", "Lindhaven", "-s", "Quendoria")
    monkeypatch.setenv(*setting.split("="))
    ran = run(*command)
    assert ran.code == 2 and said in ran.err
