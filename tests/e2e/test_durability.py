"""Restarts and ``kill -9``: what was acknowledged is there, and the index agrees with it."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from memedit.cli.processes import free_port
from tests.e2e.stack import Proxy
from tests.e2e.wires import send

ADDITIONS = 1_000
CLIENTS = 8
KILLS = 3


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Proxy]:
    """A proxy without an upstream: the edit API needs none."""
    proxy = Proxy(tmp_path, f"http://127.0.0.1:{free_port()}", ready="/healthz")
    with proxy:
        yield proxy


def _fact(number: int) -> dict[str, Any]:
    return {
        "prompt": f"The keeper of lighthouse number {number} is",
        "subject": f"lighthouse number {number}",
        "target_new": f"Keeper {number}",
    }


def _listed(proxy: Proxy) -> dict[str, str]:
    """Return all live edits, page by page: id to new answer."""
    found: dict[str, str] = {}
    after = ""
    while True:
        page = proxy.api("GET", f"/edits?limit=100{after}").json()["edits"]
        if not page:
            return found
        found |= {edit["id"]: edit["request"]["target_new"] for edit in page}
        after = f"&after={page[-1]['id']}"


@pytest.mark.timeout(600)
def test_kill_9_in_the_middle_of_1000_additions(alone: Proxy) -> None:
    acknowledged: dict[str, str] = {}
    numbers = itertools.count()
    lock = threading.Lock()
    rng = random.Random(11)
    until = [ADDITIONS * (kill + 1) // (KILLS + 1) for kill in range(KILLS)]

    def add(_: int) -> None:
        """Add edits one by one, as a client does, until they are all sent or the server is gone."""
        while (number := next(numbers)) < ADDITIONS:
            fact = _fact(number)
            try:
                reply = send(alone.url, "POST", "/memedit/v1/edits", {"edits": [fact]}, timeout=120)
            except (OSError, http.client.HTTPException):
                return
            assert reply.status == 201, reply.body
            [edit] = reply.json()["edits"]
            with lock:
                acknowledged[edit["id"]] = fact["target_new"]

    for limit in [*until, None]:
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [pool.submit(add, number) for number in range(CLIENTS)]
            if limit is not None:
                while len(acknowledged) < limit:
                    assert not all(client.done() for client in clients)
                    time.sleep(0.002)
                time.sleep(rng.random() * 0.02)
                alone.kill()
            for client in clients:
                client.result()
        if limit is not None:
            alone.start()
            _agrees(alone, acknowledged)
    assert len(acknowledged) >= ADDITIONS - KILLS * CLIENTS
    _agrees(alone, acknowledged)
    assert alone.stop() in {0, 128 + signal.SIGTERM}
    alone.start()
    _agrees(alone, acknowledged)


def _agrees(proxy: Proxy, acknowledged: dict[str, str]) -> None:
    there = _listed(proxy)
    lost = {edit: target for edit, target in acknowledged.items() if there.get(edit) != target}
    assert not lost
    # An addition that was cut off before its acknowledgement may be there, but only as a whole.
    assert len(there) <= len(acknowledged) + KILLS * CLIENTS
    found = proxy.cli("verify")
    assert found.get("ok", True), found
    for edit, target in random.Random(len(there)).sample(sorted(acknowledged.items()), 25):
        query = f"/search?q=The+keeper+of+lighthouse+number+{target.split()[1]}+is&k=5"
        hits = proxy.api("GET", query).json()
        assert edit in str(hits), (target, hits)


def test_verify_notices_a_memory_that_does_not_agree(alone: Proxy) -> None:
    """The check above can fail: an edit that lost one of its texts is noticed."""
    alone.add(*map(_fact, range(3)))
    alone.stop()
    assert alone.cli("verify").get("ok", True)
    with contextlib.closing(sqlite3.connect(alone.folder / "edits.db")) as database, database:
        database.execute(
            "DELETE FROM memedit_vectors WHERE position = 0 AND seq IN"
            " (SELECT max(seq) FROM memedit_vectors)"
        )
    with pytest.raises(AssertionError):
        alone.cli("verify")


def test_history_survives_a_restart(alone: Proxy) -> None:
    [edit] = alone.add(_fact(1))
    newer = _fact(1) | {"target_new": "Keeper Two"}
    assert alone.api("PUT", f"/edits/{edit}", {"request": newer}).status in {200, 201}
    alone.retract(edit)
    before = alone.api("GET", f"/edits/{edit}/history").json()
    alone.kill()
    alone.start()
    assert alone.api("GET", f"/edits/{edit}/history").json() == before
    assert _listed(alone) == {}
