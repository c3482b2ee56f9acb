"""Prompts of token ids, against a real byte-level BPE behind the two endpoints."""

from __future__ import annotations

import json

import pytest

from memedit.errors import UpstreamUnreachable
from memedit.routing import (
    NeedUpstream,
    Prepared,
    Reason,
    RequestOptions,
    Router,
    UpstreamReply,
    prepare,
    run_sync,
    wire_for,
)
from memedit.types import Action
from tests.routing.tiny_memory import edit, router
from tests.routing.toy_upstream import BOS, ToyUpstream, no_upstream

ASKED = "The capital of France is"
LINE = "Imagine that the capital of France is Norwick.\n"
FEW_SHOT = "Answer.\n\nQ: What is the capital of Italy?\nA: Rome\n\n"


@pytest.fixture(scope="module")
def tokenizer() -> ToyUpstream:
    return ToyUpstream()


def sent(
    prompt: object, upstream: object, by: Router | None = None, **fields: object
) -> tuple[bytes, Prepared]:
    wire = wire_for("POST", "/v1/completions")
    assert wire is not None
    body = json.dumps({"model": "atlas", "prompt": prompt, **fields}).encode()
    plan = prepare(by or router(edit()), wire, body, RequestOptions())
    return body, run_sync(plan, by or router(edit()), upstream)  # type: ignore[arg-type]


def test_inserts_behind_the_bos(tokenizer: ToyUpstream) -> None:
    ids = tokenizer.ids(ASKED)
    _, out = sent(ids, tokenizer)
    after = json.loads(out.body)["prompt"]
    assert tokenizer.text(after) == BOS + LINE + ASKED
    inserted = len(after) - len(ids)
    assert after[:1] + after[1 + inserted :] == ids
    assert out.headers["x-memedit-route"] == "in_context"


def test_inserts_in_front_where_the_client_sent_no_bos(tokenizer: ToyUpstream) -> None:
    ids = tokenizer.ids(ASKED, special=False)
    after = json.loads(sent(ids, tokenizer)[1].body)["prompt"]
    assert tokenizer.text(after) == LINE + ASKED
    assert after[-len(ids) :] == ids


def test_inserts_before_the_last_block(tokenizer: ToyUpstream) -> None:
    ids = tokenizer.ids(FEW_SHOT + ASKED)
    after = json.loads(sent(ids, tokenizer)[1].body)["prompt"]
    assert tokenizer.text(after) == BOS + FEW_SHOT + LINE + ASKED
    head = len(tokenizer.ids(FEW_SHOT))
    assert after[:head] == ids[:head]
    assert after[-(len(ids) - head) :] == ids[head:]


def test_a_token_across_the_border_sends_the_insertion_to_the_front() -> None:
    upstream = ToyUpstream()
    words = [BOS, "One.", "\n\nThe capital of", " France is"]

    def call(need: NeedUpstream) -> UpstreamReply:
        body = json.loads(need.body)
        if need.path == "/detokenize":
            answer: dict[str, object] = {"prompt": "".join(words[i] for i in body["tokens"])}
        else:
            answer = {"tokens": [0] * body["add_special_tokens"] + [9] * bool(body["prompt"])}
        return UpstreamReply(200, json.dumps(answer).encode())

    after = json.loads(sent([0, 1, 2, 3], call)[1].body)["prompt"]
    assert after == [0, 9, 1, 2, 3]
    assert not upstream.calls


def test_a_batch_keeps_the_ids_of_prompts_that_no_edit_concerns(tokenizer: ToyUpstream) -> None:
    other = tokenizer.ids("Birds sing in spring")
    body, out = sent([other, tokenizer.ids(ASKED), other], tokenizer, echo=True)
    after = json.loads(out.body)
    assert (after["prompt"][0], after["prompt"][2]) == (other, other)
    assert tokenizer.text(after["prompt"][1]) == BOS + LINE + ASKED
    assert out.headers["x-memedit-route"] == "pass,in_context"
    assert out.headers["x-memedit-note"] == "prompt-altered"
    assert [route.reason for route in out.routes] == [
        Reason.OUT_OF_SCOPE,
        Reason.IN_SCOPE,
        Reason.OUT_OF_SCOPE,
    ]
    assert json.loads(body)["model"] == after["model"]


def test_no_edit_no_call(tokenizer: ToyUpstream) -> None:
    tokenizer.calls.clear()
    body, out = sent([tokenizer.ids(ASKED)] * 2, tokenizer, router())
    assert out.body is not None and out.body == body and not out.touched
    assert [route.reason for route in out.routes] == [Reason.NO_EDITS] * 2
    assert not tokenizer.calls


def test_side_calls_name_the_model_and_nothing_else(tokenizer: ToyUpstream) -> None:
    tokenizer.calls.clear()
    sent(tokenizer.ids(ASKED), tokenizer)
    for call in tokenizer.calls:
        assert call.method == "POST"
        fields = json.loads(call.body)
        assert fields.pop("model") == "atlas"
        names = {"tokens"} if call.path == "/detokenize" else {"prompt", "add_special_tokens"}
        assert set(fields) == names


BROKEN = [
    b"",
    b"[]",
    b"{",
    b"{}",
    b'{"prompt": 1}',
    b'{"prompt": null}',
    b"\xff",
    b"[" * 100_000,
]


@pytest.mark.parametrize("answer", [*BROKEN, None], ids=range(9))
def test_an_upstream_without_tokenizer_passes(answer: bytes | None) -> None:
    def call(need: NeedUpstream) -> UpstreamReply:
        return no_upstream(need) if answer is None else UpstreamReply(200, answer)

    body, out = sent([1, 2, 3], call)
    assert out.body == body and not out.touched
    assert out.routes[0].reason is Reason.NOT_READ
    assert out.headers["x-memedit-note"] == "token-ids-unreadable"


def test_an_upstream_that_is_down_passes() -> None:
    def call(need: NeedUpstream) -> UpstreamReply:
        raise UpstreamUnreachable("no connection")

    _, out = sent([1, 2, 3], call)
    assert not out.touched
    assert out.headers["x-memedit-note"] == "token-ids-unreadable"


@pytest.mark.parametrize("answer", [b"{}", b'{"tokens": ["a"]}', b'{"tokens": [true]}'])
def test_an_upstream_that_only_reads_passes_and_says_so(
    tokenizer: ToyUpstream, answer: bytes
) -> None:
    def call(need: NeedUpstream) -> UpstreamReply:
        return tokenizer(need) if need.path == "/detokenize" else UpstreamReply(200, answer)

    body, out = sent(tokenizer.ids(ASKED), call)
    assert out.body == body and not out.touched
    assert (out.routes[0].action, out.routes[0].reason) == (Action.PASS, Reason.IN_SCOPE)
    assert out.headers["x-memedit-note"] == "token-ids-unwritable"
    assert "x-memedit-edits" not in out.headers


@pytest.mark.parametrize("ids", [[-1], [2**80], [0]])
def test_strange_ids_are_the_upstreams_to_judge(ids: list[int]) -> None:
    seen = []

    def call(need: NeedUpstream) -> UpstreamReply:
        seen.append(json.loads(need.body)["tokens"])
        return UpstreamReply(400, b"{}")

    body, out = sent(ids, call)
    assert seen == [ids]
    assert out.body == body
