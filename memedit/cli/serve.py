"""Commands that run servers: serve (the proxy, with the engine if asked for) and engine."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json
from memedit.errors import MissingResourceError

if TYPE_CHECKING:
    from memedit.config import Settings

ENGINE_START_SECONDS = 300.0

Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Port to listen on; 0 picks a free one.")
]
Model = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Checkpoint folder, for the embedded engine.")
]
ModelName = Annotated[
    str | None, typer.Option("--served-model-name", help="Name of the model; else the folder's.")
]


def serve(
    upstream: Annotated[
        str | None, typer.Option(metavar="URL", help="The served model, e.g. a running vLLM.")
    ] = None,
    model: Model = None,
    served_model_name: ModelName = None,
    host: Host = None,
    port: Port = None,
    library: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Adapters that requests may go to.")
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT",
            help="Of the served model: 'memedit adapters fingerprint'; needed with --library.",
        ),
    ] = None,
    serac: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Of 'memedit train serac': its model answers what an edit answers by itself, its "
            "classifier decides; run by the embedded engine unless serac.url names a server.",
        ),
    ] = None,
    on_memory_failure: Annotated[
        str | None, typer.Option(help="open: pass untouched and say so; closed: answer 503.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Run the proxy in front of a served model; with --model run the embedded engine as well.

    Example: memedit serve --upstream http://127.0.0.1:8000 --memory sqlite:///memedit.db
    """
    from memedit.cli.adapter_notes import adapter_notes
    from memedit.cli.processes import ended_by_signals, free_port
    from memedit.config import Settings
    from memedit.serving.app import create_app
    from memedit.serving.server import listen, run
    from memedit.wiring import (
        counterfactual_settings,
        open_answerer,
        open_enricher,
        open_memory,
        open_router,
    )

    if upstream is not None and model is not None:
        raise typer.BadParameter("give --upstream or --model, not both.", param_hint="--model")
    flags: dict[str, dict[str, Any]] = {
        "memory": {"url": memory},
        "serve": {
            "upstream": upstream,
            "host": host,
            "port": port,
            "on_memory_failure": on_memory_failure,
            "log_level": log_level,
        },
        "adapters": {"library": library, "base": base},
        "engine": {"model": model, "served_model_name": served_model_name},
        "serac": {"folder": serac},
        "routing": {"direct": "serac" if serac is not None else None},
        "scope": {"classifier": "serac" if serac is not None else None},
    }
    settings = Settings.read(config, flags)
    with ended_by_signals(), ExitStack() as stack:
        served = settings.serve
        if served.port == 0:
            served = served.model_copy(update={"port": free_port(served.host)})
        # a taken port is said now, before anything is started or announced
        listen(served.host, served.port).close()
        if model is not None:
            served = served.model_copy(update={"upstream": _start_engine(stack, settings)})
        settings = _with_counterfactual(stack, settings)
        opened = stack.enter_context(open_memory(settings=settings))
        router = open_router(opened, settings, adapters=True, counterfactual=True)
        proxy = create_app(
            served,
            router,
            opened,
            namespace=settings.memory.namespace,
            adapters=settings.adapters,
            answerer=open_answerer(settings),
            counterfactual=counterfactual_settings(settings),
            enrich=partial(open_enricher, opened, settings)
            if settings.memory.enrich != "none"
            else None,
        )
        for note in adapter_notes(settings.adapters, opened.adapters.view().records.values()):
            typer.echo(f"memedit: {note}", err=True)
        ready = {
            "url": f"http://{served.host}:{served.port}",
            "upstream": served.upstream,
            "edits": sum(opened.namespaces().values()),
        }
        if json:
            print_json(ready)
        else:
            typer.echo(
                f"memedit: {ready['url']} in front of {ready['upstream']}, "
                f"{ready['edits']} live edits",
                err=True,
            )
        run(proxy, served)


def _with_counterfactual(stack: ExitStack, settings: Settings) -> Settings:
    """Start an engine for the counterfactual model where it is wanted and no server is named."""
    serac = settings.serac
    wanted = settings.routing.direct == "serac" and serac.url is None
    if not wanted or serac.folder is None:
        return settings
    engine = settings.engine.model_copy(
        update={"model": serac.folder / "model", "served_model_name": serac.model, "port": 0}
    )
    url = _start_engine(stack, settings.model_copy(update={"engine": engine}))
    return settings.model_copy(update={"serac": serac.model_copy(update={"url": url})})


def _start_engine(stack: ExitStack, settings: Settings) -> str:
    """Start the embedded engine as a child process; return its URL once it is healthy."""
    from memedit.cli.processes import Server
    from memedit.errors import SettingsError
    from memedit.serving.server import listen

    model = settings.engine.model
    if model is None or not model.is_dir():
        raise MissingResourceError(f"no checkpoint folder at {model}; --model names one")
    host = settings.engine.host
    # Whoever uses the proxy need not know the engine's port: a taken one is no reason to stop.
    # The engine inherits the open socket: between finding a port and using it, another process
    # could take it, and would then be taken for the engine.
    try:
        listener = listen(host, settings.engine.port, "engine")
    except SettingsError:
        listener = listen(host, 0, "engine")
    url = f"http://{host}:{listener.getsockname()[1]}"
    command = [*engine_command(settings), "--fd", str(listener.fileno())]
    engine = Server("the engine", command, f"{url}/health", listener=listener)
    stack.enter_context(engine)
    engine.wait_healthy(ENGINE_START_SECONDS)
    return url


def engine_command(settings: Settings) -> list[str]:
    """Return the command line that runs the engine of these settings, but for where it listens."""
    chosen = settings.engine
    command = [sys.executable, "-m", "memedit.cli", "engine", "--model", str(chosen.model)]
    command += ["--host", chosen.host]
    command += ["--dtype", chosen.dtype, "--device", chosen.device]
    if chosen.served_model_name is not None:
        command += ["--served-model-name", chosen.served_model_name]
    return command


def engine(
    model: Model = None,
    served_model_name: ModelName = None,
    host: Host = None,
    port: Port = None,
    dtype: Annotated[str | None, typer.Option(help="auto, float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ...")] = None,
    fd: Annotated[
        int | None,
        typer.Option(
            hidden=True, help="An open socket to serve on: 'memedit serve' hands it over."
        ),
    ] = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Run the embedded engine alone: a small OpenAI-compatible server over transformers.

    Example: memedit engine --model ./checkpoint --port 8000
    """
    import socket

    from memedit.config import Settings
    from memedit.engine import run_engine
    from memedit.serving.server import listen

    flags: dict[str, dict[str, Any]] = {
        "engine": {
            "model": model,
            "served_model_name": served_model_name,
            "host": host,
            "port": port,
            "dtype": dtype,
            "device": device,
        }
    }
    chosen = Settings.read(config, flags).engine
    inherited = None if fd is None else socket.socket(fileno=fd)  # serve opened it for its engine
    # Else a taken port is said now, and nothing listens until the model is loaded: who waits for
    # the port waits for the model.
    listener = inherited or listen(chosen.host, chosen.port, "engine")
    chosen = chosen.model_copy(update={"port": listener.getsockname()[1]})
    if inherited is None:
        listener.close()
    if json:
        print_json({"url": f"http://{chosen.host}:{chosen.port}", "model": str(chosen.model)})
    run_engine(chosen, inherited)
