"""Which of several edits of one subject speaks: `python -m examples.which_edit_speaks DATASET`.

All edits of a data set are in memory, newest last; asked are the cases whose subject other edits
give other answers: their own prompts, and their paraphrases.  What is counted is the rule of
`memedit.routing.contradicting`, before (all edits that concern the prompt) and after it.

Two edits are taken to be of one fact where subject and old answer are the same, which is what a
data set tells.  Of edits of one fact one has to give way, and which of them is known to nobody but
the rule; that the edit of another fact speaks in place of the own one is a mistake.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from examples.ordinary_questions import AT_ONCE, store
from memedit.config import Settings
from memedit.errors import MemeditError
from memedit.evaluation.cases import EditCase, Metric
from memedit.evaluation.datasets import load_dataset
from memedit.routing import Route, RouteQuery
from memedit.types import Edit, EditRequest, Operation, QueryText
from memedit.wiring import open_memory, open_router

OWN, AMONG, SAME_FACT, OTHER_FACT, MISSED, SILENT = (
    "own", "own among others", "another of its fact", "of another fact", "own missed", "silent",
)  # fmt: skip
"""What speaks in the end.  `AMONG`: edits of the subject with other answers speak as well;
`OTHER_FACT`: the rule left the own edit out for one; `MISSED`: it did not concern the prompt, to
the scope classifier, and one of another fact did."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt, the edit that it is about, and what became of it."""

    kind: str
    prompt: str
    edit: EditRequest
    several: bool
    """Before the rule: edits of the subject with different answers concern it."""
    speaks: str
    why: str = ""
    """Where the own edit was left out: why another one speaks."""
    by: str = ""
    """The statement of that one."""


def contested(cases: Sequence[EditCase]) -> list[EditCase]:
    """Return the cases of one edit whose subject some other edit gives another answer."""
    answers: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        for request in case.requests:
            answers[_folded(request.subject)].add(_folded(request.target_new))
    return [
        case
        for case in cases
        if len(case.requests) == 1
        and case.requests[0].operation is not Operation.ERASE
        and len(answers[_folded(case.requests[0].subject)]) > 1
    ]


def outcome(kind: str, prompt: str, own: EditRequest, route: Route) -> Asked:
    """Say what became of a prompt."""
    edits = {one.candidate.edit.ref: one.candidate.edit for one in route.considered}
    applied = [one.candidate.edit for one in route.applied]
    out = {one.edit: one for one in route.left_out}
    mine = [edit for edit in applied if _is(edit.request, own)]
    rivals = [edit for edit in applied if _rivals(edit.request, own)]
    several = len(_answers([*applied, *(edits[ref] for ref in out)], own)) > 1
    lost = next((one for ref, one in out.items() if _is(edits[ref].request, own)), None)
    if mine:
        return Asked(kind, prompt, own, several, AMONG if rivals else OWN)
    if lost is None:
        if any(_same_fact(edit.request, own) for edit in applied):
            return Asked(kind, prompt, own, several, SAME_FACT)
        return Asked(kind, prompt, own, several, MISSED if rivals else SILENT)
    by = edits[lost.by]
    speaks = SAME_FACT if _same_fact(by.request, own) else OTHER_FACT
    return Asked(kind, prompt, own, several, speaks, lost.why.value, by.statement)


