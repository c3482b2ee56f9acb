from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.adapters.vllm_plugin.library import AdapterLibrary
from memedit.errors import InvalidInputError, NotFoundError


@pytest.fixture
def library(tmp_path: Path) -> AdapterLibrary:
    (tmp_path / "library" / "memedit-quendoria-1").mkdir(parents=True)
    (tmp_path / "memedit-outside-1").mkdir()
    return AdapterLibrary(tmp_path / "library")


def test_a_name_is_a_folder(library: AdapterLibrary) -> None:
    found = library.folder("memedit-quendoria-1")
    assert found == (library.root / "memedit-quendoria-1").resolve()
    with pytest.raises(NotFoundError, match="has no 'memedit-quendoria-2'"):
        library.folder("memedit-quendoria-2")


@pytest.mark.parametrize(
    "name",
    [
        *("", "memedit-", "memedit-x", "memedit--1", "quendoria-1", "memedit-quendoria-1/"),
        *("memedit-../outside-1", "memedit-/etc-1", "../memedit-outside-1", "memedit-a\n-1"),
        *("memedit-quendoria-1\n", "memedit-a\x00-1", "memedit-a\\b-1", f"memedit-{'a' * 200}-1"),
    ],
)
def test_what_is_no_name_is_refused(library: AdapterLibrary, name: str) -> None:
    with pytest.raises(InvalidInputError, match="expected memedit-<id>-<version>"):
        library.folder(name)


@given(st.text(max_size=60), st.text(max_size=10))
def test_no_name_leads_out(one: str, other: str) -> None:
    library = AdapterLibrary("/nowhere/at/all")
    with pytest.raises((InvalidInputError, NotFoundError)):
        library.folder(f"memedit-{one}-{other}")


def test_links_may_name_versions_and_nothing_else(library: AdapterLibrary) -> None:
    (library.root / "memedit-latest-1").symlink_to("memedit-quendoria-1")
    (library.root / "memedit-out-1").symlink_to("../memedit-outside-1")
    (library.root / "memedit-all-1").symlink_to(".")
    assert library.folder("memedit-latest-1").name == "memedit-quendoria-1"
    for name in ("memedit-out-1", "memedit-all-1"):
        with pytest.raises(InvalidInputError, match="leads out"):
            library.folder(name)


def test_a_file_is_no_folder(library: AdapterLibrary) -> None:
    (library.root / "memedit-file-1").touch()
    with pytest.raises(NotFoundError):
        library.folder("memedit-file-1")
