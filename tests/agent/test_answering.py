"""Questions on the road of a request: answered hop by hop in the wire format that was asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from memedit.agent.answering import AgentAnswerer
from memedit.agent.mello import Mello
from memedit.agent.pokemqa import Pokemqa
from memedit.errors import MemoryFailure, UpstreamTimeout, UpstreamUnreachable
from memedit.routing import NeedUpstream, Prepared, RequestOptions, UpstreamReply, prepare, run_sync
from memedit.routing.events import Splitter, data_of
from memedit.types import Action, Edit, Surface
from tests.agent.chains import QUESTION, SCRIPT, ByHops
from tests.agent.scripted import Scripted
from tests.routing.test_plan import wire
from tests.routing.tiny_memory import TinyMemory, edit, router

CHAT, COMPLETION = "/v1/chat/completions", "/v1/completions"
EDIT = edit()
USED = EDIT.ref


def body(path: str = CHAT, text: str = QUESTION, **more: Any) -> bytes:
    asked = {"messages": [{"role": "user", "content": text}]} if path == CHAT else {"prompt": text}
    return json.dumps({"model": "atlas", **asked, **more}).encode()


def done(
    sent: bytes,
    upstream: Callable[[NeedUpstream], UpstreamReply],
    *edits: Edit,
    path: str = CHAT,
    options: RequestOptions | None = None,
    answerer: AgentAnswerer | None = None,
    **policy: Any,
) -> Prepared:
    by = policy.pop("by", None) or router(*(edits or (EDIT,)), classifier=ByHops())
    plan = prepare(
        by,
        wire(path),
        sent,
        options or RequestOptions(),
        answerer=answerer or AgentAnswerer(Pokemqa()),
        **policy,
    )
    return run_sync(plan, by, upstream)


def refused(step: NeedUpstream) -> UpstreamReply:
    raise AssertionError(f"nobody asked for {step.path}")


def test_a_chat_is_answered_by_the_agent() -> None:
    upstream = Scripted(SCRIPT)
    sent = body(temperature=1.5)
    out = done(sent, upstream)
    assert out.answer is not None and out.answer.content_type == "application/json"
    value = json.loads(out.answer.body)
    assert value["object"] == "chat.completion" and value["model"] == "atlas"
    [choice] = value["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Petra"}
    assert choice["finish_reason"] == "stop"
    assert value["usage"] == {
        "prompt_tokens": 50,
        "completion_tokens": 25,
        "total_tokens": 75,
        "prompt_tokens_details": {"cached_tokens": 20},
    }
    assert out.headers == {
        "x-memedit-route": "agent",
        "x-memedit-reason": "in_scope",
        "x-memedit-edits": USED,
        "x-memedit-method": "pokemqa",
    }
    assert [route.action for route in out.routes] == [Action.AGENT]
    assert out.body is sent and not out.touched
    assert {one["model"] for one in upstream.bodies} == {"atlas"}
    assert all("prompt" in one and one["temperature"] == 0 for one in upstream.bodies)


def test_a_completion_goes_on_with_the_text() -> None:
    for text, said in ((QUESTION, " Petra"), (f"{QUESTION} ", "Petra")):
        out = done(body(COMPLETION, text), Scripted(SCRIPT), path=COMPLETION)
        assert out.answer is not None
        value = json.loads(out.answer.body)
        assert value["object"] == "text_completion"
        assert value["choices"] == [
            {"index": 0, "text": said, "logprobs": None, "finish_reason": "stop"}
        ]


def events(stream: bytes) -> list[Any]:
    read = [data_of(event) for event in Splitter().feed(stream)]
    assert read.pop() == "[DONE]"
    return [json.loads(one) for one in read if one is not None]


@pytest.mark.parametrize("path", [CHAT, COMPLETION])
@pytest.mark.parametrize("usage", [True, False])
def test_and_streamed(path: str, usage: bool) -> None:
    more: dict[str, Any] = {"stream": True}
    more |= {"stream_options": {"include_usage": True}} if usage else {}
    out = done(body(path, **more), Scripted(SCRIPT), path=path)
    assert out.answer is not None and out.answer.content_type.startswith("text/event-stream")
    chunks = events(out.answer.body)
    assert len({one["id"] for one in chunks}) == 1
    spent = chunks.pop() if usage else None
    choices = [one["choices"][0] for one in chunks]
    if path == CHAT:
        assert {one["object"] for one in chunks} == {"chat.completion.chunk"}
        assert choices[0]["delta"]["role"] == "assistant"
        assert "".join(one["delta"].get("content", "") for one in choices) == "Petra"
    else:
        assert "".join(one["text"] for one in choices) == " Petra"
    assert [one["finish_reason"] for one in choices] == [None] * (len(choices) - 1) + ["stop"]
    assert ["usage" in one for one in chunks] == [usage] * len(chunks)
    if spent is not None:
        assert spent["choices"] == [] and spent["usage"]["total_tokens"] == 75


def test_the_detail_tells_every_hop() -> None:
    out = done(body(), Scripted(SCRIPT), options=RequestOptions(detail=True))
    [route] = json.loads(out.headers["x-memedit-detail"])["routes"]
    assert route["action"] == "agent" and route["method"] == "pokemqa"
    assert route["agent"]["ended"] == "final_answer" and route["agent"]["calls"] == 5
    assert [(hop["answer"], hop["source"], hop["edit"]) for hop in route["agent"]["hops"]] == [
        ("Norwick", "edit", USED),
        ("Petra", "model", None),
    ]


def test_other_methods_and_chat_models() -> None:
    script = (
        "\nSubquestion: What is the capital of France?\nGenerated answer: Paris.",
        "\nRetrieved fact contradicts to generated answer, so the intermediate answer is: "
        "Norwick.\nFinal answer: Norwick.",
    )
    upstream = Scripted(script)
    answerer = AgentAnswerer(Mello(), surface=Surface.CHAT, max_tokens=33)
    out = done(body(), upstream, answerer=answerer)
    assert out.headers["x-memedit-method"] == "mello"
    assert all("messages" in one and one["max_tokens"] == 33 for one in upstream.bodies)


def test_a_model_that_is_not_named_is_asked_for() -> None:
    sent = json.dumps({"messages": [{"role": "user", "content": QUESTION}]}).encode()
    out = done(sent, Scripted(SCRIPT))
    assert out.answer is not None and json.loads(out.answer.body)["model"] == "scripted"


def test_what_no_edit_concerns_and_what_one_answers_directly_asks_no_agent() -> None:
    plain = body(text="Birds sing in spring")
    out = done(plain, refused)
    assert out.body is plain and out.headers["x-memedit-route"] == "pass"
    direct = done(body(text="What is the capital of France?"), refused)
    assert direct.headers["x-memedit-route"] == "in_context"
    assert "x-memedit-note" not in direct.headers


def test_a_retracted_edit_is_not_used() -> None:
    memory = TinyMemory([EDIT])
    by = router(memory=memory, classifier=ByHops())
    assert done(body(), Scripted(SCRIPT), by=by).headers["x-memedit-route"] == "agent"
    memory.edits.clear()
    assert done(body(), refused, by=by).headers["x-memedit-reason"] == "no_edits"


def test_an_edit_that_goes_while_the_agent_works_is_not_used() -> None:
    memory, scripted = TinyMemory([EDIT]), Scripted([*SCRIPT[:2], " Paris.", *SCRIPT[2:]])

    def upstream(step: NeedUpstream) -> UpstreamReply:
        memory.edits.clear()
        return scripted(step)

    out = done(body(), upstream, by=router(memory=memory, classifier=ByHops()))
    assert out.headers["x-memedit-route"] == "in_context" and out.answer is None
    assert out.headers["x-memedit-note"] == "agent-failed:no-edit-used"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ([UpstreamUnreachable("gone")], "endpoint_failed"),
        ([UpstreamTimeout("late")], "endpoint_failed"),
        (["x", "The weather is fine."], "no_next_step"),
        (["x", ("\nSubquestion: What is", "length")], "cut_off"),
        (["x", SCRIPT[1], SCRIPT[1]], "repeated_subquestion"),
        (["x", SCRIPT[1], SCRIPT[2], " I do not know.", "\nFinal answer: x"], "unknown_hop"),
        (["x", "\nSubquestion: Who sings?", " Birds.", "\nFinal answer: Birds."], "no-edit-used"),
    ],
)
def test_without_an_answer_the_edit_goes_into_the_context(script: list[Any], why: str) -> None:
    out = done(body(), Scripted(script))
    assert out.answer is None and out.touched
    assert "Norwick" in json.loads(out.body)["messages"][0]["content"]
    assert out.headers["x-memedit-route"] == "in_context"
    assert out.headers["x-memedit-note"] == f"agent-failed:{why}"
    assert out.headers["x-memedit-edits"] == USED
    assert out.routes[0].agent is not None


def test_a_memory_that_fails_on_the_way_is_told() -> None:
    class Failing(TinyMemory):
        def refresh(self) -> bool:
            if self.refreshed:
                raise MemoryFailure("the disk is full")
            return super().refresh()

    by = router(memory=Failing([EDIT]), classifier=ByHops())
    out = done(body(), Scripted(SCRIPT), by=by)
    assert out.headers["x-memedit-note"] == "agent-failed:memory_failed"
    assert out.headers["x-memedit-route"] == "in_context"


def test_time_is_limited_for_all_calls_together() -> None:
    now, given, scripted = [0.0], list[float | None](), Scripted(SCRIPT)

    def upstream(step: NeedUpstream) -> UpstreamReply:
        given.append(step.timeout)
        now[0] += 4.0
        return scripted(step)

    answerer = AgentAnswerer(Pokemqa(), timeout=10.0, clock=lambda: now[0])
    out = done(body(), upstream, answerer=answerer)
    assert given == [10.0, 6.0, 2.0]
    assert out.headers["x-memedit-note"] == "agent-failed:timeout"
    assert out.headers["x-memedit-route"] == "in_context" and out.answer is None


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"n": 2}, "n"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"logprobs": True}, "logprobs"),
    ],
)
def test_what_an_agent_cannot_give_is_left_to_the_model(more: dict[str, Any], why: str) -> None:
    out = done(body(**more), refused)
    assert out.headers["x-memedit-route"] == "in_context"
    assert f"agent-unfit:{why}" in out.headers["x-memedit-note"].split(",")
    assert out.routes[0].agent is None


def test_fields_that_say_nothing_do_no_harm() -> None:
    more = {"n": 1, "tools": [], "response_format": {"type": "text"}, "logprobs": False}
    assert done(body(**more), Scripted(SCRIPT)).answer is not None


def turns(*said: tuple[str, Any]) -> bytes:
    messages = [{"role": role, "content": content} for role, content in said]
    return json.dumps({"model": "m", "messages": messages}).encode()


IMAGE = [{"type": "text", "text": QUESTION}, {"type": "image_url", "image_url": {"url": "x"}}]


@pytest.mark.parametrize(
    ("path", "sent", "why"),
    [
        (CHAT, turns(("user", f"{QUESTION} {'x' * 1_000}")), "long"),
        (CHAT, turns(("user", "Hi, France."), ("user", f"And {QUESTION}")), "earlier-turns"),
        (CHAT, turns(("user", QUESTION), ("assistant", "It is")), "continues"),
        (CHAT, turns(("user", IMAGE)), "parts"),
        (COMPLETION, json.dumps({"prompt": [QUESTION, QUESTION]}).encode(), "batch"),
        ("/v1/messages", turns(("user", QUESTION)), "messages"),
    ],
)
def test_more_than_a_question_is_left_to_the_model(path: str, sent: bytes, why: str) -> None:
    out = done(sent, refused, path=path)
    assert out.headers["x-memedit-route"] == "in_context"
    assert out.headers["x-memedit-note"] == f"agent-unfit:{why}"


def test_an_answer_about_an_erased_fact_is_left_to_the_guard() -> None:
    erased = edit(
        "The capital of France is", "I can't say.", operation="erase", ground_truth="Paris"
    )
    out = done(body(), refused, erased)
    assert out.headers["x-memedit-note"] == "agent-unfit:erasure" and out.guard is not None


def test_without_an_agent_nothing_changes() -> None:
    by = router(EDIT, classifier=ByHops())
    out = run_sync(prepare(by, wire(), body(), RequestOptions()), by, refused)
    assert out.headers["x-memedit-route"] == "in_context" and "x-memedit-note" not in out.headers
