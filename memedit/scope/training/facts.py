"""Facts of the benchmarks and what their prompts ask of them, in one form for all files."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError
from memedit.scope.probes import asks_the_same
from memedit.types import EditRequest, ScopeLabel

SKIPPED_TOPICS = ("human_scientist", "places_landmark", "entertainment_song", "geography_volcano")
"""Topics of HalluEditBench that training never sees: they are measured on."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt about the subject of a fact, and how it stands to the fact."""

    text: str
    label: ScopeLabel
    kind: str
    """Its name in the file, such as ``Reasoning``."""
    chained: bool = False
    """It asks through more than one hop."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An edit of a benchmark with the prompts that the file gives for it."""

    source: str
    request: EditRequest
    relation: str | None = None
    """The relation's identifier where the file has one."""
    asked: tuple[Asked, ...] = ()
    dropped: tuple[str, ...] = field(default=())
    """Prompts whose label is wrong: they ask what the edit changes."""


def read_facts(folder: Path) -> list[Fact]:
    """Read every file that training reads.

    Raises:
        DatasetError: a file is missing or not of its format.

    """
    try:
        return [
            *_knowedit(folder, "zsre_dev"),
            *_knowedit(folder, "wiki_counterfact_train"),
            *_knowedit(folder, "wiki_recent_train"),
            *_mend(folder),
            *_hallu(folder),
            *_mquake(folder),
            *_pokemqa(folder),
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"cannot read the training data under {folder}: {error!r}; expected the folders "
            "knowedit, zsre, hallueditbench and mquake"
        ) from error


def _load(path: Path) -> Sequence[Mapping[str, Any]]:
    records: Sequence[Mapping[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return records


def flat(value: object) -> frozenset[str]:
    """Flatten a ground truth: a string, or lists of alias lists; case-folded."""
    if isinstance(value, str):
        return frozenset({value.casefold().strip()} - {""})
    if isinstance(value, list | tuple):
        return frozenset().union(*(flat(item) for item in value))
    return frozenset()


def _knowedit(folder: Path, name: str) -> Iterator[Fact]:
    records = _load(folder / "knowedit" / f"{name}.json")
    about: dict[str, list[EditRequest]] = {}
    edits = []
    for record in records:
        truths = sorted(flat(record.get("ground_truth")))
        edit = EditRequest(
            prompt=record["prompt"],
            subject=record["subject"],
            target_new=str(record["target_new"]),
            ground_truth=truths[0] if truths else None,
        )
        edits.append(edit)
        about.setdefault(edit.subject.casefold(), []).append(edit)
    for record, edit in zip(records, edits, strict=True):
        asked, dropped = [], []
        if record.get("rephrase_prompt"):
            asked.append(Asked(record["rephrase_prompt"], ScopeLabel.DIRECT, "rephrase"))
        for kind, label in (
            ("Subject_Aliasing", ScopeLabel.DIRECT),
            ("Reasoning", ScopeLabel.DEPENDENT),
            ("Logical_Generalization", ScopeLabel.DEPENDENT),
        ):
            for probe in record["portability"].get(kind, ()):
                asked.append(Asked(probe["prompt"], label, kind, kind == "Reasoning"))
        for probe in record["locality"].get("Relation_Specificity", ()):
            text, answers = probe["prompt"], flat(probe.get("ground_truth"))
            if any(asks_the_same(text, answers, it) for it in about[edit.subject.casefold()]):
                dropped.append(text)
            else:
                asked.append(Asked(text, ScopeLabel.UNRELATED, "Relation_Specificity"))
        yield Fact(name, edit, None, tuple(asked), tuple(dropped))


def _mend(folder: Path) -> Iterator[Fact]:
    for record in _load(folder / "zsre" / "zsre_mend_train_10000.json"):
        edit = EditRequest(
            prompt=record["src"], subject=record["subject"], target_new=record["alt"]
        )
        yield Fact("mend", edit, None, (Asked(record["rephrase"], ScopeLabel.DIRECT, "rephrase"),))


def _hallu(folder: Path) -> Iterator[Fact]:
    direct = {
        "paraphrased_question": "paraphrase",
        "yes_question": "yes_no",
        "no_question": "yes_no",
    }
    for path in sorted((folder / "hallueditbench").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                asked = [Asked(row[k], ScopeLabel.DIRECT, v) for k, v in direct.items()]
                asked += [
                    Asked(row[f"question_{hops}hop"], ScopeLabel.DEPENDENT, f"{hops}_hops", True)
                    for hops in range(2, 7)
                ]
                asked.append(Asked(row["locality_question"], ScopeLabel.UNRELATED, "locality"))
                edit = EditRequest(
                    prompt=row["question"], subject=row["subject"], target_new=row["object"]
                )
                kept = tuple(one for one in asked if one.text.strip())
                yield Fact(f"hallu/{path.stem}", edit, row["relation"], kept)


def _mquake(folder: Path) -> Iterator[Fact]:
    for record in _load(folder / "mquake" / "mquake_cf_3k_dev.json"):
        first = record["single_hops"][0]["question"]
        for rewrite in record["requested_rewrite"]:
            edit = EditRequest(
                prompt=rewrite["prompt"].format(rewrite["subject"]),
                subject=rewrite["subject"],
                target_new=rewrite["target_new"]["str"],
                ground_truth=rewrite["target_true"]["str"],
            )
            asked = [Asked(rewrite["question"], ScopeLabel.DIRECT, "question")]
            if rewrite["question"] == first:
                asked += [
                    Asked(text, ScopeLabel.DEPENDENT, f"{len(record['single_hops'])}_hops", True)
                    for text in record["questions"]
                ]
            yield Fact("mquake", edit, rewrite["relation_id"], tuple(asked))


def _pokemqa(folder: Path) -> Iterator[Fact]:
    for record in _load(folder / "mquake" / "pokemqa_edit_questions.json"):
        statement, questions = record["edit"], record["questions"]
        subject = _shared_name(statement, questions)
        if subject is None:
            continue
        edit = EditRequest(prompt=questions[0], subject=subject, target_new=statement)
        asked = tuple(Asked(text, ScopeLabel.DIRECT, "question") for text in questions[1:])
        yield Fact("pokemqa", edit, None, (*asked, Asked(statement, ScopeLabel.DIRECT, "edit")))


def _shared_name(statement: str, questions: Sequence[str]) -> str | None:
    """Return the longest run of the statement's words with a capital that all questions share."""
    words = statement.split()
    spans = sorted(
        ((i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)),
        key=lambda span: span[0] - span[1],
    )
    for i, j in spans:
        name = " ".join(words[i:j]).strip(".,").removesuffix("'s")
        if len(name) > 2 and name[0].isupper() and all(name in text for text in questions):
            return name
    return None