def ask(
    cases: Sequence[EditCase], settings: Settings, tasks: Sequence[str] | None = None
) -> tuple[list[Asked], int]:
    """Route own prompts and paraphrases of the tasks' cases, with the edits of all in memory.

    Returns also how many edits there are.
    """
    requests = [request for case in cases for request in case.requests]
    asked: dict[tuple[str, str, EditRequest], None] = {}
    for case in contested(cases):
        [own] = case.requests
        if tasks and case.task not in tasks:
            continue
        asked["own prompt", own.prompt, own] = None
        for probe in case.probes:
            if probe.metric is Metric.GENERALITY:
                asked["paraphrase", probe.prompt, own] = None
    found = []
    with (
        open_memory("sqlite://", settings) as memory,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        store(memory, requests, progress)
        router = open_router(memory, settings)
        task = progress.add_task("routing", total=len(asked))
        whole = list(asked)
        for at in range(0, len(whole), AT_ONCE):
            part = whole[at : at + AT_ONCE]
            routes = router.decide([RouteQuery(QueryText(prompt)) for _, prompt, _ in part])
            found += [
                outcome(kind, prompt, own, route)
                for (kind, prompt, own), route in zip(part, routes, strict=True)
            ]
            progress.advance(task, len(part))
    return found, len(requests)


def counted(asked: Iterable[Asked]) -> dict[str, Any]:
    """Count what speaks, in all and of the prompts that several answers concern."""
    asked = list(asked)
    several = [one for one in asked if one.several]
    return {
        "n": len(asked),
        "speaks": dict(Counter(one.speaks for one in asked)),
        "several": len(several),
        "speaks_of_several": dict(Counter(one.speaks for one in several)),
        "why": dict(Counter(one.why for one in asked if one.why)),
    }


def _said(edit: EditRequest) -> str:
    return f"{edit.prompt} {edit.target_new}"


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _is(edit: EditRequest, own: EditRequest) -> bool:
    """Tell whether an edit is the own one, or says the very same: then it makes no difference."""
    return _folded(edit.subject) == _folded(own.subject) and (
        _folded(edit.target_new) == _folded(own.target_new)
    )


def _rivals(edit: EditRequest, own: EditRequest) -> bool:
    return _folded(edit.subject) == _folded(own.subject) and not _is(edit, own)


def _same_fact(edit: EditRequest, own: EditRequest) -> bool:
    return (
        _folded(edit.subject) == _folded(own.subject)
        and edit.ground_truth is not None
        and own.ground_truth is not None
        and _folded(edit.ground_truth) == _folded(own.ground_truth)
    )


def _answers(edits: Iterable[Edit], own: EditRequest) -> set[str]:
    return {
        _folded(edit.request.target_new)
        for edit in edits
        if _folded(edit.request.subject) == _folded(own.subject)
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("dataset", metavar="DATASET", help="as for memedit eval: FORMAT:FILE")
    parser.add_argument("--task", action="append", help="ask only of this task; repeatable")
    parser.add_argument("--split", default="test", help="AtlasEdit's split: test or train")
    parser.add_argument("--classifier", help="a scope classifier; else the settings'")
    parser.add_argument("--shown", type=int, default=20, help="mistakes that the table shows")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    flags = {"classifier": given.classifier} if given.classifier else {}
    try:
        settings = Settings.read(flags={"scope": flags})
        cases = load_dataset(given.dataset, split=given.split).cases
        asked, edits = ask(cases, settings, given.task)
    except MemeditError as error:
        parser.error(str(error))
    kinds = {kind: counted(one for one in asked if one.kind == kind)
             for kind in dict.fromkeys(one.kind for one in asked)}  # fmt: skip
    mistakes = [one for one in asked if one.speaks == OTHER_FACT]
    if given.json:
        listed = [asdict(one) | {"edit": _said(one.edit)} for one in mistakes]
        found = {"edits": edits, "classifier": settings.scope.classifier, "kinds": kinds}
        print(json.dumps(found | {"mistakes": listed}, ensure_ascii=False))
        return
    speaking = (OWN, AMONG, SAME_FACT, OTHER_FACT, MISSED, SILENT)
    table = Table("", "n", *speaking, title=f"{edits:,} edits in memory; what speaks")
    for kind, row in kinds.items():
        for name, n, counts in (
            (kind, row["n"], row["speaks"]),
            ("of several answers", row["several"], row["speaks_of_several"]),
        ):
            table.add_row(name, str(n), *(str(counts.get(one, 0)) for one in speaking))
    console = Console(width=140)
    console.print(table)
    for one in mistakes[: given.shown]:
        line = f"{one.kind}: {one.prompt} | {_said(one.edit)} | {one.why}: {one.by}"
        console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    main()
