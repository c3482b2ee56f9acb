"""Prompts with a known answer to "does an edit concern it?", read from the benchmarks' files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError
from memedit.types import EditRequest

FILES: Mapping[str, str] = {
    "zsre": "knowedit/zsre_dev.json",
    "counterfact": "knowedit/wiki_counterfact_train.json",
    "mend": "zsre/zsre_mend_train_10000.json",
    "traffic": "entityquestions/entityquestions_dev_6000.json",
}
"""Where each set lies under the data folder."""

_STOPPED = (
    "a an and are as at be been by did do does for from had has have how in is it its name of on "
    "s that the this to was were what when where which who whom whose with"
)
_STOP = frozenset(_STOPPED.split())


class Kind(StrEnum):
    """How a probe stands to the edits of its set."""

    PARAPHRASE = "paraphrase"
    ALIAS = "alias"
    NEAR = "near"
    """Unrelated, but about the subject of an edit."""
    FAR = "far"
    """Unrelated, and about something else."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt; ``target`` is the position of the edit it should bring up, if any."""

    text: str
    kind: Kind
    subject: str
    relation: str
    target: int | None = None


@dataclass(frozen=True, slots=True)
class ProbeSet:
    """Edits that are all in memory at once, and probes against them."""

    name: str
    edits: tuple[EditRequest, ...]
    probes: tuple[Probe, ...]
    dropped: int
    """Probes left out because their label is wrong: they ask what an edit changes."""


def read_probes(folder: Path) -> list[ProbeSet]:
    """Read KnowEdit's ZsRE and WikiData_counterfact, MEND's ZsRE and EntityQuestions.

    Raises:
        DatasetError: a file is missing or not of its format.

    """
    try:
        return [
            _knowedit("zsre", _load(folder / FILES["zsre"])),
            _knowedit("counterfact", _load(folder / FILES["counterfact"])),
            _mend(_load(folder / FILES["mend"]), _load(folder / FILES["traffic"])),
        ]
    except (KeyError, TypeError) as error:
        raise DatasetError(f"a record under {folder} lacks a field: {error!r}") from error


def relation_words(prompt: str, subject: str) -> frozenset[str]:
    """Return the words that say which relation a prompt asks for, roughly stemmed.

    >>> sorted(relation_words("The country of citizenship of Ada is", "Ada"))
    ['citizenship', 'countr']
    """
    rest = prompt.casefold().replace(subject.casefold(), " ")
    words = set(re.findall(r"[^\W_]+", rest)) - _STOP
    return frozenset(re.sub(r"(?:ies|es|s|y)$", "", word) for word in words)


def asks_the_same(probe: str, answers: frozenset[str], edit: EditRequest) -> bool:
    """Tell whether a probe about the edit's subject asks the very relation that it changes.

    A fifth of KnowEdit's Relation_Specificity probes do: the answer is the edit's old or new one,
    or the words of one relation lie within those of the other.
    """
    old = {edit.target_new.casefold(), (edit.ground_truth or edit.target_new).casefold()}
    if answers & old:
        return True
    mine, its = relation_words(probe, edit.subject), relation_words(edit.prompt, edit.subject)
    return bool(mine and its) and (mine <= its or its <= mine)


def _knowedit(name: str, records: Sequence[Mapping[str, Any]]) -> ProbeSet:
    edits = []
    about: dict[str, list[EditRequest]] = {}
    for record in records:
        truths = sorted(_answers(record.get("ground_truth")))
        edit = EditRequest(
            prompt=record["prompt"],
            subject=record["subject"],
            target_new=str(record["target_new"]),
            ground_truth=truths[0] if truths else None,
        )
        edits.append(edit)
        about.setdefault(edit.subject.casefold(), []).append(edit)
    probes: list[Probe] = []
    dropped = 0
    for position, (record, edit) in enumerate(zip(records, edits, strict=True)):
        relation = " ".join(sorted(relation_words(edit.prompt, edit.subject)))
        hits = [(Kind.PARAPHRASE, record.get("rephrase_prompt"))]
        aliasing = record["portability"].get("Subject_Aliasing", ())
        hits += [(Kind.ALIAS, probe["prompt"]) for probe in aliasing]
        probes += [
            Probe(text, kind, edit.subject, relation, position) for kind, text in hits if text
        ]
        for probe in record["locality"].get("Relation_Specificity", ()):
            text, answers = probe["prompt"], _answers(probe.get("ground_truth"))
            if any(asks_the_same(text, answers, it) for it in about[edit.subject.casefold()]):
                dropped += 1
                continue
            words = " ".join(sorted(relation_words(text, edit.subject)))
            probes.append(Probe(text, Kind.NEAR, edit.subject, words))
    return ProbeSet(name, tuple(edits), tuple(probes), dropped)


def _mend(records: Sequence[Mapping[str, Any]], traffic: Sequence[Mapping[str, Any]]) -> ProbeSet:
    edits = tuple(
        EditRequest(prompt=it["src"], subject=it["subject"], target_new=it["alt"]) for it in records
    )
    probes = []
    for position, (record, edit) in enumerate(zip(records, edits, strict=True)):
        relation = " ".join(sorted(relation_words(edit.prompt, edit.subject)))
        probes.append(Probe(record["rephrase"], Kind.PARAPHRASE, edit.subject, relation, position))
    subjects = {_plain(edit.subject) for edit in edits}
    longest = max(len(subject.split()) for subject in subjects)
    dropped = 0
    questions = [(it["loc"].removeprefix("nq question: "), "nq") for it in records]
    questions += [(it["question"], it["relation"]) for it in traffic]
    for text, relation in dict(questions).items():
        words = _plain(text).split()
        spans = (
            " ".join(words[start:stop])
            for start in range(len(words))
            for stop in range(start + 1, min(len(words), start + longest) + 1)
        )
        if any(span in subjects for span in spans):
            dropped += 1  # it may well ask what an edit changes
        else:
            probes.append(Probe(text, Kind.FAR, text, relation))
    return ProbeSet("mend", edits, tuple(probes), dropped)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _answers(value: object) -> frozenset[str]:
    """Flatten a ground truth: a string, or lists of alias lists."""
    if isinstance(value, str):
        return frozenset({value.casefold().strip()} - {""})
    if isinstance(value, Iterable):
        return frozenset().union(*(_answers(item) for item in value))
    return frozenset()


def _load(path: Path) -> Sequence[Mapping[str, Any]]:
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}; give the data folder") from error
    if not isinstance(records, list):
        raise DatasetError(f"{path}: expected a list of records, got {type(records).__name__}")
    return records
