"""The SDKs straight to vLLM, with edits and with no proxy: ``memedit.http_client``.

One routing core stands behind proxy and client, so both send vLLM the very same bytes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

import memedit
from memedit.config import Settings
from memedit.memory import EditMemory
from tests.e2e.facts import CAPITAL, CAPITAL_CLOZE, CAPITAL_QUESTION, CAPITAL_TARGET, UNRELATED
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy
from tests.e2e.wires import MODEL, WIRES, Wire, post

USER: Any = [{"role": "user", "content": CAPITAL_QUESTION}]


@pytest.fixture(scope="module")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EditMemory]:
    folder: Path = tmp_path_factory.mktemp("transport")
    with memedit.open_memory(f"sqlite:///{folder / 'edits.db'}", Settings()) as memory:
        memory.add([memedit.EditRequest(**CAPITAL)])
        yield memory


def test_openai(memory: EditMemory, relay: Relay, mark: str) -> None:
    http = memedit.http_client(memory, settings=Settings(), headers={"x-mark": mark})
    with openai.OpenAI(base_url=f"{relay.url}/v1", api_key="none", http_client=http) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=MODEL, messages=USER, max_tokens=4, temperature=0
        )
        assert raw.headers["x-memedit-route"] == "in_context"
        chunks = client.chat.completions.create(
            model=MODEL, messages=USER, max_tokens=4, temperature=0, stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert text == (raw.parse().choices[0].message.content or "")
        assert CAPITAL_TARGET in relay.bodies("x-mark")[mark].decode()
        other = client.responses.with_raw_response.create(
            model=MODEL, input=UNRELATED[0], max_output_tokens=2
        )
        assert other.headers["x-memedit-route"] == "pass"
        prompts = [UNRELATED[0], CAPITAL_CLOZE]
        batch = client.completions.with_raw_response.create(
            model=MODEL, prompt=prompts, max_tokens=2
        )
        assert set(batch.headers["x-memedit-route"].split(",")) == {"pass", "in_context"}


def test_openai_async(memory: EditMemory, relay: Relay) -> None:
    async def ask() -> str:
        http = memedit.async_http_client(memory, settings=Settings())
        async with openai.AsyncOpenAI(
            base_url=f"{relay.url}/v1", api_key="none", http_client=http
        ) as client:
            raw = await client.responses.with_raw_response.create(
                model=MODEL, input=CAPITAL_QUESTION, max_output_tokens=4, temperature=0
            )
            assert raw.headers["x-memedit-route"] == "in_context"
            stream = await client.responses.create(
                model=MODEL, input=CAPITAL_QUESTION, max_output_tokens=4, temperature=0, stream=True
            )
            text = ""
            async for event in stream:
                text += event.delta if event.type == "response.output_text.delta" else ""
            assert text == raw.parse().output_text
            return str(raw.headers["x-memedit-edits"])

    assert asyncio.run(ask()).startswith("e-")


def test_anthropic(memory: EditMemory, relay: Relay) -> None:
    http = memedit.http_client(memory, settings=Settings())
    with anthropic.Anthropic(base_url=relay.url, api_key="none", http_client=http) as client:
        raw = client.messages.with_raw_response.create(model=MODEL, max_tokens=3, messages=USER)
        assert raw.headers["x-memedit-route"] == "in_context"
        with pytest.raises(anthropic.NotFoundError, match="does not exist"):
            client.messages.create(model="no-such-model", max_tokens=2, messages=USER)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_client_and_proxy_send_the_same_bytes(
    wire: Wire, memory: EditMemory, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    for number, question in enumerate((CAPITAL_QUESTION, UNRELATED[3])):
        body = json.dumps(wire.body(question, tokens=1), indent=2).encode()
        proxied = post(
            proxy.url, wire.path, body, x_mark=f"{mark}-p{number}", x_memedit_namespace=namespace
        )
        with memedit.http_client(memory, settings=Settings()) as http:
            headers = {"x-mark": f"{mark}-c{number}", "content-type": "application/json"}
            direct = http.post(f"{relay.url}{wire.path}", content=body, headers=headers)
        assert (direct.status_code, proxied.status) == (200, 200)
        assert direct.headers["x-memedit-route"] == proxied.route
        bodies = relay.bodies("x-mark")
        assert bodies[f"{mark}-c{number}"] == bodies[f"{mark}-p{number}"]
