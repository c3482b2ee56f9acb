"""``memedit mcp``: the edits of a memory as a tool for any MCP client."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from memedit.cli import options as opt
from memedit.cli.output import print_json
from memedit.errors import MemeditError, MissingResourceError

if TYPE_CHECKING:
    from memedit.routing import Route, RouteQuery
    from memedit.routing.drive import Decider

log = logging.getLogger(__name__)


def mcp(
    http: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="Serve streamable HTTP there (at /mcp, loopback only) instead of stdio.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Else the classifier's own.")
    ] = None,
    namespace: opt.Namespaces = None,
    memory: opt.MemoryUrl = None,
    config: opt.ConfigFile = None,
    json: opt.Json = False,
) -> None:
    """Serve the look-up of edits as a tool to MCP clients, over stdin and stdout or over HTTP.

    The one tool, look_up_edits, takes a question and returns the facts that concern it. Edits
    that others write to the memory are found at the next call. Needs the extra 'mcp' of memedit.

    Example: memedit mcp --memory sqlite:////home/me/memedit.db
    """
    try:
        from memedit.agent import mcp_server
    except ImportError as error:
        raise MissingResourceError(
            f"an MCP server needs the package mcp, not usable here ({error}); "
            "run: pip install 'memedit[mcp]'"
        ) from None
    from memedit.agent import EditLookup, Lookup
    from memedit.config import Settings
    from memedit.serving.logs import configure_logging
    from memedit.serving.server import listen, run
    from memedit.wiring import open_memory, open_router

    address = None if http is None else _address(http)
    if address is not None:
        listen(*address, "http").close()  # a taken port is said before anything is opened
    settings = Settings.read(config, {"memory": {"url": memory}})
    spaces = tuple(namespace or (settings.memory.namespace,))
    with open_memory(settings=settings, create=False) as opened:
        # Not before: what cannot be served is said by the command and changes no logging.
        configure_logging(settings.serve.log_level)
        # The SDK's own lines may hold what clients sent, which is questions.
        sdk = logging.getLogger("mcp")
        sdk.handlers[:], sdk.propagate = [logging.NullHandler()], False
        router = _Logged(open_router(opened, settings))
        server = mcp_server.tool_server(EditLookup(router, Lookup(spaces, threshold)))
        if address is None:
            mcp_server.serve_stdio(server)
            return
        host, port = address
        served = settings.serve.model_copy(update={"host": host, "port": port})
        ready = {"url": f"http://{http}{mcp_server.PATH}"}
        if json:
            print_json(ready)
        else:
            typer.echo(f"memedit: {ready['url']}", err=True)
        run(mcp_server.http_app(server, host), served)


class _Logged:
    """Says in the log why a look-up failed: the model that asked is only told that it did."""

    def __init__(self, router: Decider) -> None:
        self._router = router

    def decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
        try:
            return self._router.decide(queries)
        except MemeditError as error:
            fields = {"code": error.code, "reason": str(error)}
            log.warning("a look-up failed", extra={"fields": fields})
            raise


def _address(text: str) -> tuple[str, int]:
    from memedit.serving.auth import is_loopback

    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) <= 65_535):
        raise typer.BadParameter(
            f"got {text!r}; expected HOST:PORT, such as 127.0.0.1:8200.", param_hint="--http"
        )
    if not is_loopback(host):
        raise typer.BadParameter(
            f"{host!r} is not loopback, and nothing here asks for a key: listen on 127.0.0.1, "
            "behind a server that does.",
            param_hint="--http",
        )
    return host.strip("[]"), int(port)
