"""Edits under names that stand in every prompt do not reach the prompts of others."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from memedit.config import Settings
from memedit.memory import EditMemory
from memedit.routing import RequestOptions, Router, prepare, run_sync
from memedit.routing.wire.chat import ChatCompletions
from memedit.types import EditRequest
from memedit.wiring import open_memory, open_router
from tests.adversarial import HARMLESS, UNRELATED, adversaries
from tests.routing.toy_upstream import no_upstream

CHAT = ChatCompletions()
WIDE = [one for one in adversaries() if len(one.request["subject"]) <= 4]


@pytest.fixture(scope="module")
def memory() -> Iterator[EditMemory]:
    with open_memory("sqlite://", Settings()) as memory:
        memory.add([EditRequest.model_validate(HARMLESS)], namespace="before")
        requests = [HARMLESS, *(one.request for one in WIDE)]
        memory.add(map(EditRequest.model_validate, requests), namespace="after")
        yield memory


@pytest.fixture(scope="module")
def router(memory: EditMemory) -> Router:
    return open_router(memory, Settings())


def sent(router: Router, question: str, namespace: str) -> bytes:
    body = json.dumps({"messages": [{"role": "user", "content": question}]}).encode()
    plan = prepare(router, CHAT, body, RequestOptions(namespaces=(namespace,)))
    return run_sync(plan, router, no_upstream).body


def test_requests_leave_as_they_would_without_them(router: Router) -> None:
    assert len(WIDE) == 20
    for question in UNRELATED:
        assert sent(router, question, "after") == sent(router, question, "before"), question
    assert b"Port Amsel" in sent(router, UNRELATED[0], "after")


def test_such_an_edit_is_still_found_by_its_own_prompt(router: Router) -> None:
    one = WIDE[0]
    assert b"PWNED" in sent(router, one.prompt, "after")
