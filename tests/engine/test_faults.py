from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
QUESTION = [{"role": "user", "content": "It"}]


def fault(answer: httpx2.Response, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == status
    assert {"message", "type", "param", "code"} == set(error)
    return error


@pytest.mark.parametrize("path", [CHAT, TEXT, "/tokenize", "/detokenize"])
@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}", b"[" * 9999]
)
def test_bodies_that_are_none(http: httpx2.Client, path: str, body: bytes) -> None:
    error = fault(http.post(path, content=body))
    assert error["type"] == "BadRequestError"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"prompt": 5}, "prompt"),
        ({"prompt": {}}, "prompt"),
        ({"prompt": []}, "empty"),
        ({"prompt": [[]]}, "empty"),
        ({"prompt": ["a", 3]}, "prompt"),
        ({"prompt": [400]}, "out of vocabulary"),
        ({"prompt": [-1]}, "prompt"),
        ({"prompt": "It", "max_tokens": -1}, "max_tokens"),
        ({"prompt": "It", "max_tokens": 0}, "at least 1"),
        ({"prompt": "It", "max_tokens": 255}, "maximum context length is 256"),
        ({"prompt": "It " * 400}, "maximum context length is 256"),
        ({"prompt": "It", "temperature": "hot"}, "temperature"),
        ({"prompt": "It", "temperature": -1}, "temperature"),
        ({"prompt": "It", "top_p": 0}, "top_p"),
        ({"prompt": "It", "n": 0}, "n"),
        ({"prompt": ["It"] * 100, "n": 100}, "sequences"),
        ({"prompt": "It", "stop": ""}, "stop"),
        ({"prompt": "It", "logprobs": 21}, "at most 20"),
        ({"prompt": "It", "logit_bias": {"400": 1}}, "logit_bias"),
        ({"prompt": "It", "logit_bias": {"-1": 1}}, "logit_bias"),
        ({"prompt": "It", "min_tokens": 9, "max_tokens": 3}, "min_tokens"),
        ({"prompt": "It", "suffix": "x"}, "suffix"),
        ({"prompt": "It", "stream_options": {"include_usage": True}}, "stream"),
        ({"prompt": "It", "response_format": {"type": "json_object"}}, "response_format"),
        ({"prompt": "It", "seed": 2**64}, "seed"),
        ({"prompt_embeds": "abc"}, "prompt_embeds"),
    ],
)
def test_completions_that_cannot_be(http: httpx2.Client, body: dict[str, Any], said: str) -> None:
    assert said in fault(http.post(TEXT, json=body))["message"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"messages": []}, "empty"),
        ({"messages": "hello"}, "messages"),
        ({"messages": [{"content": "x"}]}, "role"),
        ({"messages": [{"role": "user", "content": 5}]}, "content"),
        ({"messages": [{"role": "system", "content": "x"}]}, "System role not supported"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "image_url",
        ),
        ({"messages": QUESTION, "tools": [{"type": "function"}]}, "tools"),
        ({"messages": QUESTION, "top_logprobs": 3}, "logprobs=true"),
        ({"messages": QUESTION, "chat_template": "{{ 1 }}"}, "chat_template"),
        ({"messages": QUESTION, "chat_template_kwargs": {"tokenize": True}}, "tokenize"),
        ({"messages": QUESTION, "max_completion_tokens": 400}, "maximum context length"),
    ],
)
def test_chats_that_cannot_be(http: httpx2.Client, body: dict[str, Any], said: str) -> None:
    for stream in (False, True):
        assert said in fault(http.post(CHAT, json={**body, "stream": stream}))["message"]


def test_what_is_harmless_is_accepted(http: httpx2.Client) -> None:
    body = {
        "messages": QUESTION,
        "max_tokens": 2,
        "tools": [{"type": "function"}],
        "tool_choice": "none",
        "response_format": {"type": "text"},
        "user": "someone",
        "cache_salt": "x",
        "no_such_field": [1, {"a": None}],
    }
    assert http.post(CHAT, json=body).status_code == 200


def test_unknown_models_and_routes(http: httpx2.Client) -> None:
    for path, body in [
        (CHAT, {"model": "other", "messages": QUESTION}),
        (TEXT, {"model": "other", "prompt": "It"}),
        ("/tokenize", {"model": "other", "prompt": "It"}),
        ("/detokenize", {"model": "other", "tokens": [1]}),
    ]:
        error = fault(http.post(path, json=body), 404)
        assert error["type"] == "NotFoundError"
        assert "`other` does not exist" in error["message"]
    fault(http.get("/v1/models/other"), 404)
    fault(http.get("/v1/embeddings"), 404)
    fault(http.get(TEXT), 405)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
FIELDS = (
    *("model", "prompt", "messages", "n", "stream", "stream_options", "seed", "stop", "echo"),
    *("temperature", "top_p", "top_k", "min_p", "logprobs", "top_logprobs", "logit_bias"),
    *("frequency_penalty", "presence_penalty", "repetition_penalty", "min_tokens", "suffix"),
    *("stop_token_ids", "tools", "chat_template_kwargs", "tokens", "response_format"),
)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(
    path=st.sampled_from([CHAT, TEXT, "/tokenize", "/detokenize"]),
    fields=st.dictionaries(st.sampled_from(FIELDS), json_values, max_size=4),
    good=st.booleans(),
)
def test_no_body_is_answered_with_a_500(
    http: httpx2.Client, path: str, fields: dict[str, Any], good: bool
) -> None:
    base: dict[str, Any] = {"max_tokens": 2}
    if good:
        base |= {"messages": QUESTION} if path == CHAT else {"prompt": "It", "tokens": [3]}
    answer = http.post(path, content=json.dumps({**base, **fields}).encode())
    assert answer.status_code in (200, 400, 404)
    if answer.status_code == 200 and fields.get("stream"):
        assert b'"error"' not in answer.content
