"""Realistic request bodies of the four APIs, each asking about the capital of France."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

ASKED = "What is the capital of France?"
_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
_TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "lookup",
            "description": "The capital of France is what?",
            "parameters": {"type": "object", "properties": {"q": {"type": "string"}}},
        },
    }
]


@dataclass(frozen=True)
class Case:
    """A body, and where in it the asked text stands."""

    name: str
    wire: str
    body: dict[str, Any]
    path: tuple[str | int, ...]
    asked: str = ASKED
    context: tuple[str, ...] = ()
    start: int = field(default=0)


def _chat(name: str, messages: list[Any], path: tuple[str | int, ...], **more: Any) -> Case:
    asked, context = more.pop("asked", ASKED), more.pop("context", ())
    body = {"model": "atlas", "messages": messages, **more}
    return Case(f"chat-{name}", "chat", body, ("messages", *path), asked, context)


CASES = [
    _chat("plain", [{"role": "user", "content": ASKED}], (0, "content")),
    _chat(
        "developer-and-parameters",
        [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": "Answer in one word."},
            {"role": "user", "content": "Hello", "name": "visitor"},
            {"role": "assistant", "content": "Hello!"},
            {"role": "user", "content": ASKED},
        ],
        (4, "content"),
        context=("Hello",),
        n=3,
        stream=True,
        stream_options={"include_usage": True},
        logit_bias={"50256": -100},
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
        temperature=0.1,
        seed=2**70,
        chat_template_kwargs={"enable_thinking": False},
        unknown_field={"deep": [1, {"er": None}]},
    ),
    _chat(
        "parts",
        [{"role": "user", "content": [_IMAGE, {"type": "text", "text": ASKED}, _IMAGE]}],
        (0, "content", 1, "text"),
    ),
    _chat(
        "several-text-parts",
        [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "A long document."},
                    {"type": "text", "text": ASKED, "cache_control": {"type": "ephemeral"}},
                    {"type": "text", "text": "  "},
                    {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
                ],
            }
        ],
        (0, "content", 1, "text"),
        asked=f"A long document.\n{ASKED}",
    ),
    _chat(
        "tool-loop",
        [
            {"role": "user", "content": ASKED},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "lookup", "arguments": '{"q":"capital of France"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "The capital of France?"},
            {"role": "assistant", "content": None, "tool_calls": []},
            {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "x"}]},
        ],
        (0, "content"),
        tools=_TOOLS,
        tool_choice="auto",
        parallel_tool_calls=False,
    ),
    _chat(
        "image-only-turn-after-it",
        [{"role": "user", "content": ASKED}, {"role": "user", "content": [_IMAGE]}],
        (0, "content"),
    ),
    Case("completions-str", "completions", {"prompt": ASKED, "model": "atlas"}, ("prompt",)),
    Case(
        "completions-few-shot",
        "completions",
        {
            "model": "atlas",
            "prompt": f"Answer.\n\nQ: What is 1 + 1?\nA: 2\n\n{ASKED}\n",
            "max_tokens": 5,
            "logprobs": 0,
            "stop": ["\n"],
        },
        ("prompt",),
        start=len("Answer.\n\nQ: What is 1 + 1?\nA: 2\n\n"),
    ),
    Case("completions-batch-of-one", "completions", {"prompt": [ASKED]}, ("prompt", 0)),
    Case(
        "responses-str",
        "responses",
        {"input": ASKED, "instructions": "The capital of France?", "store": False},
        ("input",),
    ),
    Case(
        "responses-items",
        "responses",
        {
            "model": "atlas",
            "previous_response_id": "resp_1",
            "input": [
                {"role": "developer", "content": "Be brief."},
                {"type": "message", "role": "user", "content": "Hello"},
                {"type": "reasoning", "id": "rs_1", "summary": []},
                {
                    "type": "message",
                    "role": "assistant",
                    "content": [{"type": "output_text", "text": "Hello!", "annotations": []}],
                },
                {
                    "type": "message",
                    "role": "user",
                    "content": [
                        {"type": "input_image", "image_url": "data:,", "detail": "auto"},
                        {"type": "input_text", "text": ASKED},
                    ],
                },
                {"type": "function_call", "call_id": "c", "name": "lookup", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "The capital?"},
            ],
            "reasoning": {"effort": "low"},
            "tools": [{"type": "function", "name": "lookup", "parameters": {}}],
        },
        ("input", 4, "content", 1, "text"),
        context=("Hello",),
    ),
    Case(
        "messages-str",
        "messages",
        {"max_tokens": 8, "messages": [{"role": "user", "content": ASKED}], "system": "Be brief."},
        ("messages", 0, "content"),
    ),
    Case(
        "messages-blocks-and-tool-loop",
        "messages",
        {
            "model": "atlas",
            "max_tokens": 64,
            "system": [{"type": "text", "text": "Brief.", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": "Hello"},
                {"role": "assistant", "content": [{"type": "text", "text": "Hello!"}]},
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "url", "url": "https://a.test/b"}},
                        {"type": "text", "text": ASKED},
                    ],
                },
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "t", "name": "lookup", "input": {}}],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t",
                            "content": [{"type": "text", "text": "What capital?"}],
                        }
                    ],
                },
            ],
            "tools": [{"name": "lookup", "input_schema": {"type": "object"}}],
            "metadata": {"user_id": "u"},
        },
        ("messages", 2, "content", 1, "text"),
        context=("Hello",),
    ),
]
