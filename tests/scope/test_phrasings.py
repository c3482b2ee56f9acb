"""The table of phrasings: what it makes of relations, and what it keeps away from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from memedit.errors import DatasetError
from memedit.scope.pair_input import HIDDEN
from memedit.scope.training.phrased import measuring_pairs, phrased_pairs
from memedit.scope.training.phrasings import (
    Wordings,
    kept_out,
    plain,
    read_phrasings,
    ways,
)
from memedit.types import ScopeLabel

ATLASEDIT = Path(__file__).parents[2] / "examples" / "atlas" / "data" / "atlasedit"


def row(*nouns: str, overlaps: tuple[str, ...] = ()) -> dict[str, object]:
    return {
        "about": "person",
        "nouns": list(nouns),
        "clauses": [f"{{s}} has as {noun}" for noun in nouns],
        "questions": [f"Which {noun} does {{s}} have?" for noun in nouns],
        "yes_no": [f"Is {{o}} the {nouns[0]} of {{s}}?"],
        "objects": ["Ansa"],
        "fragments": [f"{{s}} {nouns[0]}"],
        "near": ["How tall is {s}?"],
        "overlaps": list(overlaps),
    }


def table(path: Path) -> Path:
    relations = {
        "mother": row("mother", "mum", "female parent"),
        "parent": row("parent", "progenitor", overlaps=("mother",)),
        "dish": row("favourite dish", "best-loved food", "meal of choice"),
        "town": row("home town", "native place", "place of origin"),
        "boss": row("boss", "superior", "line manager"),
    }
    path.write_text(json.dumps({"left_out": ["which mum does {s} have"], "relations": relations}))
    return path


def encode(texts: list[str]) -> np.ndarray:
    rows = np.zeros((len(texts), 64), dtype=np.float32)
    for vector, text in zip(rows, texts, strict=True):
        vector[sum(map(ord, text.lower())) % 64] = 1
    return rows


def test_pairs_of_a_table_mean_what_their_labels_say(tmp_path: Path) -> None:
    relations = read_phrasings(table(tmp_path / "table.json"))
    pairs = phrased_pairs(relations, encode)
    assert pairs == phrased_pairs(relations, encode)
    assert {pair.answer for pair in pairs} == {"Ansa"}
    of = {noun: one.name for one in relations for noun in one.nouns}

    def asked(text: str) -> set[str]:
        return {of[noun] for noun in of if noun in text.lower()}

    assert {pair.label for pair in pairs} == set(ScopeLabel)
    for pair in pairs:
        assert pair.edit.count(HIDDEN) == 1
        if len(asked(pair.prompt)) != 1 or len(asked(pair.edit)) != 1:
            continue
        if pair.kind in {"direct", "yes or no", "choice"}:
            assert asked(pair.prompt) == asked(pair.edit)
        if pair.kind == "other":
            assert asked(pair.prompt) != asked(pair.edit)
            assert asked(pair.prompt) | asked(pair.edit) != {"mother", "parent"}


def test_what_is_measured_was_not_trained_on(tmp_path: Path) -> None:
    relations = read_phrasings(table(tmp_path / "table.json"))
    trained = {pair.edit for pair in phrased_pairs(relations, encode)}
    kept = {text for one in relations for text in ways(one) if kept_out(one, text)}
    assert kept
    assert not kept & trained
    measured = {pair.prompt for pair in measuring_pairs(relations, encode)}
    assert measured & kept


def test_wordings_left_out_are_in_no_pair(tmp_path: Path) -> None:
    relations = read_phrasings(table(tmp_path / "table.json"))
    pairs = phrased_pairs(relations, encode) + measuring_pairs(relations, encode)
    assert not [pair for pair in pairs if "which mum does" in pair.prompt.lower()]


def test_texts_of_one_relation_or_of_overlapping_ones_may_ask_the_same(tmp_path: Path) -> None:
    wordings = Wordings(read_phrasings(table(tmp_path / "table.json")))
    boss, mother = f"the boss of {HIDDEN} is", f"The mother of {HIDDEN} is"
    assert wordings.may_ask_the_same(boss, f"{HIDDEN}'s superior is")
    assert wordings.may_ask_the_same(mother, f"The parent of {HIDDEN} is")
    assert not wordings.may_ask_the_same(boss, mother)
    assert not wordings.may_ask_the_same(boss, f"Nobody asks of {HIDDEN} like this")


def test_the_second_half_of_the_shipped_table_adds_wordings_and_takes_none_away() -> None:
    whole = {relation.name: relation for relation in read_phrasings()}
    for before in read_phrasings(further=False):
        assert set(ways(before)) < set(ways(whole[before.name]))
        assert set(before.near) < set(whole[before.name].near)
    for after in whole.values():
        asked = {plain(text.replace(HIDDEN, "{s}")) for text in ways(after)}
        assert not asked & {plain(text) for text in after.near}, after.name


def test_the_shipped_table_keeps_away_from_how_atlasedit_asks() -> None:
    """AtlasEdit's rephrases stay a test: no wording of theirs is in the table."""
    texts = {text for relation in read_phrasings() for text in ways(relation)}
    known = {plain(text.replace(HIDDEN, "{s}")) for text in texts}
    assert len(known) > 10_000
    asked = set()
    for name in ("zsre", "wiki_counterfact", "wiki_recent"):
        records = json.loads((ATLASEDIT / f"{name}_test.json").read_text(encoding="utf-8"))
        for record in records:
            text, subject = record.get("rephrase_prompt", ""), record["subject"]
            if subject in text:
                asked.add(plain(text.replace(subject, "{s}")))
    assert len(asked) > 50
    assert not asked & known


def test_a_table_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="phrasings"):
        read_phrasings(tmp_path / "missing.json")
    broken = json.loads(table(tmp_path / "table.json").read_text())
    broken["relations"]["boss"]["clauses"] = ["somebody is the boss of"]
    (tmp_path / "broken.json").write_text(json.dumps(broken))
    with pytest.raises(DatasetError, match="names the subject"):
        read_phrasings(tmp_path / "broken.json")
