"""What can be served is looked through once, and anew whenever its files were touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from memedit.library import Inspection, Library
from tests.library.loras import BASE, write_lora

EDIT = "e-0123456789ab@3"


class Counting(Library):
    looked = 0

    def checked(self, name: str, base: str, sha256: str = "") -> object:  # type: ignore[override]
        self.looked += 1
        return super().checked(name, base, sha256)


@pytest.fixture
def library(tmp_path: Path) -> Counting:
    library = Counting(tmp_path / "library")
    library.add(write_lora(tmp_path / "lora", EDIT), "a")
    return library


def inspection(library: Library, registered: str = "") -> Inspection:
    return Inspection(library, BASE, lambda name: registered)


def reason(of: Inspection) -> str | None:
    found = of.fault("memedit-a-1")
    return None if found is None else found.reason


def test_files_are_read_again_only_once_they_were_touched(library: Counting) -> None:
    seen = inspection(library)
    assert not seen.unchanged("memedit-a-1")
    assert reason(seen) is None is reason(seen)
    assert seen.unchanged("memedit-a-1") and library.looked == 1
    tensors = library.folder("memedit-a-1") / "adapter_model.safetensors"
    whole, there = tensors.read_bytes(), tensors.stat()
    tensors.write_bytes(b"x" * len(whole))
    os.utime(tensors, ns=(there.st_atime_ns, there.st_mtime_ns))
    assert not seen.unchanged("memedit-a-1")
    assert reason(seen) == "damaged" == reason(seen)
    assert not seen.unchanged("memedit-a-1") and library.looked == 2
    tensors.write_bytes(whole)
    assert reason(seen) is None and seen.unchanged("memedit-a-1")
    shutil.rmtree(tensors.parent)
    assert not seen.unchanged("memedit-a-1") and reason(seen) == "missing"


def test_what_is_whole_and_another_is_no_less_damaged(library: Counting) -> None:
    stored = library.read("memedit-a-1")
    assert reason(inspection(library, stored.sha256)) is None
    assert reason(inspection(library, "0" * 64)) == "damaged"
    assert reason(Inspection(library, "cd" * 32, lambda name: "")) == "other-base"
