"""kill -9 in the middle of 1,000 additions: what was acknowledged is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from memedit.memory import EditMemory
from memedit.types import Status
from tests.memory.hashing_encoder import HashingEncoder

ADDITIONS = 1_000
KILLS = 6


def test_kill_in_the_middle_of_additions(url: str) -> None:
    acknowledged: dict[str, int] = {}
    chance = random.Random(20)
    first = kills = 0
    while first < ADDITIONS:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.memory.add_one_by_one", url, str(first), str(ADDITIONS)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None
        left = chance.randrange(30, 200) if kills < KILLS else ADDITIONS
        for line in process.stdout:
            # Reads on after the kill: what the process had written by then was acknowledged too.
            number, edit_id = line.split()
            acknowledged[edit_id] = int(number)
            left -= 1
            if left == 0:
                time.sleep(0.008 * chance.random())  # anywhere in what it does next
                process.send_signal(signal.SIGKILL)
        killed = process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert killed or process.returncode == 0
        kills += killed
        with EditMemory.open(url, HashingEncoder()) as memory:
            assert memory.verify().faults == ()
            edits = {edit.id: edit for edit in memory.list(limit=2 * ADDITIONS)}
            lost = acknowledged.keys() - edits.keys()
            assert not lost
            # The one addition that was under way may be there as well, whole; nothing else is.
            unasked = edits.keys() - acknowledged.keys()
            assert len(unasked) <= kills
            for edit_id, number in acknowledged.items():
                assert edits[edit_id].request.subject == f"lighthouse {number}"
            for edit_id in [*list(acknowledged)[-5:], *unasked]:
                hits = memory.search(edits[edit_id].request.prompt, k=min(1_000, len(edits)))
                assert edit_id in [hit.edit.id for hit in hits if hit.similarity > 0.999]
        first = max(acknowledged.values()) + 1
    assert kills == KILLS
    assert sorted(acknowledged.values()) == list(range(ADDITIONS))
    with EditMemory.open(url, HashingEncoder()) as memory:
        assert memory.stats()["edits"][Status.LIVE] >= ADDITIONS


def test_kill_in_the_middle_of_a_large_import(sqlite_url: str) -> None:
    program = (
        "import sys; from memedit.memory import EditMemory; from memedit.types import EditRequest\n"
        "from tests.memory.hashing_encoder import HashingEncoder\n"
        "memory = EditMemory.open(sys.argv[1], HashingEncoder())\n"
        "new = [EditRequest(prompt=f'p {n}', subject='p', target_new='t') for n in range(3000)]\n"
        "while True:\n"
        "    memory.add(new)\n"
        "    print('added', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, sqlite_url],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        process.wait(timeout=0.7)  # into the middle of the second or third import
    except subprocess.TimeoutExpired:
        process.kill()
    batches = 1 + len(process.stdout.readlines())
    process.wait()
    process.stdout.close()
    with EditMemory.open(sqlite_url, HashingEncoder()) as memory:
        live = memory.namespaces()["default"]
        assert live % 3_000 == 0  # whole transactions only
        assert live // 3_000 in (batches, batches + 1)
        assert memory.verify().faults == ()
