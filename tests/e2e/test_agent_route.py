"""The agent behind the proxy, over a real vLLM: what is sent, and in which form it comes back.

Whether the reference model takes questions apart well is measured elsewhere; here either outcome
is right as long as it is the one that the headers tell.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import httpx2
import pytest

from memedit.agent import MultiHopAgent
from memedit.agent.pokemqa import Pokemqa
from memedit.routing import Reason, Route, RouteQuery
from memedit.types import Action
from tests.e2e.facts import CAPITAL, CAPITAL_TARGET, UNRELATED
from tests.e2e.findings import FINDINGS
from tests.e2e.relay import Relay
from tests.e2e.stack import BLOCK, Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, MODEL, Wire, post, send

QUESTION = "What is the population of the capital of Valdoria?"
AGENT = {
    "ROUTING__DEPENDENT": "agent",
    "AGENT__DEMONSTRATIONS": "none",  # the reference model was trained on transcripts
    "AGENT__MAX_TOKENS": "48",
    "AGENT__TIMEOUT": "300",
}


@pytest.fixture(scope="module")
def asking(relay: Relay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with Proxy(tmp_path_factory.mktemp("asking"), relay.url, settings=AGENT) as proxy:
        yield proxy


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("wire", [CHAT, COMPLETIONS], ids=lambda wire: wire.name)
def test_a_dependent_prompt_goes_hop_by_hop(
    wire: Wire, stream: bool, asking: Proxy, relay: Relay, namespace: str, mark: str
) -> None:
    [edit] = asking.add(CAPITAL, namespace=namespace)
    text, answer = wire.ask(
        asking.url,
        QUESTION,
        stream=stream,
        x_mark=mark,
        x_memedit_namespace=namespace,
        x_memedit_detail="1",
    )
    bodies = [
        json.loads(one.request.body)
        for one in relay.exchanges
        if one.request.header("x-mark") == mark
    ]
    transcripts = [one for one in bodies if str(one.get("prompt")).startswith("Question: ")]
    assert transcripts and {one["model"] for one in bodies} == {MODEL}
    assert all(QUESTION in one["prompt"] for one in transcripts)
    [route] = json.loads(answer.headers["x-memedit-detail"])["routes"]
    told: dict[str, Any] = route["agent"]
    assert told["calls"] == len(transcripts)
    hops = len(told["hops"])
    FINDINGS.append(f"agent, {wire.name}: {answer.route}, {told['ended']} after {hops} hops")
    assert answer.edits == [f"{edit}@1"]
    if answer.route == "agent":
        assert answer.headers["x-memedit-method"] == "pokemqa" and text.strip()
        assert told["ended"] == "final_answer" and told["hops"][0]["edit"] == f"{edit}@1"
        assert len(transcripts) == len(bodies), "nothing but the agent asks"
        usage = None if stream else answer.json()["usage"]
        assert usage is None or usage["total_tokens"] > 0
    else:
        assert answer.route == "in_context"
        assert answer.headers["x-memedit-note"].startswith("agent-failed:")
        [forwarded] = [one for one in bodies if one not in transcripts]
        assert CAPITAL_TARGET in json.dumps(forwarded)


def test_what_no_edit_concerns_passes_byte_for_byte(
    asking: Proxy, vllm: Vllm, relay: Relay, namespace: str, mark: str
) -> None:
    [edit] = asking.add(CAPITAL, namespace=namespace)
    body = json.dumps(CHAT.body(UNRELATED[0], tokens=2)).encode()
    given = {"x_mark": mark, "x_memedit_namespace": namespace}
    assert post(asking.url, CHAT.path, body, **given).route == "pass"
    assert relay.bodies("x-mark")[mark] == body
    asking.retract(edit)
    question = json.dumps(CHAT.body(QUESTION, tokens=2)).encode()
    answer = post(asking.url, CHAT.path, question, **given)
    assert answer.headers["x-memedit-reason"] == "no_edits"


class NoEdits:
    """A memory that holds nothing: the model answers every hop."""

    def decide(self, queries: Sequence[RouteQuery]) -> list[Route]:
        return [Route(Action.PASS, Reason.NO_EDITS) for _ in queries]


class Recording(httpx2.HTTPTransport):
    """Remembers prompts, and how much of each the prefix cache held."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, int]] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        reply = super().handle_request(request)
        reply.read()
        usage = reply.json()["usage"]["prompt_tokens_details"] or {}
        prompt = json.loads(request.content)["prompt"]
        self.calls.append((prompt, int(usage.get("cached_tokens") or 0)))
        return reply


def agent(vllm: Vllm, **options: Any) -> MultiHopAgent:
    method = Pokemqa(demonstrations="")
    return MultiHopAgent(NoEdits(), vllm.url, method=method, model=MODEL, max_tokens=24, **options)


def test_earlier_hops_of_a_question_are_in_the_prefix_cache(vllm: Vllm, namespace: str) -> None:
    seen = Recording()
    agent(vllm, transport=seen).ask(
        f"{namespace}: which language is spoken in the country whose capital is Lindhaven, the old "
        "city at the mouth of the long river Elda, where the iron bridge stands?"
    )
    assert len(seen.calls) >= 2
    prompts = [_tokens(vllm, prompt) for prompt, _ in seen.calls]
    assert len(prompts[0]) > BLOCK
    for (before, after), (_, cached) in zip(pairwise(prompts), seen.calls[1:], strict=True):
        pairs = enumerate(zip(before, after, strict=False))
        common = next((at for at, (a, b) in pairs if a != b), min(len(before), len(after)))
        assert cached >= min(common, len(after) - 1) // BLOCK * BLOCK
    assert all(cached >= BLOCK for _, cached in seen.calls[1:])


def test_the_server_batches_questions_that_are_under_way_together(
    vllm: Vllm, namespace: str
) -> None:
    """It takes fewer steps than it writes tokens: some of them came of one step."""
    steps = "vllm:iteration_tokens_total_count"
    before = vllm.metric(steps)
    questions = [f"{namespace}, {n}: who leads the country of the bridge?" for n in range(6)]
    traces = asyncio.run(agent(vllm).ask_many(questions))
    taken = vllm.metric(steps) - before
    written = sum(trace.usage.completion_tokens for trace in traces)
    assert 0 < taken < written, (taken, written)


def _tokens(vllm: Vllm, prompt: str) -> list[int]:
    reply = send(vllm.url, "POST", "/tokenize", {"model": MODEL, "prompt": prompt})
    tokens: list[int] = reply.json()["tokens"]
    return tokens
