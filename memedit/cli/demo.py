"""The demo: the same questions before an edit, with it, and when it was taken back."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import console, print_json

if TYPE_CHECKING:
    import httpx2

    from memedit.cli.processes import Server
    from memedit.cli.question import Answer
    from memedit.cli.scenes import Row, Scene, Script
    from memedit.client import Client

ENGINE_SECONDS = 180.0
VLLM_SECONDS = 300.0
PROXY_SECONDS = 120.0
NAME = "atlas"


def demo(
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Checkpoint; else the reference model Atlas.")
    ] = None,
    scenes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What is asked; else Atlas's own scenes.")
    ] = None,
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="A server that runs already, with the model.")
    ] = None,
    vllm_python: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Serve with vLLM: the Python that it is installed for."),
    ] = None,
    json: opt.Json = False,
) -> None:
    """Serve a model, add an edit, and show the same questions before, with and after it.

    Exit code 0 only if every answer is as it should be.

    Example: memedit demo
    """
    from memedit.cli.processes import ended_by_signals
    from memedit.cli.scenes import Script
    from memedit.client import Client

    if upstream is not None and (vllm_python is not None or model is not None):
        raise typer.BadParameter(
            "a running server has its own model; give --upstream alone.", param_hint="--upstream"
        )
    started = time.monotonic()
    script = Script.read(scenes or _atlas() / "data" / "demo.json")
    with ended_by_signals(), ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memedit-demo-")))
        servers, proxy_url, model_url = _stage(stack, folder, model, upstream, vllm_python)
        for server, seconds in servers:
            if not json:
                typer.echo(f"waiting for {server.name} ...", err=True)
            server.wait_healthy(seconds)
        client = stack.enter_context(Client(proxy_url))
        proxy, direct = (stack.enter_context(_http(url)) for url in (proxy_url, model_url))
        rows = [
            row for scene in script.scenes for row in play(script, scene, client, proxy, direct)
        ]
    ok = all(row.ok for row in rows)
    seconds = time.monotonic() - started
    if json:
        print_json(
            {"ok": ok, "seconds": round(seconds, 1), "rows": [_as_dict(row) for row in rows]}
        )
    else:
        _show(script, rows, seconds)
    if not ok:
        raise typer.Exit(1)


def play(
    script: Script, scene: Scene, client: Client, proxy: httpx2.Client, direct: httpx2.Client
) -> list[Row]:
    """Ask a scene's questions, add its edit, ask again, retract it, ask again."""
    from memedit.cli.question import Question, put
    from memedit.cli.scenes import judge

    def asked(http: httpx2.Client) -> list[Answer]:
        return [
            put(
                http,
                Question(question.ask, completion=script.completion, max_tokens=script.max_tokens),
            )
            for question in scene.questions
        ]

    own, before = asked(direct), asked(proxy)
    [edit] = client.add([scene.edit], author="demo")
    after = asked(proxy)
    client.retract(edit.id, author="demo")
    retracted = asked(proxy)
    return [
        judge(scene.name, *answers)
        for answers in zip(scene.questions, own, before, after, retracted, strict=True)
    ]


def _stage(
    stack: ExitStack,
    folder: Path,
    model: Path | None,
    upstream: str | None,
    vllm_python: Path | None,
) -> tuple[list[tuple[Server, float]], str, str]:
    """Start what is missing, all at the same time.

    Returns:
        The servers with the seconds they may take, the proxy's URL, and the model's.

    """
    from memedit.cli.processes import Server, free_port
    from memedit.errors import MissingResourceError

    environment = _without_settings()
    waits: list[tuple[Server, float]] = []
    if upstream is None:
        checkpoint = (model or _atlas() / "model").resolve()
        if not checkpoint.is_dir():
            raise MissingResourceError(f"no checkpoint at {checkpoint}; --model names one")
        port = free_port()
        upstream = f"http://127.0.0.1:{port}"
        if vllm_python is None:
            command, seconds = _engine_command(checkpoint, port), ENGINE_SECONDS
        else:
            # Made absolute, not resolved: an environment's python is a link, and knows it by that.
            command, seconds = _vllm_command(vllm_python.absolute(), checkpoint, port), VLLM_SECONDS
        name = "the engine" if vllm_python is None else "vLLM"
        log = folder / "model.log"
        server = Server(name, command, f"{upstream}/health", log=log, env=environment, cwd=folder)
        waits.append((stack.enter_context(server), seconds))
    upstream = upstream.rstrip("/").removesuffix("/v1")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "memedit.cli", "serve", "--upstream", upstream]
    command += ["--port", str(port), "--memory", f"sqlite:///{folder / 'edits.db'}"]
    log = folder / "proxy.log"
    proxy = Server("the proxy", command, f"{url}/healthz", log=log, env=environment, cwd=folder)
    waits.append((stack.enter_context(proxy), PROXY_SECONDS))
    return waits, url, upstream


_VLLM_SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "DO_NOT_TRACK": "1",
}


def _without_settings() -> dict[str, str]:
    """Return the environment for the demo's servers: the user's own settings are not the demo's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEMEDIT_")}
    return kept | _VLLM_SETTINGS


def _vllm_command(python: Path, model: Path, port: int) -> list[str]:
    # Not the ``vllm`` command: it looks for a distribution of that name, and vllm-cpu has another.
    command = [str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", NAME, "--host", "127.0.0.1", "--port", str(port)]
    return [*command, "--enforce-eager"]


def _engine_command(model: Path, port: int) -> list[str]:
    command = [sys.executable, "-m", "memedit.cli", "engine", "--model", str(model)]
    return [*command, "--served-model-name", NAME, "--port", str(port)]


def _atlas() -> Path:
    """Return the folder of the reference model: a clone has it, an installed wheel has not."""
    from memedit.errors import MissingResourceError

    for root in (Path.cwd(), Path(__file__).resolve().parents[2]):
        folder = root / "examples" / "atlas"
        if folder.is_dir():
            return folder
    raise MissingResourceError(
        "the reference model Atlas comes with the repository, not with the package; run the demo "
        "in a clone, or name --model and --scenes"
    )


def _http(url: str) -> httpx2.Client:
    import httpx2

    return httpx2.Client(base_url=url, timeout=120.0, trust_env=False)


def _as_dict(row: Row) -> dict[str, Any]:
    return {
        "scene": row.scene,
        "kind": row.question.kind.value,
        "ask": row.question.ask,
        "before": row.before,
        "after": row.after,
        "retracted": row.retracted,
        "ok": row.ok,
        "faults": list(row.faults),
    }


def _show(script: Script, rows: list[Row], seconds: float) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    screen = console()
    for scene in script.scenes:
        table = Table(box=box.SIMPLE_HEAD, title_justify="left")
        table.title = Text(f"{scene.name}: {scene.edit.plain_statement()}", style="bold")
        for column in ("", "asked", "before", "with the edit", "retracted", ""):
            table.add_column(column)
        for row in (row for row in rows if row.scene == scene.name):
            verdict = Text("ok", "green") if row.ok else Text("; ".join(row.faults), "bold red")
            texts = (row.question.kind.value, row.question.ask, row.before, row.after)
            table.add_row(*map(Text, (*texts, row.retracted)), verdict)
        screen.print(table)
    wrong = sum(not row.ok for row in rows)
    outcome = (
        f"{wrong} of {len(rows)} lines are WRONG" if wrong else "every line is as it should be"
    )
    screen.print(Text(f"{outcome} ({seconds:.0f} s)"))
