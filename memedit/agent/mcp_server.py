"""The look-up tool as a server of the Model Context Protocol; needs ``memedit[mcp]``."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError

from memedit import __version__

PATH = "/mcp"
"""Where the tool is served over HTTP."""
MOST_BYTES = 65_536
"""Of one HTTP request; the longest question fits, escaped as it may be."""


class Tool(Protocol):
    """A tool for models: what it is, and what it says.  ``EditLookup`` is one."""

    @property
    def definition(self) -> dict[str, Any]:
        """OpenAI's tool schema."""

    def call(self, arguments: dict[str, Any]) -> str:
        """Answer a call with JSON; raises nothing for what a model may get wrong."""


def tool_server(tool: Tool) -> Server[Any]:
    """Return a server that offers one tool; it serves nothing yet.

    What the tool answers goes out as text and as structured content.  An answer with ``error`` is
    marked as one, so that the model reads it; only a tool that is not there breaks the protocol.
    """
    function = tool.definition["function"]
    offered = types.Tool(
        name=function["name"],
        description=function["description"],
        input_schema=function["parameters"],
        annotations=types.ToolAnnotations(
            title="Look up edited facts", read_only_hint=True, open_world_hint=False
        ),
    )

    async def list_tools(
        context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[offered])

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if params.name != offered.name:
            raise MCPError(
                types.INVALID_PARAMS, f"no tool of that name; there is only {offered.name}"
            )
        said = await anyio.to_thread.run_sync(tool.call, params.arguments or {})
        value = json.loads(said)
        return types.CallToolResult(
            content=[types.TextContent(text=said)],
            structured_content=value,
            is_error="error" in value,
        )

    return Server(
        "memedit",
        version=__version__,
        title="memedit",
        instructions=f"{offered.name} knows facts that changed after a model's training.",
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def serve_stdio(server: Server[Any]) -> None:
    """Serve over this process's stdin and stdout until stdin ends.

    Meanwhile whatever else is written to stdout goes to stderr: the SDK moves the descriptors.
    """

    async def serve() -> None:
        async with stdio_server() as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())

    anyio.run(serve)


def http_app(server: Server[Any], host: str) -> Callable[..., Awaitable[None]]:
    """Return the server as an ASGI app, streamable HTTP at ``PATH``; it needs its lifespan.

    Each request stands by itself, so that nothing is kept for clients that went away.

    Args:
        server: from ``tool_server``.
        host: where it listens.  On loopback, requests to another name (DNS rebinding) and those
            of foreign web pages are refused.

    """
    return server.streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=MOST_BYTES,
        host=host,
    )
