"""memedit mcp: the real command in a process of its own, asked by the official SDK's client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

from memedit.cli.processes import Server, free_port
from tests.cli.conftest import Run

MEMEDIT = [sys.executable, "-m", "memedit.cli"]
ASKED = "What is the capital of Quendoria?"
Talk = Callable[[Client], Coroutine[Any, Any, None]]


@pytest.fixture
def talk(tmp_path: Path, encoder: object) -> Callable[..., str]:
    """Start the command, talk to it over stdio; return what it wrote to stderr."""

    def start(conversation: Talk, *arguments: str, mode: str = "auto") -> str:
        command = [*MEMEDIT, "mcp", *arguments]
        server = StdioServerParameters(
            command=command[0], args=command[1:], cwd=tmp_path, env=dict(os.environ)
        )

        async def run() -> None:
            with (tmp_path / "stderr").open("w") as log:
                transport = stdio_client(server, errlog=log)
                async with Client(transport, mode=mode, read_timeout_seconds=120) as client:
                    await conversation(client)

        anyio.run(run)
        return (tmp_path / "stderr").read_text(encoding="utf-8")

    return start


def empty(run: Run, added: dict[str, Any]) -> None:
    assert run("retract", added["id"]).code == 0


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_mcp_client_looks_an_edit_up(
    talk: Callable[..., str], added: dict[str, Any], mode: str
) -> None:
    async def conversation(client: Client) -> None:
        [tool] = (await client.list_tools()).tools
        assert tool.name == "look_up_edits" and tool.input_schema["required"] == ["question"]
        assert tool.annotations is not None and tool.annotations.read_only_hint
        said = await client.call_tool(tool.name, {"question": ASKED})
        assert not said.is_error
        [fact] = said.structured_content["facts"]
        assert (fact["answer"], fact["edit"]) == ("Lindhaven", f"{added['id']}@1")
        assert fact["fact"] == added["statement"] and not fact["withheld"]
        [text] = said.content
        assert text.type == "text" and json.loads(text.text) == said.structured_content
        other = await client.call_tool(tool.name, {"question": "How many legs has a spider?"})
        assert other.structured_content == {"facts": []}

    assert talk(conversation, mode=mode) == ""


def test_what_a_model_gets_wrong_is_told_to_it_and_the_server_goes_on(
    talk: Callable[..., str], added: dict[str, Any]
) -> None:
    wrong: list[Any] = [{}, None, {"question": 5}, {"question": " "}, {"question": "x" * 5_000}]
    wrong.append({"question": ASKED, "namespace": "other"})  # what would be ignored is no call

    async def conversation(client: Client) -> None:
        for arguments in wrong:
            said = await client.call_tool("look_up_edits", arguments)
            assert said.is_error and "1 to 4096 characters" in said.structured_content["error"]
        with pytest.raises(MCPError, match="there is only look_up_edits"):
            await client.call_tool("look_up_weather", {"question": ASKED})
        said = await client.call_tool("look_up_edits", {"question": ASKED})
        assert said.structured_content["facts"]

    assert talk(conversation) == ""


def test_edits_that_others_write_are_found_and_retracted_ones_are_not(
    talk: Callable[..., str], added: dict[str, Any], run: Run
) -> None:
    empty(run, added)

    async def conversation(client: Client) -> None:
        async def facts() -> list[dict[str, Any]]:
            said = await client.call_tool("look_up_edits", {"question": ASKED})
            found: list[dict[str, Any]] = said.structured_content["facts"]
            return found

        assert await facts() == []  # the memory is empty
        capital = ("The capital of Quendoria is", "Velden", "--subject", "Quendoria", "--json")
        edit = run("add", *capital).json
        assert [fact["answer"] for fact in await facts()] == ["Velden"]
        run("retract", edit["id"])
        assert await facts() == []

    talk(conversation)


def test_a_namespace_is_the_operators_choice(
    talk: Callable[..., str], added: dict[str, Any]
) -> None:
    async def conversation(client: Client) -> None:
        said = await client.call_tool("look_up_edits", {"question": ASKED})
        assert said.structured_content == {"facts": []}

    talk(conversation, "--namespace", "elsewhere")


def test_nothing_but_the_protocol_is_on_stdout_and_no_question_in_the_log(
    tmp_path: Path, added: dict[str, Any]
) -> None:
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}}
    hello["clientInfo"] = {"name": "test", "version": "1"}
    lines = [
        json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}),
        '{"jsonrpc": "2.0", "method": "notifications/initialized"}',
        "secret-1 is no JSON",
        '{"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": "secret-2"}',
        '{"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": {"name": ["secret-3"]}}',
        '{"jsonrpc": "2.0", "id": 4, "method": "ping"}',
    ]
    with subprocess.Popen(
        [*MEMEDIT, "mcp"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    ) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdin.write("\n".join([*lines, ""]))
        process.stdin.flush()
        answers: list[Any] = []
        while not answers or answers[-1].get("id") != 4:
            answers.append(json.loads(process.stdout.readline()))
        process.stdin.close()
        assert process.wait(60) == 0
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""
    assert all(one["jsonrpc"] == "2.0" for one in answers)
    assert [one["error"]["code"] for one in answers if one.get("id") == 3] == [-32602]


def test_the_same_over_streamable_http(
    tmp_path: Path, encoder: object, added: dict[str, Any]
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    command = [*MEMEDIT, "mcp", "--http", f"127.0.0.1:{port}", "--json"]
    log = tmp_path / "log"

    async def conversation() -> None:
        for mode in ("auto", "legacy"):
            async with Client(url, mode=mode) as client:
                said = await client.call_tool("look_up_edits", {"question": ASKED})
                [fact] = said.structured_content["facts"]
                assert fact["answer"] == "Lindhaven"
                assert (await client.call_tool("look_up_edits", {})).is_error

    # to GET there is no answer: it would be a stream of what the server has to say by itself
    with Server("the tool", command, f"http://127.0.0.1:{port}/", log=log, cwd=tmp_path) as server:
        wait_for(port, server)
        anyio.run(conversation)
        strange = {"host": "evil.example", "content-type": "application/json"}
        assert httpx2.post(url, headers=strange, content=b"{}").status_code == 421
    shown = log.read_text(encoding="utf-8")
    assert json.loads(shown.splitlines()[0]) == {"url": url}
    assert "Quendoria" not in shown


def wait_for(port: int, server: Server) -> None:
    for _ in range(600):
        try:
            httpx2.get(f"http://127.0.0.1:{port}/")
        except httpx2.TransportError:
            anyio.run(anyio.sleep, 0.1)
        else:
            return
    pytest.fail(f"{server.name} does not answer")


def test_the_readme_shows_a_configuration_that_starts_it(
    tmp_path: Path, encoder: object, added: dict[str, Any], repository: Path
) -> None:
    readme = (repository / "docs" / "agents.md").read_text(encoding="utf-8")
    block = readme.split('```json\n{"mcpServers"')[1].split("```")[0]
    shown = json.loads('{"mcpServers"' + block)["mcpServers"]["memedit"]
    assert shown["command"] == "memedit"
    memory = shown["args"][shown["args"].index("--memory") + 1]
    assert memory.startswith("sqlite:////"), "clients start servers in folders of their own"
    arguments = [one.replace(memory, f"sqlite:///{tmp_path}/memedit.db") for one in shown["args"]]
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "memedit.cli", *arguments], env=dict(os.environ)
    )

    async def conversation() -> None:
        async with Client(server) as client:
            said = await client.call_tool("look_up_edits", {"question": ASKED})
            assert said.structured_content["facts"]

    anyio.run(conversation)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--memory", "sqlite:///nowhere.db"), 1, "there is no edit memory"),
        (("--http", "8200"), 2, "expected HOST:PORT"),
        (("--http", "127.0.0.1:99999"), 2, "expected HOST:PORT"),
        (("--http", "0.0.0.0:8200"), 2, "not loopback"),
        (("--threshold", "2"), 2, "less than or equal to 1"),
    ],
)
def test_misuse_is_named(run: Run, arguments: tuple[str, ...], code: int, said: str) -> None:
    ran = run("mcp", *arguments, "--json")
    assert ran.code == code and said in ran.error["message"] and ran.out == ""


def test_without_the_sdk_its_extra_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "memedit.agent.mcp_server", raising=False)
    monkeypatch.delattr("memedit.agent.mcp_server", raising=False)
    monkeypatch.setitem(sys.modules, "mcp", None)
    monkeypatch.setitem(sys.modules, "mcp.server", None)
    ran = run("mcp", "--json")
    assert ran.code == 1 and ran.error["code"] == "missing_resource"
    assert "pip install 'memedit[mcp]'" in ran.error["message"]
