"""Commands that look after things: config, verify, reindex."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json, print_table, progress

if TYPE_CHECKING:
    from memedit.config import Settings


def config(
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Print the effective settings and where each comes from; secrets are masked.

    Example: MEMEDIT_SERVE__PORT=8200 memedit config
    """
    from memedit.config import Settings
    from memedit.wiring import check_names

    settings = Settings.read(config, {"memory": {"url": memory}})
    check_names(settings)
    shown = settings.shown()
    if json:
        print_json(shown)
        return
    origins = _origins(settings, config, {"memory.url"} if memory is not None else set())
    rows = [
        [f"{section}.{name}", _cell(value), origins[f"{section}.{name}"]]
        for section, values in shown.items()
        for name, value in values.items()
    ]
    print_table(("setting", "value", "from"), rows)


def verify(
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Check that the search index agrees with the database; exit code 1 if it does not.

    Example: memedit verify --memory sqlite:///memedit.db
    """
    import dataclasses

    from memedit.config import Settings
    from memedit.wiring import open_memory

    settings = Settings.read(config, {"memory": {"url": memory}})
    with open_memory(settings=settings, create=False) as opened:
        report = opened.verify()
    facts = dataclasses.asdict(report)
    if json:
        print_json({"ok": report.ok, **facts})
    else:
        print_table(("check", "result"), ([name, _cell(value)] for name, value in facts.items()))
        typer.echo("the index agrees with the database" if report.ok else "THEY DISAGREE")
    if not report.ok:
        raise typer.Exit(1)


def reindex(
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Encode every edit anew, with the encoder of the settings, and rebuild the index.

    Example: memedit reindex --memory sqlite:///memedit.db
    """
    from memedit.config import Settings
    from memedit.errors import EncoderMismatchError
    from memedit.wiring import open_memory

    settings = Settings.read(config, {"memory": {"url": memory}})
    try:
        opened = open_memory(settings=settings, create=False)
    except EncoderMismatchError:
        with open_memory(settings=settings, reindex=True) as opened:
            count = sum(opened.namespaces().values())
    else:
        with opened, progress("encoding") as tell:
            count = opened.reindex(opened.encoder, progress=tell)
    if json:
        print_json({"edits": count})
    else:
        typer.echo(f"{count} edits encoded anew")


def _origins(settings: Settings, file: Path | None, flags: set[str]) -> dict[str, str]:
    """Tell for every setting who set it; the settings have been read, so the file is valid."""
    from memedit.config import DEFAULT_FILE

    chosen = file if file is not None else DEFAULT_FILE
    in_file = tomllib.loads(chosen.read_text(encoding="utf-8")) if chosen.is_file() else {}
    in_env = {name.lower() for name in os.environ}
    origins: dict[str, str] = {}
    for section, values in settings.shown().items():
        for name in values:
            path = f"{section}.{name}"
            if path in flags:
                origins[path] = "flag"
            elif f"memedit_{section}__{name}".lower() in in_env:
                origins[path] = f"environment (MEMEDIT_{section.upper()}__{name.upper()})"
            elif f"memedit_{section}" in in_env:
                origins[path] = f"environment (MEMEDIT_{section.upper()})"
            elif name in in_file.get(section, {}):
                origins[path] = str(chosen)
            else:
                origins[path] = "default"
    return origins


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
