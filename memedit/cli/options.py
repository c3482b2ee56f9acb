"""The options that several commands share, spelled once."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings file; else memedit.toml, if present."),
]
MemoryUrl = Annotated[
    str | None,
    typer.Option("--memory", metavar="URL", help="Edit memory, e.g. sqlite:///memedit.db."),
]
ProxyUrl = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar="MEMEDIT_URL",
        help="Work on a running proxy instead of on a memory directly.",
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key", envvar="MEMEDIT_KEY", show_envvar=True, help="The proxy's admin key (with --url)."
    ),
]
Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Namespace; else the settings' default.")
]
Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", "-n", help="Namespace; may be given several times."),
]
Author = Annotated[str | None, typer.Option(help="Who asks for it, kept in the history.")]
EditId = Annotated[str, typer.Argument(help="Id of the edit, or id@version.", metavar="ID")]
Prompt = Annotated[str, typer.Argument(help="The prompt whose answer changes.")]
Target = Annotated[str, typer.Argument(help="The new answer.", metavar="TARGET")]
Subject = Annotated[
    str, typer.Option("--subject", "-s", help="What the fact is about, as it stands in the prompt.")
]
GroundTruth = Annotated[str | None, typer.Option(help="The old answer, where it is known.")]
Statement = Annotated[str | None, typer.Option(help="The fact in plain language.")]
Rephrases = Annotated[
    list[str] | None, typer.Option("--rephrase", help="Another way to ask; repeatable.")
]
Aliases = Annotated[
    list[str] | None, typer.Option("--alias", help="Another name of the subject; repeatable.")
]
OnConflict = Annotated[
    Literal["keep", "supersede", "reject"] | None,
    typer.Option(help="An edit contradicts a live one; else as the settings say."),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Moment = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="UTC.")
]
ScopeWeights = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Weights of the classifier's own, as 'memedit scope train' writes them.",
    ),
]
