"""From stored edits to stored questions."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta

import httpx2
import pytest

from memedit.config import ServeSettings
from memedit.enrichment import Enriched, Enricher, Made, QuestionMaker, open_asker
from memedit.errors import SettingsError, UpstreamError, UpstreamTimeout, UpstreamUnreachable
from memedit.memory import EditMemory
from memedit.routing.steps import NeedUpstream
from memedit.types import Edit, EditRequest
from tests.memory.hashing_encoder import HashingEncoder


class Echo(QuestionMaker):
    """Turns a prompt round; fails for one subject, and makes nothing for another."""

    name = "echo"
    at_once = 4

    def __init__(self) -> None:
        self.made: list[str] = []

    def make(self, edit: Edit) -> Made:
        self.made.append(edit.ref)
        subject = edit.request.subject
        if subject == "Broken":
            raise UpstreamError("the upstream answered with status 500")
        if subject == "Empty":
            return Made((), rejected=2)
        return Made((f"Regarding {subject}: what about it?",))


@pytest.fixture
def memory() -> Iterator[EditMemory]:
    with EditMemory.open("sqlite://", HashingEncoder()) as opened:
        yield opened


def requests(*subjects: str) -> list[EditRequest]:
    return [
        EditRequest(prompt=f"The capital of {name} is", subject=name, target_new="Vorn")
        for name in subjects
    ]


def test_what_becomes_of_each_edit_is_counted(
    memory: EditMemory, caplog: pytest.LogCaptureFixture
) -> None:
    edits = memory.add(requests("Fine", "Broken", "Empty", "Gone", "Silent"))
    memory.supersede(edits[3].id, requests("Gone")[0])
    silent = memory.retract(edits[4].id)
    maker = Echo()
    enricher = Enricher(memory, maker)
    with caplog.at_level(logging.WARNING):
        done = enricher.enrich([*edits[:4], silent, edits[0]])
    assert done == Enriched(enriched=1, unchanged=1, gone=2, failed=1, questions=1, rejected=2)
    assert edits[1].ref in caplog.text and "status 500" in caplog.text
    assert "Broken" not in caplog.text and "capital" not in caplog.text
    assert [one.subject for one in map(_request, memory.questions.missing("echo"))] == [
        "Broken",
        "Gone",
    ]
    assert memory.search("Regarding Fine: what about it?")[0].similarity > 0.999
    # those that were tried are not tried again, unless they are asked for
    maker.made.clear()
    assert enricher.enrich(edits[:3]) == Enriched(unchanged=2, failed=1)
    assert maker.made == [edits[1].ref]
    assert enricher.enrich(edits[:1], anew=True).enriched == 1


def test_what_is_left_of_expired_edits_goes_with_the_next_write(memory: EditMemory) -> None:
    soon = datetime.now(UTC) + timedelta(seconds=1)
    [over] = memory.add(requests("Over"), valid_to=soon)
    [fine] = memory.add(requests("Fine"))
    assert Enricher(memory, Echo()).enrich([over]).questions == 1
    while datetime.now(UTC) <= soon:
        time.sleep(0.05)
    assert Enricher(memory, Echo()).enrich([over, fine]) == Enriched(
        enriched=1, unchanged=1, questions=1
    )
    assert [one.ref for one in memory.questions.all() if one.texts] == [fine.ref]
    assert memory.stats()["generated_questions"] == 1 and memory.verify().ok


def _request(edit: Edit) -> EditRequest:
    return edit.request


def test_numbers_add_up() -> None:
    names = [field.name for field in fields(Enriched)]
    one = Enriched(**{name: n for n, name in enumerate(names)})
    assert one + one == Enriched(**{name: 2 * n for n, name in enumerate(names)})


def test_the_asker_sends_the_key_and_leaves_a_proxys_edits_out() -> None:
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        if len(seen) == 2:
            raise httpx2.ReadTimeout("slow")
        if len(seen) == 3:
            raise httpx2.ConnectError("gone")
        return httpx2.Response(200, content=b"{}")

    settings = ServeSettings(upstream="http://model:8000/base/v1/", upstream_api_key="sesame")
    need = NeedUpstream("POST", "/v1/chat/completions", b"{}", 3.0)
    with open_asker(settings, httpx2.MockTransport(answer)) as ask:
        assert ask(need).body == b"{}"
        with pytest.raises(UpstreamTimeout):
            ask(need)
        with pytest.raises(UpstreamUnreachable):
            ask(need)
    assert str(seen[0].url) == "http://model:8000/base/v1/chat/completions"
    assert seen[0].headers["authorization"] == "Bearer sesame"
    assert seen[0].headers["x-memedit-bypass"] == "1"
    with pytest.raises(SettingsError, match="base URL"), open_asker(ServeSettings(upstream="m")):
        pass
