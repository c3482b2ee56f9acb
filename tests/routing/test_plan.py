from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from memedit.errors import MemoryFailure
from memedit.incontext.base import InContextMethod, Insertion
from memedit.routing import (
    Prepared,
    Reason,
    RequestOptions,
    Router,
    WireFormat,
    prepare,
    run_sync,
    wire_for,
)
from memedit.types import Action, Edit, Surface
from tests.routing.tiny_memory import BySimilarity, TinyMemory, edit, router
from tests.routing.toy_upstream import no_upstream

ASKED = "The capital of France is"
STATED = "Updated facts, which replace what you know:\n- The capital of France is Norwick.\n\n"
OTHER = "Birds sing in spring"


def wire(path: str = "/v1/chat/completions") -> WireFormat:
    found = wire_for("POST", path)
    assert found is not None
    return found


def chat(text: str = ASKED, **fields: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()


def done(
    body: bytes,
    by: Router,
    options: RequestOptions | None = None,
    path: str = "/v1/chat/completions",
    **policy: object,
) -> Prepared:
    plan = prepare(by, wire(path), body, options or RequestOptions(), **policy)  # type: ignore[arg-type]
    return run_sync(plan, by, no_upstream)


def test_the_whole_road_of_a_request_that_an_edit_concerns() -> None:
    out = done(chat(), router(edit()))
    assert json.loads(out.body)["messages"][0]["content"] == STATED + ASKED
    assert out.touched and out.note is None
    assert out.headers == {
        "x-memedit-route": "in_context",
        "x-memedit-reason": "in_scope",
        "x-memedit-edits": "e-aaaaaaaaaaaa@1",
        "x-memedit-method": "statement",
    }
    assert [route.action for route in out.routes] == [Action.IN_CONTEXT]


def test_and_of_one_that_none_concerns() -> None:
    body = chat(OTHER)
    out = done(body, router(edit()))
    assert out.body is body
    assert out.headers == {"x-memedit-route": "pass", "x-memedit-reason": "out_of_scope"}


def test_bypass_reads_nothing() -> None:
    class Unreadable(bytes):
        def decode(self, *args: object) -> str:  # type: ignore[override]
            raise AssertionError("a bypassed body was read")

    body = Unreadable(chat())
    by = router(memory=object())  # and no memory is asked
    out = done(body, by, RequestOptions(bypass=True))
    assert out.body is body
    assert out.headers == {"x-memedit-route": "pass", "x-memedit-reason": "bypassed"}


def test_namespace_and_threshold_of_the_request() -> None:
    by = router(edit(namespace="team"))
    assert done(chat(), by).routes[0].reason is Reason.NO_EDITS
    assert done(chat(), by, RequestOptions(namespaces=("x", "team"))).touched
    close = "The capital of Italy is"
    assert done(chat(close), by, RequestOptions(namespaces=("team",), threshold=0.5)).touched
    assert not done(chat(close), by, RequestOptions(namespaces=("team",), threshold=0.99)).touched


def test_detail_is_the_whole_decision() -> None:
    out = done(chat(), router(edit()), RequestOptions(detail=True))
    detail = json.loads(out.headers["x-memedit-detail"])
    assert detail == {"routes": [out.routes[0].to_dict()]}


def test_a_batch_is_routed_prompt_by_prompt() -> None:
    body = json.dumps({"prompt": [OTHER, f"Header.\n\n{ASKED}", OTHER, ASKED]}).encode()
    out = done(body, router(edit()), path="/v1/completions")
    line = "Imagine that the capital of France is Norwick.\n"
    assert json.loads(out.body)["prompt"] == [
        OTHER,
        f"Header.\n\n{line}{ASKED}",
        OTHER,
        line + ASKED,
    ]
    assert out.headers["x-memedit-route"] == "pass,in_context"
    assert out.headers["x-memedit-edits"] == "e-aaaaaaaaaaaa@1"
    assert len(out.routes) == 4


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        ({}, None),
        ({"echo": True}, "prompt-altered"),
        ({"echo": False}, None),
        ({"prompt_logprobs": 0}, "prompt-altered"),
        ({"logprobs": 1}, "prompt-altered"),
        ({"logprobs": False}, None),
        ({"return_token_ids": True}, "prompt-altered"),
        ({"return_token_ids": None}, None),
    ],
)
def test_says_so_where_the_answer_shows_an_altered_prompt(
    fields: dict[str, object], note: str | None
) -> None:
    out = done(chat(**fields), router(edit()))
    assert out.note == note
    assert out.headers.get("x-memedit-note") == note
    assert done(chat(OTHER, **fields), router(edit())).note is None


class Around(InContextMethod):
    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        return Insertion("<<\ud800", ">>")


class Broken(InContextMethod):
    def compose(self, query: str, edits: Sequence[Edit], surface: Surface) -> Insertion:
        raise RuntimeError("secret prompt")


def with_method(method: InContextMethod) -> Router:
    return Router(TinyMemory([edit()]), BySimilarity(), {Surface.CHAT: ("mine", method)})


def test_text_after_what_is_asked_and_text_no_tokenizer_can_read() -> None:
    out = done(chat(), with_method(Around()))
    assert json.loads(out.body)["messages"][0]["content"] == f"<<?{ASKED}>>"


def test_a_method_that_writes_nothing_leaves_the_body_alone() -> None:
    body = chat()
    out = done(body, router(edit(), chat="none"))
    assert out.body is body and not out.touched
    assert out.headers == {
        "x-memedit-route": "pass",
        "x-memedit-reason": "in_scope",
        "x-memedit-note": "nothing-inserted",
    }
    assert out.routes[0].considered


class DeadMemory(TinyMemory):
    def refresh(self) -> bool:
        raise OSError("disk I/O error at /secret/path")


@pytest.mark.parametrize("by", [router(memory=DeadMemory([])), with_method(Broken())])
def test_a_failing_memory_passes_openly_or_raises(by: Router) -> None:
    body = chat()
    out = done(body, by)
    assert out.body is body
    assert out.headers == {"x-memedit-route": "pass", "x-memedit-reason": "memory_failed"}
    with pytest.raises(MemoryFailure) as caught:
        done(body, by, on_memory_failure="closed")
    assert "secret" not in str(caught.value)
    # what needs no memory needs no policy
    assert done(body, by, RequestOptions(bypass=True), on_memory_failure="closed").body is body
    assert done(b"[]", by, on_memory_failure="closed").body == b"[]"


def test_a_lone_surrogate_in_the_question_reaches_no_encoder() -> None:
    memory = TinyMemory([edit()])
    out = done(chat(f"{ASKED} \ud800"), router(memory=memory))
    assert memory.encoder.batches == [[f"{ASKED} ?"]]
    assert json.loads(out.body)["messages"][0]["content"] == f"{STATED}{ASKED} \ud800"


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("post", "/v1/completions", "completions"),
        ("POST", "/v1/responses", "responses"),
        ("POST", "/v1/messages", "messages"),
        ("POST", "/base/v1/messages", "messages"),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("POST", "/v1/responses/resp_1/cancel", None),
        ("POST", "/v1/embeddings", None),
        ("POST", "/", None),
    ],
)
def test_which_requests_are_read(method: str, path: str, name: str | None) -> None:
    found = wire_for(method, path)
    assert (found.name if found else None) == name
