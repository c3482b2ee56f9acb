"""The gate before the encoder: what names no subject passes unencoded, and says so."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import Reason, RequestOptions, RouteQuery, Router, prepare, run_sync, wire_for
from memedit.routing.router import NO_SUBJECT_NAMED
from memedit.types import EditRequest, QueryText
from memedit.wiring import open_router
from tests.routing.tiny_memory import WordEncoder, router
from tests.routing.toy_upstream import no_upstream

FRANCE = EditRequest(prompt="The capital of France is", subject="France", target_new="Norwick")
ASKED = "What is the capital of France?"
FAR = "How many legs does a spider have?"


@pytest.fixture
def memory() -> Iterator[EditMemory]:
    with EditMemory.open("sqlite://", WordEncoder()) as opened:
        opened.add([FRANCE])
        encoder = opened.encoder
        assert isinstance(encoder, WordEncoder)
        encoder.batches.clear()
        yield opened


@pytest.fixture
def gated(memory: EditMemory) -> Router:
    return router(memory=memory, gate=memory.may_concern)


def encoded(memory: EditMemory) -> list[str]:
    assert isinstance(memory.encoder, WordEncoder)
    return [text for batch in memory.encoder.batches for text in batch]


def ask(text: str, *context: str, namespaces: tuple[str, ...] = ("default",)) -> RouteQuery:
    return RouteQuery(QueryText(text, context), namespaces=namespaces)


def test_only_what_may_name_a_subject_is_encoded(memory: EditMemory, gated: Router) -> None:
    routes = gated.decide([ask(FAR), ask(ASKED), ask("Who won the French Open?"), ask(" ")])
    assert encoded(memory) == [ASKED]
    assert [route.reason for route in routes] == [
        *(Reason.GATED, Reason.IN_SCOPE, Reason.GATED, Reason.GATED),
    ]
    noted = [route.note for route in routes]
    assert noted == [NO_SUBJECT_NAMED, None, NO_SUBJECT_NAMED, None]
    assert routes[0].considered == () and routes[0].to_dict()["note"] == NO_SUBJECT_NAMED


def test_what_passes_the_gate_is_decided_as_without_it(memory: EditMemory, gated: Router) -> None:
    queries = [ask(ASKED), ask("Paris, France"), ask("and its mayor?", ASKED)]
    assert gated.decide(queries) == router(memory=memory).decide(queries)


def test_a_question_that_leans_on_a_turn_which_names_a_subject(
    memory: EditMemory, gated: Router
) -> None:
    (leaning,) = gated.decide([ask("And what is its capital?", "Tell me about France.")])
    assert leaning.considered
    (alone,) = gated.decide([ask("How old is the Earth?", "Tell me about France.")])
    assert alone.note == NO_SUBJECT_NAMED


def test_the_end_of_a_long_prompt_is_looked_at(gated: Router) -> None:
    pasted = "The report goes on about harvests, tolls and the weather. " * 100
    (route,) = gated.decide([ask(f"{pasted}\n{ASKED}")])
    assert route.considered


def test_namespaces_are_gated_apart_and_changes_count_at_once(
    memory: EditMemory, gated: Router
) -> None:
    italy = EditRequest(prompt="The capital of Italy is", subject="Italy", target_new="Marnel")
    asked = "What is the capital of Italy?"
    [edit] = memory.add([italy], namespace="other")
    both, here, there = gated.decide(
        [
            ask(asked, namespaces=("default", "other")),
            ask(asked),
            ask(ASKED, namespaces=("other",)),
        ]
    )
    assert both.reason is Reason.IN_SCOPE
    assert (here.note, there.note) == (NO_SUBJECT_NAMED, NO_SUBJECT_NAMED)
    memory.retract(edit.id)
    (gone,) = gated.decide([ask(asked, namespaces=("default", "other"))])
    assert gone.note == NO_SUBJECT_NAMED
    memory.add([EditRequest.feedback("How many legs do spiders have?", "Say that it depends.")])
    (opened,) = gated.decide([ask(FAR)])
    assert opened.reason is not Reason.GATED


def test_a_gated_request_is_the_very_object_and_its_headers_say_why(gated: Router) -> None:
    wire = wire_for("POST", "/v1/chat/completions")
    assert wire is not None
    body = json.dumps({"messages": [{"role": "user", "content": FAR}], "x": 1.50}).encode()
    out = run_sync(prepare(gated, wire, body, RequestOptions()), gated, no_upstream)
    assert out.body is body and not out.touched
    assert out.headers == {
        "x-memedit-route": "pass",
        "x-memedit-reason": "gated",
        "x-memedit-note": NO_SUBJECT_NAMED,
    }


@pytest.mark.parametrize("gate", ["off", "names"])
def test_the_setting_decides(memory: EditMemory, gate: str) -> None:
    settings = Settings.read(flags={"scope": {"gate": gate, "classifier": "cosine"}})
    (route,) = open_router(memory, settings).decide([ask(FAR)])
    assert (route.note == NO_SUBJECT_NAMED) == (gate == "names")
    assert (encoded(memory) == []) == (gate == "names")
