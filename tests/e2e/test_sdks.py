"""The official SDKs as clients of the proxy: they notice nothing but the edit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.facts import CAPITAL, CAPITAL_CLOZE, CAPITAL_QUESTION, UNRELATED
from tests.e2e.stack import Proxy
from tests.e2e.wires import MODEL

USER: Any = [{"role": "user", "content": CAPITAL_QUESTION}]


@pytest.fixture
def headers(proxy: Proxy, namespace: str) -> dict[str, str]:
    proxy.add(CAPITAL, namespace=namespace)
    return {"x-memedit-namespace": namespace}


@pytest.fixture
def client(proxy: Proxy, headers: dict[str, str]) -> Iterator[openai.OpenAI]:
    url = f"{proxy.url}/v1"
    with openai.OpenAI(base_url=url, api_key="none", default_headers=headers) as client:
        yield client


@pytest.fixture
def claude(proxy: Proxy, headers: dict[str, str]) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=proxy.url, api_key="none", default_headers=headers) as client:
        yield client


def test_openai_chat(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=USER, max_tokens=4, temperature=0
    )
    assert raw.headers["x-memedit-route"] == "in_context"
    whole = raw.parse()
    assert whole.choices[0].finish_reason in {"stop", "length"}
    assert whole.usage is not None
    chunks = list(
        client.chat.completions.create(
            model=MODEL,
            messages=USER,
            max_tokens=4,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == (whole.choices[0].message.content or "")
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


def test_openai_completions(client: openai.OpenAI) -> None:
    raw = client.completions.with_raw_response.create(
        model=MODEL, prompt=[UNRELATED[0], CAPITAL_CLOZE], max_tokens=3, temperature=0
    )
    assert set(raw.headers["x-memedit-route"].split(",")) == {"pass", "in_context"}
    whole = raw.parse()
    assert [choice.index for choice in whole.choices] == [0, 1]
    pieces = ["", ""]
    for chunk in client.completions.create(
        model=MODEL, prompt=[UNRELATED[0], CAPITAL_CLOZE], max_tokens=3, temperature=0, stream=True
    ):
        for choice in chunk.choices:
            pieces[choice.index] += choice.text
    assert pieces == [choice.text for choice in whole.choices]


def test_openai_responses(client: openai.OpenAI) -> None:
    raw = client.responses.with_raw_response.create(
        model=MODEL, input=CAPITAL_QUESTION, max_output_tokens=4, temperature=0
    )
    assert raw.headers["x-memedit-route"] == "in_context"
    whole = raw.parse()
    text, kinds = "", []
    for event in client.responses.create(
        model=MODEL, input=CAPITAL_QUESTION, max_output_tokens=4, temperature=0, stream=True
    ):
        kinds.append(event.type)
        text += event.delta if event.type == "response.output_text.delta" else ""
    assert text == whole.output_text
    assert (kinds[0], kinds[-1]) == ("response.created", "response.completed")


def test_openai_async(proxy: Proxy, headers: dict[str, str]) -> None:
    async def ask() -> list[str]:
        url = f"{proxy.url}/v1"
        async with openai.AsyncOpenAI(
            base_url=url, api_key="none", default_headers=headers
        ) as client:
            raws = await asyncio.gather(
                *(
                    client.chat.completions.with_raw_response.create(
                        model=MODEL, messages=[{"role": "user", "content": text}], max_tokens=2
                    )
                    for text in (CAPITAL_QUESTION, UNRELATED[1], CAPITAL_QUESTION, UNRELATED[2])
                )
            )
            return [raw.headers["x-memedit-route"] for raw in raws]

    assert asyncio.run(ask()) == ["in_context", "pass", "in_context", "pass"]


def test_openai_errors_and_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL]
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(model="no-such-model", messages=USER)
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        long = "word " * 20_000
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": long}])


def test_anthropic_messages(claude: anthropic.Anthropic) -> None:
    # Through raw fields, so that both calls are greedy: this SDK knows no temperature of 0 by now.
    greedy: dict[str, Any] = {"extra_body": {"temperature": 0}}
    raw = claude.messages.with_raw_response.create(
        model=MODEL, max_tokens=4, messages=USER, system="Be brief.", **greedy
    )
    assert raw.headers["x-memedit-route"] == "in_context"
    whole = raw.parse()
    with claude.messages.stream(
        model=MODEL, max_tokens=4, messages=USER, system="Be brief.", **greedy
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "".join(block.text for block in whole.content if block.type == "text")
    assert final.usage.output_tokens == whole.usage.output_tokens
    assert final.stop_reason == whole.stop_reason


def test_anthropic_errors_and_counting(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        claude.messages.create(model="no-such-model", max_tokens=2, messages=USER)
    with pytest.raises(anthropic.BadRequestError, match="maximum context length"):
        long: Any = [{"role": "user", "content": "word " * 20_000}]
        claude.messages.create(model=MODEL, max_tokens=2, messages=long)
    assert claude.messages.count_tokens(model=MODEL, messages=USER).input_tokens > 3
