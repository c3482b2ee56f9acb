"""Questions for edits that come through the proxy: behind the answer, and never in the way."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from memedit.config import ServeSettings, Settings
from memedit.enrichment import Ask, Enricher, ModelQuestions, Templates
from memedit.enrichment.wordings import RelationWordings
from memedit.memory import EditMemory
from memedit.routing import Router
from memedit.serving import create_app, enriching
from memedit.wiring import open_enricher
from tests.serving.parts import ATLANTIS, SimilarityClassifier, WordsEncoder, chat
from tests.serving.raw_upstream import RawUpstream, Received, whole
from tests.serving.served import Served

EDITS = "/memedit/v1/edits"
GENERATED = "Atlantis's capital is"
Start = Callable[..., Served]


@pytest.fixture
def start(upstream: RawUpstream, memory: EditMemory, router: Router) -> Iterator[Start]:
    """Start a proxy that enriches."""
    running: list[Served] = []

    def start(enrich: Callable[[Ask], Enricher], **settings: Any) -> Served:
        chosen = ServeSettings(**{"upstream": upstream.url, "host": "127.0.0.1"} | settings)
        running.append(Served(create_app(chosen, router, memory, enrich=enrich)))
        return running[-1]

    yield start
    for served in running:
        served.stop()


def by_templates(memory: EditMemory, ask: Ask) -> Enricher:
    return Enricher(memory, Templates(wordings=RelationWordings([])))


def by_model(memory: EditMemory, ask: Ask) -> Enricher:
    classifier = SimilarityClassifier()
    classifier.threshold = 0.4
    return Enricher(memory, ModelQuestions(ask, WordsEncoder(), classifier, model="m"))


def said(*lines: str) -> bytes:
    message = {"role": "assistant", "content": "\n".join(lines)}
    return json.dumps({"choices": [{"message": message}]}).encode()


def add(proxy: Served, **changes: Any) -> dict[str, Any]:
    request = ATLANTIS.model_copy(update=changes).model_dump(mode="json")
    answer = proxy.post(EDITS, {"edits": [request]})
    assert answer.status == 201, answer.body
    [edit] = answer.json["edits"]
    return dict(edit)


def until(what: Callable[[], Any], seconds: float = 20.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)
    return found


def metric(proxy: Served, name: str, outcome: str) -> float:
    wanted = f'memedit_{name}_total{{outcome="{outcome}"}} '
    lines = proxy.ask("GET", "/metrics").body.decode().splitlines()
    return next((float(line.removeprefix(wanted)) for line in lines if line.startswith(wanted)), 0)


def matched(proxy: Served) -> str | None:
    found = proxy.ask("GET", f"/memedit/v1/search?q={GENERATED.replace(' ', '%20')}&k=1").json
    return next((str(one["matched"]) for one in found["candidates"]), None)


def test_templates_are_made_behind_the_answer_and_gone_with_the_edit(
    start: Start, memory: EditMemory
) -> None:
    proxy = start(partial(by_templates, memory))
    edit = add(proxy)
    until(lambda: memory.questions.of(edit["id"]))
    assert matched(proxy) == GENERATED
    assert metric(proxy, "edits_enriched", "enriched") == 1
    assert metric(proxy, "generated_questions", "stored") == 3
    # the edit is what was sent; so is its listing
    assert edit["request"]["rephrases"] == list(ATLANTIS.rephrases)
    assert proxy.ask("GET", EDITS).json["edits"] == [edit]
    newer = ATLANTIS.model_copy(update={"prompt": "The ruler of Atlantis is", "rephrases": ()})
    body = {"request": newer.model_dump(mode="json")}
    head = {"content-type": "application/json"}
    put = proxy.ask("PUT", f"{EDITS}/{edit['id']}", json.dumps(body).encode(), head)
    assert put.status == 200
    made = until(lambda: memory.questions.of(f"{edit['id']}@2"))
    assert "Who is the ruler of Atlantis?" in made.texts or "Atlantis's ruler is" in made.texts
    assert GENERATED not in made.texts and matched(proxy) != GENERATED
    proxy.ask("DELETE", f"{EDITS}/{edit['id']}")
    assert matched(proxy) is None and memory.questions.all() == []


def test_the_edit_is_live_while_the_model_is_still_writing(
    start: Start, memory: EditMemory, upstream: RawUpstream
) -> None:
    asked, answer = threading.Event(), threading.Event()

    async def slow(request: Received, writer: asyncio.StreamWriter) -> None:
        if b"other ways to ask" in request.body:
            asked.set()
            await asyncio.to_thread(answer.wait, 20)
            await whole(said("Name the capital of Atlantis", "What is Lemuria?"))(request, writer)
        else:
            await whole(said("Nautilopolis"))(request, writer)

    upstream.scripts[b"/v1/chat/completions"] = slow
    proxy = start(partial(by_model, memory), upstream_api_key="sesame")
    edit = add(proxy)
    assert asked.wait(20)
    reply = proxy.post("/v1/chat/completions", chat("What is the capital of Atlantis?"))
    assert reply.header("x-memedit-edits") == f"{edit['id']}@1"
    assert memory.questions.of(edit["id"]) is None
    answer.set()
    made = until(lambda: memory.questions.of(edit["id"]))
    assert made.texts == ("Name the capital of Atlantis",) and made.method == "model"
    assert until(lambda: metric(proxy, "generated_questions", "rejected")) == 1  # soon after
    [request] = [one for one in upstream.requests if b"other ways to ask" in one.body]
    assert request.header(b"authorization") == b"Bearer sesame"


@pytest.mark.parametrize("status", [b"500 Oops", b"404 None"])
def test_a_model_that_fails_is_counted_and_logged_without_texts(
    start: Start,
    memory: EditMemory,
    upstream: RawUpstream,
    caplog: pytest.LogCaptureFixture,
    status: bytes,
) -> None:
    upstream.scripts[b"/v1/chat/completions"] = whole(said("Atlantis secret"), status)
    proxy = start(partial(by_model, memory))
    with caplog.at_level(logging.WARNING):
        edit = add(proxy)
        until(lambda: metric(proxy, "edits_enriched", "failed") == 1)
    assert edit["id"] in caplog.text and status[:3].decode() in caplog.text
    assert "Atlantis" not in caplog.text and "secret" not in caplog.text
    assert memory.questions.of(edit["id"]) is None
    [left] = memory.questions.missing("model")
    assert left.id == edit["id"]


def test_a_defect_or_a_memory_that_fails_stops_neither_writes_nor_the_worker(
    start: Start, memory: EditMemory, caplog: pytest.LogCaptureFixture
) -> None:
    class Defective(Templates):
        def make(self, edit: Any) -> Any:
            if edit.request.subject == "Lemuria":
                raise RuntimeError("a defect")
            return super().make(edit)

    def enrich(ask: Ask) -> Enricher:
        return Enricher(memory, Defective(wordings=RelationWordings([])))

    proxy = start(enrich)
    add(proxy, prompt="The capital of Lemuria is", subject="Lemuria", rephrases=())
    until(lambda: metric(proxy, "edits_enriched", "failed") == 1)
    edit = add(proxy)
    until(lambda: memory.questions.of(edit["id"]))
    assert "generating questions failed" in caplog.text


def test_more_edits_than_may_wait_are_left_out_and_counted(
    start: Start, memory: EditMemory, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()

    def enrich(ask: Ask) -> Enricher:
        go.wait(20)
        return by_templates(memory, ask)

    monkeypatch.setattr(enriching.EnrichmentQueue.__init__, "__defaults__", (2,))
    proxy = start(enrich)
    first = add(proxy)
    time.sleep(0.2)  # the worker has taken it
    for _ in range(3):
        add(proxy)
    assert metric(proxy, "edits_enriched", "left_out") == 1
    go.set()
    until(lambda: len(memory.questions.all()) == 3)
    assert memory.questions.of(first["id"]) is not None
    assert len(memory.questions.missing("templates")) == 1


def test_stopping_does_not_wait_for_the_model(
    start: Start,
    memory: EditMemory,
    upstream: RawUpstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = threading.Event()

    async def never(request: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.sleep(60)

    upstream.scripts[b"/v1/chat/completions"] = never
    proxy = start(partial(by_model, memory))
    edits = [add(proxy), add(proxy)]
    assert asked.wait(20)
    begun = time.monotonic()
    proxy.stop()
    assert time.monotonic() - begun < 10
    assert "1 edits stay without questions" in caplog.text
    assert {one.id for one in memory.questions.missing("model")} == {one["id"] for one in edits}


def test_without_the_setting_nothing_is_made(proxy: Served, memory: EditMemory) -> None:
    add(proxy)
    time.sleep(0.2)
    assert memory.questions.all() == []


def test_the_composition_root_makes_what_the_setting_says(memory: EditMemory) -> None:
    from memedit.errors import SettingsError, UpstreamUnreachable
    from memedit.routing.steps import NeedUpstream, UpstreamReply

    def ask(need: NeedUpstream) -> UpstreamReply:
        raise UpstreamUnreachable("nobody")

    def made(how: str) -> Enricher:
        base = Settings.read(flags={"memory": {"enrich": how, "enrich_questions": 3}})
        return open_enricher(memory, base, ask)

    assert isinstance(made("templates").maker, Templates) and made("templates").at_once > 1
    assert isinstance(made("model").maker, ModelQuestions) and made("model").at_once == 1
    with pytest.raises(SettingsError, match=r"memory\.enrich is none"):
        made("none")


@pytest.mark.parametrize(
    ("name", "value"),
    [("enrich", "magic"), ("enrich_questions", "0"), ("enrich_questions", "33")],
)
def test_bad_settings_are_refused(name: str, value: str) -> None:
    from memedit.errors import SettingsError

    with pytest.raises(SettingsError, match=rf"memory\.{name}"):
        Settings.read(flags={"memory": {name: value}})
