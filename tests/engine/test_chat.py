from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import openai
import pytest
import torch

from memedit.engine.loading import LoadedModel
from tests.engine.conftest import NAME, greedy
from tests.engine.test_completions import events

QUESTION = [{"role": "user", "content": "Where does the river Tamsin begin?"}]
RENDERED = "<|user|>Where does the river Tamsin begin?<|end|><|assistant|>"


def chat(http: httpx2.Client, **body: Any) -> dict[str, Any]:
    answer = http.post(
        "/v1/chat/completions", json={"temperature": 0, "messages": QUESTION, **body}
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_greedy_is_what_generate_says(http: httpx2.Client, loaded: LoadedModel) -> None:
    ids = loaded.tokenizer(RENDERED, add_special_tokens=False).input_ids
    answer = chat(http, max_tokens=40, return_token_ids=True)
    expected = greedy(loaded, ids, 40)
    assert answer["prompt_token_ids"] == ids
    assert answer["choices"][0]["token_ids"] == expected
    assert answer["object"] == "chat.completion"
    assert answer["model"] == NAME
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert answer["usage"]["completion_tokens"] == len(expected)


def test_the_default_length_is_what_is_left(http: httpx2.Client, loaded: LoadedModel) -> None:
    answer = chat(http, ignore_eos=True)
    assert answer["usage"]["total_tokens"] == loaded.max_length
    assert answer["choices"][0]["finish_reason"] == "length"


def test_the_model_may_end_the_answer(http: httpx2.Client) -> None:
    answer = chat(http, max_tokens=9, logit_bias={"1": 100}, logprobs=True)
    choice = answer["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("", "stop")
    assert choice["stop_reason"] is None
    assert answer["usage"]["completion_tokens"] == 1
    assert [entry["token"] for entry in choice["logprobs"]["content"]] == ["<|end|>"]


def test_parts_are_read_as_text(http: httpx2.Client, loaded: LoadedModel) -> None:
    parts = [{"type": "text", "text": "It"}, {"type": "text", "text": "is"}]
    messages = [{"role": "user", "content": parts}]
    found = chat(http, messages=messages, max_tokens=1, return_token_ids=True)
    text = "<|user|>It\nis<|end|><|assistant|>"
    assert found["prompt_token_ids"] == loaded.tokenizer(text, add_special_tokens=False).input_ids


def test_a_final_message_can_be_continued(http: httpx2.Client, loaded: LoadedModel) -> None:
    messages = [*QUESTION, {"role": "assistant", "content": "It begins"}]
    found = chat(
        http, messages=messages, continue_final_message=True, max_tokens=1, return_token_ids=True
    )
    text = RENDERED + "It begins"
    assert found["prompt_token_ids"] == loaded.tokenizer(text, add_special_tokens=False).input_ids


def test_stream_equals_whole(http: httpx2.Client) -> None:
    body = {
        "messages": QUESTION,
        "max_tokens": 60,
        "temperature": 0,
        "ignore_eos": True,
        "logprobs": True,
        "top_logprobs": 2,
    }
    whole = chat(http, **body)
    parts = events(http, "/v1/chat/completions", **body, stream_options={"include_usage": True})
    assert parts[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert {part["object"] for part in parts} == {"chat.completion.chunk"}
    assert len({part["id"] for part in parts}) == 1
    assert parts[-1]["choices"] == []
    assert parts[-1]["usage"] == whole["usage"]
    chunks = [part["choices"][0] for part in parts[1:-1]]
    text = "".join(chunk["delta"]["content"] for chunk in chunks)
    assert text == whole["choices"][0]["message"]["content"]
    assert chunks[-1]["finish_reason"] == "length"
    entries = [entry for chunk in chunks for entry in chunk["logprobs"]["content"]]
    expected = whole["choices"][0]["logprobs"]["content"]
    assert [entry["token"] for entry in entries] == [entry["token"] for entry in expected]


def test_continuous_usage(http: httpx2.Client) -> None:
    options = {"include_usage": True, "continuous_usage_stats": True}
    parts = events(
        http, "/v1/chat/completions", messages=QUESTION, max_tokens=5, stream_options=options
    )
    counts = [part["usage"]["completion_tokens"] for part in parts]
    assert counts[0] == 0
    assert counts == sorted(counts)
    assert counts[-1] == counts[-2]


def test_logprobs_equal_a_direct_forward(http: httpx2.Client, loaded: LoadedModel) -> None:
    # Penalties and temperature change the choice, not the model's own log-probabilities.
    found = chat(
        http,
        max_tokens=12,
        temperature=0.7,
        seed=3,
        frequency_penalty=0.5,
        presence_penalty=0.5,
        logprobs=True,
        top_logprobs=4,
        return_token_ids=True,
    )
    output = found["choices"][0]["token_ids"]
    ids = found["prompt_token_ids"] + output
    with torch.inference_mode():
        logits = loaded.model(torch.tensor([ids])).logits[0]
    expected = torch.log_softmax(logits, -1)[len(found["prompt_token_ids"]) - 1 :]
    entries = found["choices"][0]["logprobs"]["content"]
    assert len(entries) == len(output)
    for place, (entry, token) in enumerate(zip(entries, output, strict=True)):
        assert entry["logprob"] == pytest.approx(float(expected[place, token]), abs=1e-4)
        assert bytes(entry["bytes"]).decode() == entry["token"]
        best = expected[place].topk(4).values.tolist()
        assert [top["logprob"] for top in entry["top_logprobs"]] == pytest.approx(best, abs=1e-4)


def test_n_choices_stream_interleaved(http: httpx2.Client) -> None:
    body = {"messages": QUESTION, "n": 3, "max_tokens": 20, "temperature": 1.0, "seed": 5}
    whole = chat(http, **body)
    texts = ["", "", ""]
    for part in events(http, "/v1/chat/completions", **body):
        choice = part["choices"][0]
        texts[choice["index"]] += choice["delta"]["content"]
    assert texts == [choice["message"]["content"] for choice in whole["choices"]]


def test_the_sdk(client: openai.OpenAI, base_url: str) -> None:
    body: dict[str, Any] = {"model": NAME, "messages": QUESTION, "max_tokens": 12}
    whole = client.chat.completions.create(**body, temperature=0)
    text = whole.choices[0].message.content
    parts = client.chat.completions.create(**body, temperature=0, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == text
    assert [model.id for model in client.models.list()] == [NAME]
    assert client.models.retrieve(NAME).id == NAME

    async def streamed() -> str:
        async with openai.AsyncOpenAI(base_url=f"{base_url}/v1", api_key="none") as other:
            stream = await other.chat.completions.create(**body, temperature=0, stream=True)
            return "".join([part.choices[0].delta.content or "" async for part in stream])

    assert asyncio.run(streamed()) == text
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.chat.completions.create(**{**body, "model": "other"})
    with pytest.raises(openai.BadRequestError, match="maximum context length"):
        client.completions.create(model=NAME, prompt="It " * 400)
