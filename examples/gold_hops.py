"""Single hops of MQuAKE's gold chains, all edits in memory: `python -m examples.gold_hops FILE`.

Every question is asked once.  Right is what the memory holds: where an edit answers the question,
that edit is applied first ("alone": and no other); where none does, nothing is.  A question is
contested if an edit of one case gives it another answer than a second case expects: with all edits
in memory the edit holds, so it counts as edited, and what remains without such questions is counted
apart.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from memedit.config import Settings
from memedit.evaluation.chains import GoldChain, read_chains
from memedit.evaluation.matching import normalised
from memedit.memory.records import NewEdit
from memedit.routing import RouteQuery
from memedit.scope.split import held_out_subject
from memedit.types import DEFAULT_NAMESPACE, EditRequest, QueryText
from memedit.wiring import open_memory, open_router

AT_ONCE = 256
RIGHT, SILENT, ALSO, MISSED, WRONG, ALARM = (
    "right", "silent", "right_edit_first", "missed", "wrong_edit", "false_alarm",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Hop:
    """A question, the places of the edits that answer it, and whether cases disagree about it."""

    question: str
    own: frozenset[int]
    contested: bool
    unseen: bool = False
    """Its edits are about subjects that the shipped classifier's training left out."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question got: the statements that were applied, and what to make of them."""

    hop: Hop
    outcome: str
    applied: tuple[str, ...] = ()

    @property
    def alone(self) -> bool:
        """Whether it is what the memory holds, and nothing else."""
        return self.outcome in (RIGHT, SILENT)

    @property
    def good(self) -> bool:
        """Whether it is what the memory holds, perhaps with other edits behind the right one."""
        return self.alone or self.outcome == ALSO


def hops_of(chains: Sequence[GoldChain], edits: Sequence[EditRequest]) -> list[Hop]:
    """Return every question of the chains once, in order."""
    by_form: dict[str, set[int]] = defaultdict(set)
    for place, edit in enumerate(edits):
        for text in (edit.prompt, *edit.rephrases):
            by_form[normalised(text)].add(place)
    contested = {one.question for chain in chains for one in chain.conflicts}
    forms: dict[str, frozenset[str]] = {}
    for chain in chains:
        for hop in chain.hops:
            forms[hop.question] = forms.get(hop.question, frozenset()) | hop.forms
    found = []
    for question, its in forms.items():
        own = frozenset[int]().union(*(by_form[form] for form in its if form in by_form))
        unseen = bool(own) and all(held_out_subject(edits[place].subject) for place in own)
        found.append(Hop(question, own, question in contested, unseen))
    return found


def ask(
    chains: Sequence[GoldChain], settings: Settings, *, rephrases: bool
) -> tuple[list[Asked], int]:
    """Route every question with all edits in memory; return also how many edits there are."""
    edits = list(
        {
            (one.prompt, one.subject, one.target_new): one
            for chain in chains
            for one in chain.requests
        }.values()
    )
    hops = hops_of(chains, edits)
    kept = [one if rephrases else one.model_copy(update={"rephrases": ()}) for one in edits]
    with open_memory("sqlite://", settings) as memory:
        new = [NewEdit(one, DEFAULT_NAMESPACE, None, None, None) for one in kept]
        stored = memory.add_edits(new, on_duplicate="return")
        places = {edit.id: place for place, edit in enumerate(stored)}
        router = open_router(memory, settings)
        asked = []
        for first in range(0, len(hops), AT_ONCE):
            part = hops[first : first + AT_ONCE]
            routes = router.decide([RouteQuery(QueryText(hop.question)) for hop in part])
            for hop, route in zip(part, routes, strict=True):
                applied = [one.candidate.edit for one in route.applied]
                outcome = outcome_of(hop, [places[edit.id] for edit in applied])
                asked.append(Asked(hop, outcome, tuple(edit.statement for edit in applied)))
    return asked, len(edits)


def outcome_of(hop: Hop, applied: Sequence[int]) -> str:
    """Say what became of a question, of several edits by the first."""
    if not applied:
        return MISSED if hop.own else SILENT
    if not hop.own:
        return ALARM
    if applied[0] not in hop.own:
        return WRONG
    return RIGHT if hop.own.issuperset(applied) else ALSO


def counted(asked: Sequence[Asked]) -> dict[str, Any]:
    """Count questions: right ones in all, of edited hops, of edits unseen, and of other hops."""

    def share(those: Sequence[bool]) -> float | None:
        return round(sum(those) / len(those), 4) if those else None

    def shares(those: Sequence[Asked]) -> dict[str, Any]:
        right, alone = ([one.good for one in those], [one.alone for one in those])
        return {"n": len(those), "right": share(right), "alone": share(alone)}

    edited = [one for one in asked if one.hop.own]
    others = [one for one in asked if not one.hop.own]
    outcomes = [one.outcome for one in asked]
    return {
        **shares(asked),
        "edited": shares(edited),
        "edited_unseen_subjects": shares([one for one in edited if one.hop.unseen]),
        "unedited": {"n": len(others), "silent": share([one.good for one in others])},
        "outcomes": {name: outcomes.count(name) for name in sorted(set(outcomes))},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="cases in MQuAKE's format")
    parser.add_argument("--classifier", help="a scope classifier; else the settings'")
    parser.add_argument(
        "--no-rephrases", action="store_true", help="store edits by their clozes alone"
    )
    parser.add_argument("--shown", type=int, default=20, help="mistakes that the table shows")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(arguments)
    flags = {"classifier": given.classifier} if given.classifier else {}
    settings = Settings.read(flags={"scope": flags})
    asked, edits = ask(read_chains(given.file), settings, rephrases=not given.no_rephrases)
    sound = [one for one in asked if not one.hop.contested]
    mistakes = [one for one in asked if not one.alone]
    found: dict[str, Any] = {
        "file": given.file.name,
        "classifier": settings.scope.classifier,
        "rephrases": not given.no_rephrases,
        "edits": edits,
        "raw": counted(asked),
        "sound": counted(sound),
        "contested": len(asked) - len(sound),
    }
    if given.json:
        listed = [
            {"question": one.hop.question, "outcome": one.outcome, "applied": one.applied,
             "contested": one.hop.contested}
            for one in mistakes
        ]  # fmt: skip
        print(json.dumps(found | {"mistakes": listed}, ensure_ascii=False))
        return
    table = Table("questions", "of them", "n", "right", "right edit alone",
                  title=f"{edits:,} edits in memory, {found['classifier']}")  # fmt: skip
    for name, title in (("raw", "all"), ("sound", f"without {found['contested']:,} contested")):
        rows = {"": found[name]} | {
            part.replace("_", " "): found[name][part]
            for part in ("edited", "edited_unseen_subjects", "unedited")
        }
        for part, row in rows.items():
            cells = (row.get("right", row.get("silent")), row.get("alone"))
            shown = ("" if cell is None else f"{cell:.4f}" for cell in cells)
            table.add_row(title, part, f"{row['n']:,}", *shown)
    console = Console(width=160)
    console.print(table)
    for one in mistakes[: given.shown]:
        line = f"{one.outcome}: {one.hop.question} | {' | '.join(one.applied)}"
        console.print(line, markup=False, highlight=False)


if __name__ == "__main__":
    main()
