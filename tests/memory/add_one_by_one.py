"""Adds edits one by one and prints each id once it is acknowledged; killed by test_crash.py."""

from __future__ import annotations

import sys

from memedit.memory import EditMemory
from memedit.types import EditRequest
from tests.memory.hashing_encoder import HashingEncoder


def main(url: str, first: int, stop: int) -> None:
    with EditMemory.open(url, HashingEncoder()) as memory:
        for n in range(first, stop):
            request = EditRequest(
                prompt=f"The keeper of lighthouse {n} is",
                subject=f"lighthouse {n}",
                target_new=f"keeper {n}",
                rephrases=(f"Who keeps lighthouse {n}?",),
            )
            [edit] = memory.add([request])
            # By one write: what stands on the line has been acknowledged.
            sys.stdout.write(f"{n} {edit.id}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
