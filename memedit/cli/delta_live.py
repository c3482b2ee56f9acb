"""``memedit delta apply`` and ``revert``: changed tensors in the weights of a running vLLM."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from memedit.cli import options as opt
from memedit.cli.adapters import AdapterId, LibraryDir, library_of
from memedit.cli.output import print_json
from memedit.errors import ConflictError, NotFoundError, SettingsError, UpstreamUnreachable

PATIENCE = 600.0
"""Seconds for an answer: running requests wait, and the weights of large models take a while."""
Server = Annotated[
    str, typer.Option("--server", metavar="URL", help="The vLLM itself, not the proxy before it.")
]
PluginKey = Annotated[
    str | None,
    typer.Option(
        "--plugin-key", envvar="MEMEDIT_PLUGIN_KEY", show_envvar=True, help="As vLLM has it."
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="VLLM_API_KEY", show_envvar=True, help="vLLM's own, if any."),
]


def apply(
    folder: Annotated[Path, typer.Argument(metavar="DELTA", help="Folder of a saved delta.")],
    server: Server,
    name: AdapterId = None,
    library: LibraryDir = None,
    plugin_key: PluginKey = None,
    api_key: ApiKey = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Put a delta into the weights of a running vLLM, on top of what is in force there.

    It is copied into the library that the server reads (MEMEDIT_ADAPTER_LIBRARY) as a version that
    never changes. Running answers wait and go on with the new weights. vLLM must run with
    memedit's plugin and its routes; deltas are forgotten when it is restarted. Its edits go on
    being written into prompts: unlike a deployed LoRA, the memory does not know of it.

    Example: memedit delta apply deltas/quendoria --server http://127.0.0.1:8000 --library library
    """
    from memedit.engine.loading import need_models_extra

    need_models_extra()
    from memedit.library.library import Library, checked_id
    from memedit.modeling.delta import WeightDelta

    root = library_of(library, config)
    delta = WeightDelta.load(folder)
    chosen = checked_id(name or folder.resolve().name)
    before = _in_force(server, plugin_key, api_key)
    shelf = Library(root)
    stored = shelf.take_name(chosen)
    delta.save(shelf.folder(stored))
    try:
        said = _put(server, plugin_key, api_key, [*before, stored])
    except Exception:
        shelf.remove(stored)  # nothing has it in force
        raise
    _tell(said, server, json, added=stored)


def revert(
    server: Server,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="In force; memedit-ID-VERSION.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are in force.")] = False,
    plugin_key: PluginKey = None,
    api_key: ApiKey = None,
    json: opt.Json = False,
) -> None:
    """Take deltas out of the weights of a running vLLM, bit for bit; the others stay in force.

    Example: memedit delta revert memedit-quendoria-1 --server http://127.0.0.1:8000
    """
    if everything == bool(names):
        raise SettingsError("name the deltas to take out, or give --all")
    before = _in_force(server, plugin_key, api_key)
    gone = before if everything else list(names or ())
    if unknown := [one for one in gone if one not in before]:
        raise NotFoundError(
            f"{', '.join(unknown)}: not in force at {server}; there are "
            f"{', '.join(before) or 'none'}"
        )
    left = [one for one in before if one not in gone]
    _tell(_put(server, plugin_key, api_key, left), server, json)


def _in_force(server: str, plugin_key: str | None, api_key: str | None) -> list[str]:
    return [str(one) for one in _ask(server, plugin_key, api_key, "GET")["deltas"]]


def _put(
    server: str, plugin_key: str | None, api_key: str | None, names: Sequence[str]
) -> dict[str, Any]:
    return _ask(server, plugin_key, api_key, "PUT", {"deltas": list(names)})


def _ask(
    server: str, plugin_key: str | None, api_key: str | None, method: str, body: Any = None
) -> dict[str, Any]:
    """Ask the plugin's route.

    Raises:
        UpstreamUnreachable: nothing answers there.
        ConflictError: the plugin is not there, or it refused; its own words are in the message.

    """
    import httpx2

    where = server.rstrip("/").removesuffix("/v1") + "/v1/memedit/weights"
    headers = {"memedit-plugin-key": plugin_key or ""}
    if api_key:
        headers["authorization"] = f"Bearer {api_key}"
    try:
        reply = httpx2.request(method, where, json=body, headers=headers, timeout=PATIENCE)
    except httpx2.HTTPError as error:
        raise UpstreamUnreachable(f"cannot reach vLLM at {server}: {error}") from error
    try:
        said: Any = reply.json()
    except ValueError:
        said = {}
    if reply.status_code == 200 and isinstance(said, dict) and "deltas" in said:
        return said
    problem = said.get("error") if isinstance(said, dict) else None
    if isinstance(problem, dict) and "message" in problem:
        raise ConflictError(f"{server} refused ({reply.status_code}): {problem['message']}")
    raise ConflictError(
        f"{where} answered {reply.status_code}: no vLLM with memedit's plugin and its routes "
        "(VLLM_PLUGINS=memedit, MEMEDIT_ADAPTER_LIBRARY and MEMEDIT_PLUGIN_KEY)"
    )


def _tell(said: dict[str, Any], server: str, json: bool, added: str | None = None) -> None:
    if json:
        print_json({"server": server, "added": added, **said})
        return
    if added is not None:
        typer.echo(f"{added} is in the weights")
    typer.echo(f"in force at {server}: {', '.join(said['deltas']) or 'no delta'}")
