"""The real benchmark files: every record is an edit, or is named with the reason why not."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from memedit.memory import EditMemory, read_edits
from memedit.types import Operation
from tests.memory.hashing_encoder import HashingEncoder

pytestmark = pytest.mark.data

RETAINED = "a fact to retain, not an edit"
REPEATED = "the same edit as"
FILES = {
    "knowedit/zsre_dev.json": ("knowedit", 652, {}),
    "knowedit/wiki_counterfact_train.json": ("knowedit", 1_428, {REPEATED: 11}),
    "knowedit/wiki_recent_train.json": ("knowedit", 570, {}),
    "knowedit/wikibio_train.json": ("knowedit", 464, {}),
    "knowedit/convsent_val.json": ("knowedit", 799, {}),
    "knowedit/sanitation_train.json": ("knowedit", 80 + 453, {RETAINED: 453}),
    "mquake/mquake_cf_3k_dev.json": ("mquake", 2_988, {REPEATED: 1_392}),
    "zsre/zsre_mend_train_10000.json": ("zsre", 10_000, {}),
}


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_is_read(name: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected, records, reasons = FILES[name]
    result = read_edits("auto", data / name)
    assert result.format == expected
    assert result.records == records
    found = Counter(REPEATED if why.startswith(REPEATED) else why for _, why in result.skipped)
    assert found == reasons
    assert len(result.edits) == records - sum(reasons.values())
    with capsys.disabled():
        print(f"\n{name}: {records} records, {len(result.edits)} edits, skipped {dict(found)}")  # noqa: T201


@pytest.mark.parametrize("name", FILES)
def test_the_whole_file_goes_into_a_memory_and_is_found(
    name: str, data: Path, sqlite_url: str
) -> None:
    result = read_edits("auto", data / name)
    encoder = HashingEncoder(dim=384)
    with EditMemory.open(sqlite_url, encoder) as memory:
        edits = memory.add_edits(result.edits)
        assert [edit.request for edit in edits] == result.requests
        assert memory.verify().ok
        for edit in edits[:: len(edits) // 20]:
            hits = memory.search(edit.request.prompt, k=5)
            assert hits[0].similarity == pytest.approx(1, abs=1e-4)
            assert edit.request.prompt in [hit.edit.request.prompt for hit in hits]
        again = memory.add_edits(result.edits, on_duplicate="return")
        assert again == edits


def test_what_is_to_be_forgotten_is_an_erasure(data: Path) -> None:
    result = read_edits("knowedit", data / "knowedit/sanitation_train.json")
    assert {edit.request.operation for edit in result.edits} == {Operation.ERASE}
    assert {edit.request.target_new for edit in result.edits} == {"I don't know."}


def test_storing_is_quick_beside_encoding(data: Path, sqlite_url: str) -> None:
    """10,000 edits: the database and the index take seconds, whatever the encoder costs."""
    result = read_edits("zsre", data / "zsre/zsre_mend_train_10000.json")
    with EditMemory.open(sqlite_url, HashingEncoder(dim=384)) as memory:
        began = time.perf_counter()
        memory.add_edits(result.edits)
        assert time.perf_counter() - began < 60
        assert memory.namespaces() == {"default": 10_000}


def test_other_files_are_refused(data: Path) -> None:
    from memedit.errors import DatasetError

    for name in (
        "entityquestions/entityquestions_dev_6000.json",
        "known_1000/known_1000.json",
        "mquake/pokemqa_edit_questions.json",
        "hallueditbench/places_city.csv",
    ):
        with pytest.raises(DatasetError, match="name its format"):
            read_edits("auto", data / name)
