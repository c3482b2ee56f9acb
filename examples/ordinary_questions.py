"""Ordinary questions beside thousands of edits: `python -m examples.ordinary_questions FILE`.

How often does an edit fire on questions that were never written with it in mind?  FILE holds them
as EntityQuestions does (a JSON list of objects with `question`, and `answers` where they are
known); the edits are those of a data set that `memedit eval` reads.  Every question that fires is
listed with the edits that are applied to it: by chance some do ask what an edit changes, and are
rightly answered by it.  `may_ask` marks those of which the rule that cleans data sets says so; it
goes by words, so the list is to be read.

Beside them the paraphrases of the same edits, of subjects that the training of `pair` never saw:
what is silent on everything is of no use either.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from memedit.config import Settings
from memedit.errors import DatasetError, MemeditError
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.evaluation.datasets import load_dataset
from memedit.evaluation.rivals import LiveEdits
from memedit.memory import EditMemory
from memedit.memory.inverse import inverse_of
from memedit.memory.records import NewEdit
from memedit.routing import RouteQuery, Router
from memedit.scope.split import held_out_subject
from memedit.types import DEFAULT_NAMESPACE, Edit, EditRequest, QueryText
from memedit.wiring import open_memory, open_router

AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what is known to be an answer."""

    text: str
    answers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fired:
    """A question on which edits fire: their statements, and whether it may ask what one changes."""

    question: str
    applied: tuple[str, ...]
    probability: float
    may_ask: bool


def read_questions(file: Path) -> list[Question]:
    """Read questions, each once.

    Raises:
        DatasetError: the file is no JSON list of objects with a question.

    """
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        found = {
            one["question"]: Question(one["question"], tuple(one.get("answers", ())))
            for one in records
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"{file} cannot be read ({type(error).__name__}: {error}); expected a JSON list of "
            'objects {"question": ..., "answers": [...]}, as of EntityQuestions'
        ) from None
    return list(found.values())


def paraphrases(cases: Sequence[EditCase]) -> dict[str, set[tuple[str, str]]]:
    """Return the paraphrases of unseen subjects, each with (subject, target) of its edits."""
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for case in cases:
        if all(held_out_subject(request.subject) for request in case.requests):
            for probe in case.probes:
                if probe.metric is Metric.GENERALITY:
                    found[probe.prompt].update(map(_about, case.requests))
    return dict(found)


def store(memory: EditMemory, edits: Sequence[EditRequest], progress: Progress) -> None:
    """Add all edits to a memory; those that are there already once."""
    task = progress.add_task("storing edits", total=len(edits))
    for at in range(0, len(edits), AT_ONCE):
        part = edits[at : at + AT_ONCE]
        new = [NewEdit(one, DEFAULT_NAMESPACE, None, None, None) for one in part]
        memory.add_edits(new, on_duplicate="return")
        progress.advance(task, len(part))


def ask(
    router: Router, texts: Sequence[str], progress: Progress, what: str
) -> Iterator[tuple[str, list[Edit], float]]:
    """Route texts; yield each with the edits that are applied, and the highest probability."""
    task = progress.add_task(what, total=len(texts))
    for at in range(0, len(texts), AT_ONCE):
        part = texts[at : at + AT_ONCE]
        routes = router.decide([RouteQuery(QueryText(text)) for text in part])
        for text, route in zip(part, routes, strict=True):
            best = max((one.probability for one in route.applied), default=0.0)
            yield text, [one.candidate.edit for one in route.applied], best
        progress.advance(task, len(part))


def measured(
    questions: Sequence[Question], cases: Sequence[EditCase], settings: Settings
) -> dict[str, Any]:
    """Ask everything with the edits of all cases in memory, and count."""
    edits = [request for case in cases for request in case.requests]
    live = LiveEdits([*edits, *filter(None, map(inverse_of, edits))])
    asked = {one.text: one for one in questions}
    own = paraphrases(cases)
    with (
        open_memory("sqlite://", settings) as memory,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        store(memory, edits, progress)
        router = open_router(memory, settings)
        fired = [
            Fired(
                text,
                tuple(edit.statement for edit in applied),
                round(best, 4),
                live.asked_by(Probe(Metric.LOCALITY, "", text, asked[text].answers), ()),
            )
            for text, applied, best in ask(router, list(asked), progress, "ordinary questions")
            if applied
        ]
        right = [
            bool(applied) and _about(applied[0].request) in own[text]
            for text, applied, _ in ask(router, list(own), progress, "paraphrases")
        ]
    fired.sort(key=lambda one: -one.probability)
    return {
        "classifier": settings.scope.classifier,
        "edits": len(edits),
        "ordinary": {
            "n": len(asked),
            "fire": len(fired),
            "share": round(len(fired) / len(asked), 5) if asked else None,
            "may_ask": sum(one.may_ask for one in fired),
        },
        "paraphrases": {
            "n": len(right),
            "right_edit": round(sum(right) / len(right), 5) if right else None,
        },
        "fired": [asdict(one) for one in fired],
    }


def _about(edit: EditRequest) -> tuple[str, str]:
    return edit.subject.casefold(), edit.target_new.casefold()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="questions, as of EntityQuestions")
    parser.add_argument(
        "--dataset", required=True, metavar="FORMAT:FILE", help="whose edits are in memory"
    )
    parser.add_argument("--limit", type=int, help="cases of the data set, evenly spread")
    parser.add_argument("--classifier", help="a scope classifier; else the settings'")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    flags = {"classifier": given.classifier} if given.classifier else {}
    try:
        settings = Settings.read(flags={"scope": flags})
        questions = read_questions(given.file)
        found = measured(questions, load_dataset(given.dataset, limit=given.limit).cases, settings)
    except MemeditError as error:
        parser.error(str(error))
    if given.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    ordinary, asked = found["ordinary"], found["paraphrases"]
    print(f"{found['edits']:,} edits in memory, {found['classifier']}")
    if ordinary["n"]:
        print(
            f"ordinary questions: {ordinary['fire']:,} of {ordinary['n']:,} fire "
            f"({ordinary['share']:.4f}); {ordinary['may_ask']:,} may ask what an edit changes"
        )
    if asked["n"]:
        print(f"paraphrases: right edit {asked['right_edit']:.4f} of {asked['n']:,}")
    for one in found["fired"]:
        mark = " (may ask it)" if one["may_ask"] else ""
        print(f"{one['probability']:.3f}{mark} {one['question']} | {' | '.join(one['applied'])}")


if __name__ == "__main__":
    main()
