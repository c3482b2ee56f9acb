"""Threads that add, supersede, retract and search at once."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

from memedit.errors import ConflictError
from memedit.memory import EditMemory
from memedit.types import Edit, EditRequest, Status
from tests.memory.hashing_encoder import HashingEncoder


def request(worker: int, n: int) -> EditRequest:
    name = f"ship{worker}x{n}"
    return EditRequest(prompt=f"The captain of {name} is", subject=name, target_new="Ansa")


def test_threads(url: str) -> None:
    # wide enough that no two names hash to one vector, of which the newer edit would stand first
    with EditMemory.open(url, HashingEncoder(256)) as memory:
        done = threading.Event()

        def write(worker: int) -> dict[str, Edit]:
            chance = random.Random(worker)
            mine: dict[str, Edit] = {}
            for n in range(40):
                [edit] = memory.add([request(worker, n)], namespace=f"n{worker % 2}")
                mine[edit.id] = edit
                # Live for the very next search of the same thread.
                hits = memory.search(edit.request.prompt, namespaces=[edit.namespace], k=1)
                assert hits[0].edit == edit
                if chance.random() < 0.3:
                    edit_id = chance.choice(sorted(mine))
                    if mine[edit_id].status is Status.LIVE:
                        mine[edit_id] = memory.retract(edit_id)
                        found = memory.search(
                            mine[edit_id].request.prompt, namespaces=["n0", "n1"], k=500
                        )
                        assert edit_id not in [hit.edit.id for hit in found]
            return mine

        def look() -> int:
            searches = 0
            while not done.is_set():
                for hit in memory.search("The captain of ship0x0 is", namespaces=["n0", "n1"]):
                    assert hit.edit.status is Status.LIVE
                memory.has_live(["n0"])
                memory.stats()
                searches += 1
            return searches

        with ThreadPoolExecutor(6) as pool:
            readers = [pool.submit(look) for _ in range(2)]
            try:
                written = list(pool.map(write, range(4)))
            finally:
                done.set()
            assert all(reader.result() > 0 for reader in readers)
        expected = {key: edit for mine in written for key, edit in mine.items()}
        assert len(expected) == 160
        assert {edit.id: edit for edit in memory.list(status=None, limit=1_000)} == expected
        assert memory.verify().faults == ()


def test_only_one_of_many_retractions_succeeds(url: str, encoder: HashingEncoder) -> None:
    with EditMemory.open(url, encoder) as memory, EditMemory.open(url, encoder) as other:
        [edit] = memory.add([request(0, 0)])

        def retract(n: int) -> bool:
            try:
                (memory if n % 2 else other).retract(edit.id)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(6) as pool:
            assert sum(pool.map(retract, range(6))) == 1
        assert len(memory.history(edit.id)) == 2
        memory.refresh()
        other.refresh()
        assert memory.verify().ok and other.verify().ok


def test_the_same_file_opened_by_many_at_once(url: str) -> None:
    def begin(n: int) -> None:
        with EditMemory.open(url, HashingEncoder()) as memory:
            memory.add([request(n, 0)], on_duplicate="return")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(begin, range(6)))
    with EditMemory.open(url, HashingEncoder()) as memory:
        assert memory.namespaces() == {"default": 6}


def test_threads_share_a_memory_that_lies_in_memory(scratch: EditMemory) -> None:
    def work(worker: int) -> None:
        for n in range(20):
            [edit] = scratch.add([request(worker, n)])
            if n % 3 == 0:
                scratch.retract(edit.id)
            scratch.search(edit.request.prompt)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert scratch.namespaces() == {"default": 4 * 13}
    assert scratch.verify().ok
