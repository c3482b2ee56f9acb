"""The agent behind the proxy, over a real vLLM: what is sent, and in which form it comes back.

Whether the reference model takes questions apart well is measured elsewhere; here either outcome
is right as long as it is the one that the headers tell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.facts import CAPITAL, CAPITAL_TARGET, UNRELATED
from tests.e2e.findings import FINDINGS
from tests.e2e.relay import Relay
from tests.e2e.stack import Proxy, Vllm
from tests.e2e.wires import CHAT, COMPLETIONS, MODEL, Wire, post

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
