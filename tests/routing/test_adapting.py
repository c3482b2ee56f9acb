"""Which adapter a prompt goes to, and what is done where it cannot."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from memedit.memory import AdapterKind, AdapterRecord, AdapterView, TargetKind
from memedit.memory.adapter_records import Deployment
from memedit.routing import (
    AdapterUnavailable,
    NeedAdapter,
    Prepared,
    RequestOptions,
    Router,
    prepare,
    run_sync,
    wire_for,
)
from memedit.routing.adapting import AdapterChooser
from memedit.routing.route import Reason, Route, RouteQuery
from memedit.routing.wire.document import Document
from memedit.types import Action, Candidate, QueryText
from tests.routing.tiny_memory import DAY_ONE, decided, edit, router
from tests.routing.toy_upstream import no_upstream

BASE, OTHER_BASE = "ab" * 32, "cd" * 32
CAPITAL, RIVER = "e-aaaaaaaaaaaa", "e-bbbbbbbbbbbb"
FRANCE = edit()
SEINE = edit("Paris lies beside a river called", "the Amsel", id=RIVER)
ASKED = "The capital of France is"
BOTH = "The capital of France is Paris lies beside a river called"


def record(name: str, *edits: str, base: str = BASE, day: int = 0) -> AdapterRecord:
    moment = DAY_ONE + timedelta(days=day)
    return AdapterRecord(name, base, "lora", edits, AdapterKind.ADAPTER, "", moment)


def deployed(kind: TargetKind, target: str, adapter: str) -> Deployment:
    return Deployment(kind, target, adapter, None, DAY_ONE)


def choosing(
    records: Sequence[AdapterRecord], *deployments: Deployment, edits: Any = (FRANCE, SEINE)
) -> Router:
    view = AdapterView.of(records, deployments)
    return router(*edits, adapters=AdapterChooser(lambda: view, BASE))


def ask(
    by: Router,
    body: bytes,
    *,
    fails: str | None = None,
    options: RequestOptions | None = None,
    path: str = "/v1/chat/completions",
) -> tuple[Prepared, list[NeedAdapter]]:
    needed: list[NeedAdapter] = []

    def provide(need: NeedAdapter) -> None:
        needed.append(need)
        if fails is not None:
            raise AdapterUnavailable("it cannot", fails)

    wire = wire_for("POST", path)
    assert wire is not None
    plan = prepare(by, wire, body, options or RequestOptions(), adapters=True)
    return run_sync(plan, by, no_upstream, provide), needed


def chat(text: str, **fields: object) -> bytes:
    return json.dumps({"messages": [{"role": "user", "content": text}], **fields}).encode()


def test_the_model_is_rewritten_and_nothing_else() -> None:
    messages = b'"messages":[{"role":"user","content":"%b"}]' % ASKED.encode()
    body = b'{"mod\\u0065l" :\t"base", "x":1e-7,\n ' + messages + b', "x": 2}'
    out, needed = ask(choosing([record("memedit-a-1", FRANCE.ref)]), body)
    assert needed == [NeedAdapter("memedit-a-1", "base")]
    assert out.body == body.replace(b'"base"', b'"memedit-a-1"') and out.adapter == "memedit-a-1"
    assert out.headers == {
        "x-memedit-route": "adapter",
        "x-memedit-reason": "in_scope",
        "x-memedit-edits": FRANCE.ref,
        "x-memedit-adapter": "memedit-a-1",
    }


def test_an_edit_that_is_asked_from_its_other_end_goes_to_no_adapter() -> None:
    view = AdapterView.of([record("memedit-a-1", FRANCE.ref)], ())
    query = RouteQuery(QueryText(ASKED))
    for turned, action in ((False, Action.ADAPTER), (True, Action.IN_CONTEXT)):
        candidate = Candidate(FRANCE, 0.9, ASKED, named=True, turned=turned)
        route = Route(
            Action.IN_CONTEXT, Reason.IN_SCOPE, method="ice", applied=(decided(candidate, 0.9),)
        )
        assert AdapterChooser(lambda: view, BASE).choose(query, route).action is action


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'{"a": 1}', b'{"model": "m-1", "a": 1}'),
        (b" { } ", b' {"model": "m-1" } '),
        (b'{"model": null, "a": 1}', b'{"model": "m-1", "a": 1}'),
        (b'{"model": "x", "a": {"model": "y"}, "model": "z"}',
         b'{"model": "x", "a": {"model": "y"}, "model": "m-1"}'),
    ],
)  # fmt: skip
def test_a_value_is_set_where_it_counts(body: bytes, expected: bytes) -> None:
    document = Document.parse(body)
    document.set_text("model", "m-1")
    assert document.to_bytes() == expected
    assert json.loads(expected)["model"] == "m-1"


def test_what_no_edit_concerns_stays_the_very_bytes() -> None:
    body = chat("Birds sing in spring", model="base")
    out, needed = ask(choosing([record("memedit-a-1", FRANCE.ref)]), body)
    assert out.body is body and needed == [] and "x-memedit-adapter" not in out.headers
    out, needed = ask(
        choosing([record("memedit-a-1", FRANCE.ref)]), chat(ASKED), options=RequestOptions(True)
    )
    assert needed == [] and out.headers["x-memedit-reason"] == "bypassed"


def test_several_edits_take_one_adapter_and_the_rest_stands_in_the_context() -> None:
    by = choosing([record("memedit-a-1", FRANCE.ref), record("memedit-b-1", SEINE.ref)])
    options = RequestOptions(threshold=0.1)
    out, [need] = ask(by, chat(BOTH), options=options)
    [route] = out.routes
    assert route.action is Action.ADAPTER and len(route.applied) == 2 and len(route.carried) == 1
    text = json.loads(out.body)["messages"][0]["content"]
    [left] = [one for one in (FRANCE, SEINE) if one.ref not in route.carried]
    assert left.statement in text and json.loads(out.body)["model"] == need.name
    assert out.headers["x-memedit-note"] == "rest-in-context"
    assert set(out.headers["x-memedit-edits"].split(",")) == {FRANCE.ref, SEINE.ref}
    both = record("memedit-c-1", FRANCE.ref, SEINE.ref, day=-9)
    merged = choosing([record("memedit-a-1", FRANCE.ref), both])
    out, [need] = ask(merged, chat(BOTH), options=options)
    assert need.name == "memedit-c-1" and "x-memedit-note" not in out.headers


def test_of_two_that_hold_the_same_the_newer_one_is_taken() -> None:
    old, new = record("memedit-a-1", FRANCE.ref), record("memedit-b-1", FRANCE.ref, day=1)
    _, [need] = ask(choosing([old, new]), chat(ASKED))
    assert need.name == "memedit-b-1"


@pytest.mark.parametrize(
    ("held", "base", "note"),
    [
        (FRANCE.ref, OTHER_BASE, "adapter-of-other-base"),
        (f"{CAPITAL}@2", BASE, "adapter-outdated"),
    ],
)
def test_an_adapter_of_another_model_or_version_is_not_used(
    held: str, base: str, note: str
) -> None:
    out, needed = ask(choosing([record("memedit-a-1", held, base=base)]), chat(ASKED))
    assert needed == [] and out.headers["x-memedit-route"] == "in_context"
    assert out.headers["x-memedit-note"] == note and b"Norwick" in out.body
    there = [deployed(TargetKind.NAMESPACE, "default", "memedit-a-1")]
    by = choosing([record("memedit-a-1", held, base=base)], *there)
    out, needed = ask(by, chat(ASKED))
    if base == BASE:  # deployed is deployed; the newer version is written beside it
        assert [one.name for one in needed] == ["memedit-a-1"] and b"Norwick" in out.body
    else:
        assert needed == [] and b"Norwick" in out.body
        assert out.headers["x-memedit-note"] == note


def test_a_failing_load_falls_back_to_the_context_and_says_so() -> None:
    by = choosing([record("memedit-a-1", FRANCE.ref)])
    out, [_] = ask(by, chat(ASKED, model="base"), fails="refused")
    body = json.loads(out.body)
    assert body["model"] == "base" and FRANCE.statement in body["messages"][0]["content"]
    assert out.headers["x-memedit-route"] == "in_context" and out.adapter is None
    assert out.headers["x-memedit-note"] == "adapter-failed:refused"
    wire = wire_for("POST", "/v1/chat/completions")
    assert wire is not None
    nobody = run_sync(
        prepare(by, wire, chat(ASKED), RequestOptions(), adapters=True), by, no_upstream
    )
    assert nobody.headers["x-memedit-note"] == "adapter-failed:failed"


def test_a_batch_goes_to_an_adapter_as_a_whole_or_not_at_all() -> None:
    by = choosing([record("memedit-a-1", FRANCE.ref)])
    path = "/v1/completions"
    out, [need] = ask(by, json.dumps({"prompt": [ASKED, ASKED]}).encode(), path=path)
    assert json.loads(out.body) == {"model": need.name, "prompt": [ASKED, ASKED]}
    mixed = json.dumps({"prompt": [ASKED, "Birds sing in spring"]}).encode()
    out, needed = ask(by, mixed, path=path)
    first, second = json.loads(out.body)["prompt"]
    assert needed == [] and "Norwick" in first and second == "Birds sing in spring"
    assert out.headers["x-memedit-note"] == "adapter-mixed-batch"


@pytest.mark.parametrize("kind", list(TargetKind))
def test_what_is_deployed_takes_all_traffic_and_its_edits_need_no_words(kind: TargetKind) -> None:
    target = {TargetKind.NAMESPACE: "default", TargetKind.MODEL: "base"}[kind]
    by = choosing([record("memedit-a-1", FRANCE.ref)], deployed(kind, target, "memedit-a-1"))
    for text in (ASKED, "Birds sing in spring"):
        body = chat(text, model="base")
        out, [need] = ask(by, body)
        assert out.body == body.replace(b'"base"', b'"memedit-a-1"')
        assert need.name == "memedit-a-1" and out.headers["x-memedit-note"] == "deployed"
        assert out.headers["x-memedit-route"] == "adapter"
    silent = json.dumps(
        {"model": "base", "messages": [{"role": "system", "content": "x"}]}
    ).encode()
    out, [_] = ask(by, silent)
    assert json.loads(out.body)["model"] == "memedit-a-1"
    assert out.headers["x-memedit-reason"] == "not_read"
    elsewhere = RequestOptions(namespaces=("elsewhere",))
    out, needed = ask(by, chat(ASKED, model="another"), options=elsewhere)
    assert needed == [] and not out.touched
    out, [_] = ask(by, chat(ASKED, model="base"), fails="missing")
    assert FRANCE.statement in json.loads(out.body)["messages"][0]["content"]
    assert out.headers["x-memedit-note"] == "adapter-failed:missing"
    other = chat("Birds sing in spring", model="base")
    out, [_] = ask(by, other, fails="missing")
    assert out.body is other and out.headers["x-memedit-route"] == "pass"
    assert out.headers["x-memedit-note"] == "adapter-failed:missing"


def test_a_deployed_adapter_stays_where_another_holds_the_edit() -> None:
    there = deployed(TargetKind.NAMESPACE, "default", "memedit-a-1")
    records = [record("memedit-a-1", SEINE.ref), record("memedit-b-1", FRANCE.ref)]
    out, [need] = ask(choosing(records, there), chat(ASKED))
    assert need.name == "memedit-a-1" and FRANCE.statement in out.body.decode()
    assert out.headers["x-memedit-note"] == "deployed,rest-in-context"


CODEBOOK = replace(record("memedit-book-1", FRANCE.ref), method="grace")
QUESTION = edit("What is the capital of France?", id="e-cccccccccccc")
QUESTIONS = replace(record("memedit-book-2", QUESTION.ref), method="grace")


def completion(text: str) -> bytes:
    return json.dumps({"prompt": text}).encode()


@pytest.mark.parametrize(
    ("book", "path", "body", "taken"),
    [
        (CODEBOOK, "/v1/completions", completion(ASKED), True),
        (CODEBOOK, "/v1/completions", completion(ASKED + " "), True),
        (CODEBOOK, "/v1/completions", completion("the capital of France is"), False),
        (CODEBOOK, "/v1/chat/completions", chat(ASKED), False),
        (QUESTIONS, "/v1/chat/completions", chat(QUESTION.request.prompt), True),
        (QUESTIONS, "/v1/completions", completion(QUESTION.request.prompt), False),
    ],
)
def test_a_codebook_gets_the_prompts_that_it_is_sure_to_know(
    book: AdapterRecord, path: str, body: bytes, taken: bool
) -> None:
    edits = (QUESTION,) if book is QUESTIONS else (FRANCE,)
    out, needed = ask(choosing([book], edits=edits), body, path=path)
    assert [one.name for one in needed] == ([book.name] if taken else [])
    assert out.headers["x-memedit-edits"] == edits[0].ref, "it is applied in any case"
    if not taken:
        assert out.headers["x-memedit-route"] == "in_context"
        assert out.headers["x-memedit-note"] == "outside-codebook"
        assert edits[0].request.target_new in out.body.decode()


def test_a_codebook_that_is_sent_everything_is_a_setting() -> None:
    view = AdapterView.of([CODEBOOK], ())
    by = router(FRANCE, adapters=AdapterChooser(lambda: view, BASE, codebooks_for_any=True))
    assert ask(by, chat(ASKED))[0].adapter == CODEBOOK.name
    other = replace(record("memedit-a-1", FRANCE.ref))
    both = choosing([CODEBOOK, other], edits=(FRANCE,))
    assert ask(both, chat(ASKED))[0].adapter == other.name, "what a codebook leaves others take"
