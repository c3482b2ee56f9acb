"""The fact goes in near the end of the prompt: vLLM's prefix cache keeps what came before it."""

from __future__ import annotations

import json
from typing import Any

from tests.e2e.facts import CAPITAL, CAPITAL_CLOZE, CAPITAL_QUESTION, CAPITAL_TARGET
from tests.e2e.relay import Relay
from tests.e2e.stack import BLOCK, Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, MODEL, Answer, post, send

STORY = (
    "A ship left the harbour at dawn. The crew sang, the gulls cried and the wind was fair. ",
    "On the third day they saw an island with a white tower, and nobody knew its name. ",
    "They drew it on the map, took water aboard and sailed on to the north. ",
)


def _cached(answer: Answer) -> int:
    usage = answer.json()["usage"]
    return int((usage["prompt_tokens_details"] or {}).get("cached_tokens") or 0)


def _tokens(vllm: Vllm, **body: Any) -> list[int]:
    reply = send(vllm.url, "POST", "/tokenize", {"model": MODEL, **body})
    tokens: list[int] = reply.json()["tokens"]
    return tokens


def _common(one: list[int], other: list[int]) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def test_of_a_conversation_all_blocks_before_the_question_stay(
    vllm: Vllm, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    history: list[dict[str, str]] = [
        {"role": "user", "content": f"{namespace}. Tell me a story."},
        {"role": "assistant", "content": "".join(STORY)},
    ]
    turns = [*history, {"role": "user", "content": CAPITAL_QUESTION}]
    body = CHAT.body("", tokens=1) | {"messages": turns}
    first = post(proxy.url, CHAT.path, body, x_memedit_namespace=namespace)
    assert (first.route, _cached(first)) == ("pass", 0)
    proxy.add(CAPITAL, namespace=namespace)
    second = post(proxy.url, CHAT.path, body, x_mark=mark, x_memedit_namespace=namespace)
    assert second.route == "in_context"
    seen = json.loads(relay.bodies("x-mark")[mark])["messages"]
    assert CAPITAL_TARGET in json.dumps(seen)
    before, after = (_tokens(vllm, messages=messages) for messages in (turns, seen))
    told = len(_tokens(vllm, messages=history, add_generation_prompt=False))
    assert _common(before, after) >= told - 2
    assert _cached(second) == _common(before, after) // BLOCK * BLOCK >= BLOCK


def test_of_a_long_completion_prompt_the_text_before_the_question_stays(
    vllm: Vllm, proxy: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    """Where the whole prompt is one text, the fact goes before its last paragraph at the earliest.

    A method that puts it in front would cost every block: this test says what it does cost.
    """
    prompt = f"{namespace}. {''.join(STORY)}\n\n{CAPITAL_CLOZE}"
    body = COMPLETIONS.body(prompt, tokens=1)
    first = post(proxy.url, COMPLETIONS.path, body, x_memedit_namespace=namespace)
    assert (first.route, _cached(first)) == ("pass", 0)
    proxy.add(CAPITAL, namespace=namespace)
    headers = {"x_mark": mark, "x_memedit_namespace": namespace, "x_memedit_threshold": "0.0"}
    second = post(proxy.url, COMPLETIONS.path, body, **headers)
    assert second.route == "in_context"
    seen = json.loads(relay.bodies("x-mark")[mark])["prompt"]
    assert CAPITAL_TARGET in seen
    before, after = _tokens(vllm, prompt=prompt), _tokens(vllm, prompt=seen)
    assert _cached(second) == _common(before, after) // BLOCK * BLOCK >= BLOCK


def test_untouched_requests_keep_their_hits(proxy: Proxy, namespace: str) -> None:
    proxy.add(CAPITAL, namespace=namespace)
    body = COMPLETIONS.body(f"{namespace}. {''.join(STORY)}", tokens=1)
    first, second = (
        post(proxy.url, COMPLETIONS.path, body, x_memedit_namespace=namespace) for _ in range(2)
    )
    assert (first.route, second.route) == ("pass", "pass")
    assert _cached(first) == 0
    assert _cached(second) >= BLOCK
