"""Making the pair classifier: facts with known labels, hidden subjects, a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memedit.config import EncoderSettings
from memedit.errors import DatasetError
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.pair_input import HIDDEN, PairTokenizer
from memedit.scope.training.batches import batches_of
from memedit.scope.training.facts import Asked, Fact, read_facts
from memedit.scope.training.fine_tune import read_pairs, write_pairs
from memedit.scope.training.finish import expected_calibration_error, fit_temperature
from memedit.scope.training.pairs import PRESUMED, Pair, held_out, hide, make_pairs
from memedit.scope.wordings import with_answer
from memedit.types import EditRequest, ScopeLabel

NAMES = [f"Person {letter}{number}" for letter in "ABCDEF" for number in range(8)]


def fact(name: str, relation: str) -> Fact:
    edit = EditRequest(
        prompt=f"The {relation} of {name} is", subject=name, target_new=f"some {relation}"
    )
    asked = (
        Asked(f"What is {name}'s {relation}?", ScopeLabel.DIRECT, "rephrase"),
        Asked(f"Who likes the {relation} of {name}?", ScopeLabel.DEPENDENT, "Reasoning", True),
        Asked(f"The shoe size of {name} is", ScopeLabel.UNRELATED, "Relation_Specificity"),
    )
    return Fact("toy", edit, relation, asked)


def encode(texts: list[str]) -> np.ndarray:
    """One direction per relation: alike only where the words agree."""
    rows = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[sum(map(ord, text.lower())) % 64] = 1
    return rows


FACTS = [
    fact(name, relation) for name in NAMES for relation in ("mother", "home town", "favourite dish")
]


def test_pairs_hide_subjects_keep_labels_and_repeat_themselves() -> None:
    pairs = make_pairs(FACTS, encode)
    assert pairs == make_pairs(FACTS, encode)
    assert all(pair.edit.count(HIDDEN) == 1 for pair in pairs)
    assert not any(name in pair.prompt for pair in pairs for name in NAMES)
    assert len({(pair.prompt, pair.edit) for pair in pairs}) == len(pairs)
    assert {pair.label for pair in pairs} == set(ScopeLabel)
    for pair in pairs:
        asked = [r for r in ("mother", "home town", "favourite dish") if r in pair.prompt.lower()]
        changed = next(r for r in ("mother", "home town", "favourite dish") if r in pair.edit)
        assert pair.answer == f"some {changed}", "the answer is that of the pair's own edit"
        if pair.kind == PRESUMED + "other" and len(asked) == 1:
            assert asked != [changed]
        if pair.kind == "direct" and len(asked) == 1:
            assert asked == [changed]


def test_every_other_edit_is_read_with_its_answer(tmp_path: Path) -> None:
    pairs = [
        Pair(f"Where is {HIDDEN}?", f"{HIDDEN} lies in", ScopeLabel.DIRECT, "x", answer)
        for answer in ["Chile"] * 300 + [""] * 100
    ]
    write_pairs(tmp_path / "pairs.json", pairs)
    assert read_pairs(tmp_path / "pairs.json") == pairs
    (tmp_path / "older.json").write_text('[["a", "b", "direct", "x"]]', encoding="utf-8")
    assert read_pairs(tmp_path / "older.json") == [Pair("a", "b", ScopeLabel.DIRECT, "x")]
    tokenizer = PairTokenizer(find_checkpoint(EncoderSettings().model).tokenizer)
    alone, told = (
        len(tokenizer.ids(pairs[0].prompt, text)[0]) for text in with_answer(pairs[0].edit, "Chile")
    )
    read = [
        int(length)
        for batch in batches_of(pairs, tokenizer, 20, seed=1)
        for length in batch.mask.sum(axis=1)
    ]
    assert set(read) == {alone, told} and len(read) == len(pairs)
    assert 110 < read.count(told) < 190


def test_subjects_are_held_out_with_all_their_facts() -> None:
    kept = {f.request.subject for f in FACTS if held_out(f)}
    assert kept
    assert len(kept) < len(NAMES)
    seen = {f.request.subject for f in FACTS if not held_out(f)}
    assert not kept & seen


def test_only_whole_names_are_hidden() -> None:
    assert hide("Where was Ada Lovelace born?", "Ada Lovelace") == f"Where was {HIDDEN} born?"
    assert hide("Where was Ada born?", "Ada Lovelace") is None


def test_a_folder_without_the_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="expected the folders"):
        read_facts(tmp_path)
    (tmp_path / "knowedit").mkdir()
    (tmp_path / "knowedit" / "zsre_dev.json").write_text(json.dumps([{"prompt": "x"}]))
    with pytest.raises(DatasetError, match="subject"):
        read_facts(tmp_path)


def test_temperature_undoes_overconfidence() -> None:
    rng = np.random.default_rng(1)
    true = rng.dirichlet([1, 1, 1], 4000)
    labels = np.array([rng.choice(3, p=row) for row in true])
    sharp = true**2 / (true**2).sum(1, keepdims=True)
    assert fit_temperature(sharp, labels) == pytest.approx(2, rel=0.15)
    assert fit_temperature(true, labels) == pytest.approx(1, rel=0.15)


def test_calibration_error_of_known_cases() -> None:
    sure = np.array([0.95] * 20)
    assert expected_calibration_error(sure, np.array([True] * 19 + [False])) == pytest.approx(0)
    assert expected_calibration_error(sure, np.zeros(20, bool)) == pytest.approx(0.95)
