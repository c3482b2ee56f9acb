"""The library: folders are taken in whole, never changed, and what no server may see is refused."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from memedit.errors import ConflictError, InvalidInputError, MemeditError, MissingResourceError
from memedit.library import Library
from tests.library.loras import BASE, MODULE, write_codebook, write_lora

EDIT = "e-0123456789ab@3"


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library")


def test_what_is_added_is_found_with_everything_it_says(library: Library, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "lora", EDIT, notes={"layer": 2})
    before = {path.name: path.read_bytes() for path in source.iterdir()}
    stored = library.add(source, "capitals")
    assert stored.name == "memedit-capitals-1" and stored.kind == "bake" and stored.rank == 1
    assert stored.edits == (EDIT,) and stored.base == BASE and stored.method == "r-rome"
    assert stored.folder == tmp_path / "library" / "memedit-capitals-1"
    assert stored.manifest["notes"] == {"layer": 2}
    assert set(stored.files) == {"adapter_config.json", "adapter_model.safetensors"}
    assert library.checked(stored.name, BASE) == stored
    assert {path.name: path.read_bytes() for path in source.iterdir()} == before
    left = {path.name for path in library.root.iterdir()} - {".versions"}
    assert left == {stored.name}, "no drafts are left"


def test_a_codebook_is_kept_and_says_what_it_needs(library: Library, tmp_path: Path) -> None:
    stored = library.add(write_codebook(tmp_path / "grace", EDIT), "book")
    assert (stored.rank, set(stored.files)) == (0, {"adapter.safetensors"})
    assert stored.needs == "memedit's plugin with grace_layers [3] and room for 2"
    assert library.checked(stored.name, BASE) == stored
    with (stored.folder / "adapter.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    with pytest.raises(InvalidInputError, match="damaged"):
        library.checked(stored.name, BASE)
    with pytest.raises(InvalidInputError, match=r"radii \(3,\)"):
        library.add(write_codebook(tmp_path / "odd", EDIT, radii=3))
    with pytest.raises(InvalidInputError, match="a server loads one LoRA a folder"):
        library.add(write_codebook(tmp_path / "melo", EDIT, servable_by=["process", "vllm-lora"]))
    assert library.names() == [stored.name]


def test_versions_count_up_and_names_come_of_the_tensors(library: Library, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "lora", EDIT)
    names = [library.add(source, "a").name for _ in range(2)] + [library.add(source, "a-1").name]
    assert names == ["memedit-a-1", "memedit-a-2", "memedit-a-1-1"]
    own = library.add(source).name
    assert own == f"memedit-{library.read(own).sha256[:12]}-1"
    assert sorted(library.names()) == sorted([*names, own])
    library.remove("memedit-a-2")
    assert "memedit-a-2" not in library.names()
    with pytest.raises(MissingResourceError):
        library.remove("memedit-a-2")


def test_a_version_is_given_once(library: Library, tmp_path: Path) -> None:
    """Servers and their caches know an adapter by its name, also when its folder is gone."""
    source = write_lora(tmp_path / "lora", EDIT)
    names = [library.add(source, "a").name for _ in range(3)]
    library.remove(names[2])
    assert library.add(source, "a").name == "memedit-a-4"
    for one in library.root.glob("memedit-*"):  # by hand, without a word to us
        shutil.rmtree(one)
    assert Library(library.root).add(source, "a").name == "memedit-a-5"
    assert library.take_name("a") == "memedit-a-6"
    assert library.add(source, "a", {"memedit-a-8", "memedit-b-12", "x"}).name == "memedit-a-9"
    assert library.add(source, "b").name == "memedit-b-1"


def test_what_an_earlier_memedit_added_is_not_given_again(library: Library, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "lora", EDIT)
    library.add(source, "a")
    shutil.rmtree(library.root / ".versions")
    library.remove("memedit-a-1")
    assert library.add(source, "a").name == "memedit-a-2"


def test_who_comes_together_gets_versions_of_their_own(library: Library, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "lora", EDIT)
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: library.add(source, "a").name, range(24)))
    assert sorted(names, key=lambda name: int(name[10:])) == [
        f"memedit-a-{n + 1}" for n in range(24)
    ]


def _tensors(**more: Any) -> dict[str, Any]:
    a, b = np.ones((1, 4), np.float32), np.ones((6, 1), np.float32)
    return {f"{MODULE}.lora_A.weight": a, f"{MODULE}.lora_B.weight": b, **more}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"base": ""}, "for which model"),
        ({"format": "memedit-delta/1"}, "of the format"),
        ({"servable_by": ["process"]}, "no server loads"),
        ({"sha256": "0" * 64}, "damaged"),
        ({"config": {"peft_type": "ADALORA"}}, "expected LORA"),
        ({"config": {"use_dora": True}}, "use_dora"),
        ({"config": {"bias": "all"}}, "bias"),
        ({"tensors": _tensors(other=np.ones((2, 2), np.float32))}, "no LoRA factor"),
        (
            {"tensors": {f"{MODULE}.lora_A.weight": np.full((1, 4), np.nan, np.float32)}},
            "infinities or no numbers",
        ),
        (
            {"tensors": {f"{MODULE}.lora_A.weight": np.full((1, 4), np.inf, np.float16)}},
            "infinities or no numbers",
        ),
        ({"tensors": {f"{MODULE}.lora_A.weight": np.ones((1, 4), np.float32)}}, "A and B"),
        (
            {
                "tensors": {
                    f"{MODULE}.lora_A.weight": np.ones((513, 2), np.float16),
                    f"{MODULE}.lora_B.weight": np.ones((2, 513), np.float16),
                }
            },
            "from 1 to 512",
        ),
        ({"tensors": {f"{MODULE}.lora_A.weight": np.ones((1, 4), np.int32)}}, "I32"),
        ({"tensors": {}}, "nothing to serve"),
    ],
)
def test_what_cannot_be_served_is_not_taken_in(
    library: Library, tmp_path: Path, given: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        library.add(write_lora(tmp_path / "lora", EDIT, **given))
    assert library.names() == []


def test_what_was_damaged_since_is_refused_before_a_server_sees_it(
    library: Library, tmp_path: Path
) -> None:
    stored = library.add(write_lora(tmp_path / "lora", EDIT), "a")
    with pytest.raises(ConflictError, match="another model"):
        library.checked(stored.name, "cd" * 32)
    assert library.checked(stored.name, BASE, stored.sha256)
    with pytest.raises(InvalidInputError, match="a version never changes"):
        library.checked(stored.name, BASE, "0" * 64)
    for file in ("adapter_config.json", "adapter_model.safetensors"):
        path = stored.folder / file
        whole = path.read_bytes()
        path.write_bytes(whole + b" ")
        with pytest.raises(InvalidInputError, match="damaged"):
            library.checked(stored.name, BASE)
        path.unlink()
        with pytest.raises(MemeditError):
            library.checked(stored.name, BASE)
        path.write_bytes(whole)
    assert library.checked(stored.name, BASE)
    (library.root / "memedit-b-1").mkdir()
    with pytest.raises(MissingResourceError):
        library.checked("memedit-b-1", BASE)
    stored.folder.rename(library.root / "memedit-c-1")
    with pytest.raises(InvalidInputError, match="renamed"):
        library.read("memedit-c-1")


@pytest.mark.parametrize(
    "name", ["../x", "memedit-a", "/etc/passwd", "memedit-A-1", "memedit-a-1/.."]
)
def test_no_path_is_made_of_what_is_no_name(library: Library, name: str) -> None:
    with pytest.raises(InvalidInputError, match="memedit-ID-VERSION"):
        library.folder(name)


def test_ids_and_files_that_are_none(library: Library, tmp_path: Path) -> None:
    source = write_lora(tmp_path / "lora", EDIT)
    with pytest.raises(InvalidInputError, match="no id of an adapter"):
        library.add(source, "../up")
    for text in ("[]", "{", json.dumps({"format": "memedit-lora/1"})):
        (source / "manifest.json").write_text(text)
        with pytest.raises(InvalidInputError):
            library.add(source)
    with pytest.raises(MissingResourceError):
        library.add(tmp_path / "nowhere")
    assert not library.root.exists()
