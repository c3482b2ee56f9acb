"""Edits with adapters that hold them, and what is asked about them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memedit.library import Library
from memedit.memory import AdapterKind, AdapterRecord, EditMemory
from memedit.types import EditRequest
from tests.library.loras import write_lora
from tests.serving.parts import (
    ASKED,
    ATLANTIS,
    chat,
)


class Adapted:
    """A proxy with a library, and edits that are registered in it."""

    def __init__(self, memory: EditMemory, library: Library, tmp_path: Path) -> None:
        self.memory, self.library, self.tmp_path = memory, library, tmp_path

    def edit(self, country: str = "Atlantis", adapter_id: str | None = None) -> tuple[str, str]:
        """Add an edit and an adapter that holds it; returns the names of both."""
        text = ATLANTIS.model_dump_json().replace("Atlantis", country)
        [edit] = self.memory.add([EditRequest.model_validate_json(text)])
        chosen = adapter_id or country.lower()
        folder = write_lora(self.tmp_path / f"lora-{chosen}", edit.ref)
        stored = self.library.add(folder, chosen)
        self.memory.adapters.register(
            AdapterRecord(
                *(stored.name, stored.base, stored.method, stored.edits),
                AdapterKind.BAKE,
                stored.sha256,
            )
        )
        return edit.id, stored.name


def asked(country: str = "Atlantis") -> dict[str, Any]:
    return chat(ASKED.replace("Atlantis", country))


def eventually(holds: Callable[[], bool]) -> None:
    for _ in range(400):
        if holds():
            return
        threading.Event().wait(0.025)
    raise AssertionError("it did not come true within 10 s")
