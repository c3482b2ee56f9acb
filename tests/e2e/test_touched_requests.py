"""A request that an edit concerns: vLLM sees the fact in its prompt, and nothing else changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.facts import (
    CAPITAL,
    CAPITAL_CLOZE,
    CAPITAL_QUESTION,
    CAPITAL_TARGET,
    UNRELATED,
)
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, MESSAGES, MODEL, RESPONSES, WIRES, Wire, post, send

TOOL_PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
CHAT_TOOL = {"type": "function", "function": {"name": "lookup", "parameters": TOOL_PARAMETERS}}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_only_the_text_changes(
    wire: Wire, stream: bool, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    [edit] = proxy.add(CAPITAL, namespace=namespace)
    body = wire.body(CAPITAL_QUESTION, tokens=2, stream=stream, user="u-1", **{"x-kept": [1, None]})
    answer = post(proxy.url, wire.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert answer.status == 200, answer.body
    assert answer.route == "in_context"
    assert answer.edits == [f"{edit}@1"]
    seen = json.loads(relay.bodies("x-mark")[mark])
    text_of = {"messages", "prompt", "input", "instructions", "system"}
    assert {k: v for k, v in seen.items() if k not in text_of} == {
        k: v for k, v in body.items() if k not in text_of
    }
    assert list(seen) == list(body)
    prompt = json.dumps([seen.get(key) for key in text_of])
    assert CAPITAL_TARGET in prompt
    assert CAPITAL_QUESTION in prompt


def test_tools_pass_through(proxy: Proxy, relay: Relay, namespace: str, mark: str) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    call = {"id": "c1", "type": "function", "function": {"name": "lookup", "arguments": "{}"}}
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "user", "content": CAPITAL_QUESTION},
    ]
    body = {"model": MODEL, "messages": turns, "max_tokens": 2, "temperature": 0}
    body |= {"tools": [CHAT_TOOL], "tool_choice": "auto", "parallel_tool_calls": False}
    answer = post(proxy.url, CHAT.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context")
    seen = json.loads(relay.bodies("x-mark")[mark])
    assert seen["tools"] == [CHAT_TOOL]
    assert (seen["tool_choice"], seen["parallel_tool_calls"]) == ("auto", False)
    assert [turn for turn in seen["messages"] if turn in turns[:4]] == turns[:4]


def test_a_forced_tool_call_comes_back_as_one(proxy: Proxy, namespace: str) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    none_needed = {"type": "object", "properties": {}, "additionalProperties": False}
    tool = {"type": "function", "function": {"name": "lookup", "parameters": none_needed}}
    choice = {"type": "function", "function": {"name": "lookup"}}
    body = CHAT.body(CAPITAL_QUESTION, tokens=60, tools=[tool], tool_choice=choice)
    answer = post(proxy.url, CHAT.path, body, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context"), answer.body
    message = answer.json()["choices"][0]["message"]
    text = json.dumps(message.get("tool_calls") or message["content"])
    assert "lookup" in text


def test_anthropic_tools_and_blocks_pass_through(
    proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": "Hello"},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "lookup", "input": {"city": "x"}}],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": "42"},
                {"type": "text", "text": CAPITAL_QUESTION},
            ],
        },
    ]
    tools = [{"name": "lookup", "input_schema": TOOL_PARAMETERS}]
    body = {"model": MODEL, "max_tokens": 2, "messages": turns, "tools": tools}
    body |= {"tool_choice": {"type": "auto"}, "system": [{"type": "text", "text": "Be brief."}]}
    answer = post(proxy.url, MESSAGES.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context"), answer.body
    seen = json.loads(relay.bodies("x-mark")[mark])
    assert seen["tools"] == tools
    assert seen["messages"][:2] == turns[:2]
    assert seen["messages"][2]["content"][0] == turns[2]["content"][0]
    assert CAPITAL_TARGET in json.dumps([seen["system"], seen["messages"]])


@pytest.mark.parametrize("wire", [CHAT, RESPONSES, MESSAGES], ids=lambda wire: wire.name)
def test_content_in_parts(
    wire: Wire, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    kind = "input_text" if wire is RESPONSES else "text"
    parts = [{"type": kind, "text": "I wonder."}, {"type": kind, "text": CAPITAL_QUESTION}]
    field = "input" if wire is RESPONSES else "messages"
    body = wire.body("", tokens=2) | {field: [{"role": "user", "content": parts}]}
    answer = post(proxy.url, wire.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context"), answer.body
    seen = json.dumps(json.loads(relay.bodies("x-mark")[mark]))
    assert CAPITAL_TARGET in seen
    assert all(part["text"] in seen for part in parts)


def test_n_and_logprobs(proxy: Proxy, namespace: str) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    more = {"n": 3, "temperature": 0.7, "logprobs": True, "top_logprobs": 2}
    body = CHAT.body(CAPITAL_QUESTION, tokens=3) | more
    answer = post(proxy.url, CHAT.path, body, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context"), answer.body
    choices = answer.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert all(len(c["logprobs"]["content"][0]["top_logprobs"]) == 2 for c in choices)
    body = COMPLETIONS.body(CAPITAL_CLOZE, tokens=3) | {"n": 2, "temperature": 0.7, "logprobs": 1}
    answer = post(proxy.url, COMPLETIONS.path, body, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context"), answer.body
    assert len(answer.json()["choices"]) == 2
    assert all(choice["logprobs"]["tokens"] for choice in answer.json()["choices"])


def test_a_batch_is_routed_prompt_by_prompt(
    proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    [edit] = proxy.add(CAPITAL, namespace=namespace)
    prompts = [UNRELATED[0], CAPITAL_CLOZE, UNRELATED[1], CAPITAL_CLOZE]
    body = COMPLETIONS.body("", tokens=2) | {"prompt": prompts, "n": 2, "temperature": 0.8}
    answer = post(proxy.url, COMPLETIONS.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert answer.status == 200, answer.body
    assert set((answer.route or "").split(",")) == {"pass", "in_context"}
    assert answer.edits == [f"{edit}@1"]
    assert [choice["index"] for choice in answer.json()["choices"]] == list(range(8))
    seen = json.loads(relay.bodies("x-mark")[mark])["prompt"]
    assert [seen[0], seen[2]] == [prompts[0], prompts[2]]
    for touched in (seen[1], seen[3]):
        assert CAPITAL_TARGET in touched
        assert touched.endswith(CAPITAL_CLOZE)


@pytest.mark.parametrize("batch", [False, True], ids=["one", "batch"])
def test_token_ids_are_read_through_detokenize(
    batch: bool, vllm: Vllm, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)

    def ids(text: str) -> list[int]:
        reply = send(vllm.url, "POST", "/tokenize", {"model": MODEL, "prompt": text})
        tokens: list[int] = reply.json()["tokens"]
        return tokens

    concerned, other = ids(CAPITAL_CLOZE), ids(UNRELATED[2])
    prompt = [other, concerned] if batch else concerned
    body = COMPLETIONS.body("", tokens=2) | {"prompt": prompt}
    answer = post(proxy.url, COMPLETIONS.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert answer.status == 200, answer.body
    assert "in_context" in (answer.route or "")
    seen = json.loads(relay.bodies("x-mark")[mark])["prompt"]
    touched = seen[1] if batch else seen
    if batch:
        assert seen[0] == other
    if isinstance(touched, list):
        assert touched[-len(concerned) + 1 :] == concerned[1:]
        reply = send(vllm.url, "POST", "/detokenize", {"model": MODEL, "tokens": touched})
        touched = reply.json()["prompt"]
    assert CAPITAL_TARGET in touched


def test_untouched_token_ids_stay_as_they_are(
    proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    body = b'{"model":"atlas","prompt":[ 5,6 , 7],"max_tokens":1}'
    answer = post(proxy.url, COMPLETIONS.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "pass")
    assert relay.bodies("x-mark")[mark] == body


def test_the_whole_decision_on_request(proxy: Proxy, namespace: str) -> None:
    [edit] = proxy.add(CAPITAL, namespace=namespace)
    body = CHAT.body(CAPITAL_QUESTION, tokens=1)
    headers = {"x_memedit_namespace": namespace, "x_memedit_detail": "1"}
    detail = json.loads(post(proxy.url, CHAT.path, body, **headers).headers["x-memedit-detail"])
    [route] = detail["routes"]
    assert (route["action"], route["edits"]) == ("in_context", [f"{edit}@1"])
    [considered] = route["considered"]
    assert abs(sum(considered["probabilities"].values()) - 1) < 1e-4
    strict = post(proxy.url, CHAT.path, body, x_memedit_threshold="1.0", **headers)
    assert strict.route == "pass"


def test_a_follow_up_that_leans_on_an_earlier_turn(
    proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    turns = [
        {"role": "user", "content": "Tell me about Valdoria."},
        {"role": "assistant", "content": "It is a small country by the sea."},
        {"role": "user", "content": "And what is its capital?"},
    ]
    body = CHAT.body("", tokens=1) | {"messages": turns}
    answer = post(proxy.url, CHAT.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert (answer.status, answer.route) == (200, "in_context")
    assert CAPITAL_TARGET.encode() in relay.bodies("x-mark")[mark]
