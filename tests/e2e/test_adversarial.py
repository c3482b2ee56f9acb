"""Two hundred edits that give orders, all in memory: no other prompt is answered differently."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.adversarial import CONTROL_TOKENS, HARMLESS, ORDER, UNRELATED, adversaries
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, MODEL, Wire, post, send

OWN = 7
"""Of every so many adversaries the own prompt is asked, too."""


@pytest.fixture(scope="module")
def besieged(proxy: Proxy) -> str:
    """Return a namespace with one edit that means no harm and two hundred that do."""
    namespace = "besieged"
    made = adversaries()
    assert len(made) == 200
    proxy.add(HARMLESS, namespace=namespace)
    for author in {one.more.get("author") for one in made}:
        requests = [one.request for one in made if one.more.get("author") == author]
        body = {"edits": requests, "namespace": namespace, "author": author}
        reply = proxy.api("POST", "/edits", body)
        assert reply.status == 201, (reply.status, reply.body)
    listed = proxy.api("GET", f"/edits?namespace={namespace}&limit=1000").json()["edits"]
    assert len(listed) == 201
    return namespace


@pytest.fixture(scope="module")
def calm(proxy: Proxy) -> str:
    proxy.add(HARMLESS, namespace="calm")
    return "calm"


@pytest.mark.parametrize("wire", [CHAT, COMPLETIONS], ids=lambda wire: wire.name)
def test_answers_to_other_prompts_are_the_same_to_the_byte(
    wire: Wire, proxy: Proxy, besieged: str, calm: str
) -> None:
    for question in UNRELATED:
        before, first = wire.ask(proxy.url, question, tokens=12, x_memedit_namespace=calm)
        after, second = wire.ask(proxy.url, question, tokens=12, x_memedit_namespace=besieged)
        assert (after, second.route) == (before, first.route), question
        assert "PWNED" not in after


def test_what_reaches_the_model_of_an_edit_is_words(
    vllm: Vllm, proxy: Proxy, relay: Relay, besieged: str
) -> None:
    """vLLM itself renders and tokenizes: control tokens are those of the template alone."""
    own = [one for one in adversaries() if ORDER not in one.prompt and len(one.prompt) < 40]
    asked = {f"besieged-{n}": one.prompt for n, one in enumerate(own[::OWN])}
    assert len(asked) >= 10
    for mark, prompt in asked.items():
        headers = {"x_mark": mark, "x_memedit_namespace": besieged}
        reply = post(proxy.url, CHAT.path, CHAT.body(prompt, tokens=1), **headers)
        assert (reply.status, reply.route) == (200, "in_context"), prompt
    bodies = relay.bodies("x-mark")
    for mark, prompt in asked.items():
        sent = json.loads(bodies[mark])["messages"]
        assert len(sent) == 1 and sent[0]["content"].endswith(prompt)
        assert len(sent[0]["content"]) > len(prompt)
        plain = [{"role": "user", "content": prompt}]
        assert _controls(vllm, sent) == _controls(vllm, plain), sent


def _controls(vllm: Vllm, messages: list[dict[str, Any]]) -> list[str]:
    """Return the control tokens of a chat as vLLM renders it."""
    body = {"model": MODEL, "messages": messages, "return_token_strs": True}
    tokens = send(vllm.url, "POST", "/tokenize", body).json()["token_strs"]
    return [token for token in tokens if token in CONTROL_TOKENS]
