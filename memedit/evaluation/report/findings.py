"""The analysis of a run, as sections of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from memedit.evaluation.analysis.record import (
    FEW_PAIRS,
    MANY_PAIRS,
    TAKEN,
    Analysis,
    Changed,
    Located,
    Mapped,
    Similar,
)
from memedit.evaluation.report.labels import DASH, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True)
class PlainTable:
    """A table of texts."""

    caption: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]
    folded: bool = False
    """Whether the page shows it only when it is opened."""


@dataclass(frozen=True)
class Part:
    """A section: what it says, its plots with their captions, its tables."""

    title: str
    says: tuple[str, ...]
    plots: tuple[tuple[Figure | None, str], ...]
    tables: tuple[PlainTable, ...]


def parts(folder: Path) -> list[Part]:
    """Return the sections of a run folder's `analysis.json`; none where it has none."""
    found = Analysis.load(folder)
    if found is None:
        return []
    from memedit.evaluation.analysis import plots

    made = []
    if found.changed:
        made.append(_changes(found.changed, plots.heatmaps(found.changed)))
    if found.mapped:
        made.append(_columns(found.mapped, plots.hits(found.mapped)))
    if found.located:
        telling = [one for one in found.located if one.tells]
        made.append(_traces(found.located, telling, plots.traces(telling)))
    if found.similar:
        made.append(_similar(found.similar, plots.similarities(found.similar)))
    if found.notes:
        lines = tuple((note,) for note in found.notes)
        table = PlainTable(
            f"{len(lines)} note{'s' * (len(lines) != 1)}", ("Note",), lines, folded=len(lines) > 5
        )
        made.append(Part("What was analysed, and what not", (), (), (table,)))
    return made


def _changes(changes: Sequence[Changed], drawn: Figure | None) -> Part:
    groups: dict[tuple[str, str], list[Changed]] = {}
    for one in changes:
        groups.setdefault((one.method, one.parameter), []).append(one)
    lines = []
    for (method, parameter), own in groups.items():
        relative = [one.relative_norm for one in own if one.relative_norm is not None]
        lines.append(
            (
                method,
                parameter,
                str(len(own)),
                number(_mean(relative), 4) if relative else DASH,
                number(_mean([one.exact_zero for one in own])),
                number(_mean([one.near_zero for one in own])),
                number(_mean([one.hoyer for one in own])),
                f"{_mean([one.columns_for_90 for one in own]):,.0f} of {own[0].columns:,}",
            )
        )
    head = ("Method", "Parameter", "Edits", "|ΔW| / |W|", "Zero", "Near zero", "Hoyer", "90% in")
    return Part(
        "How the weights changed",
        (
            "Means over single edits. Near zero: at most a thousandth of the largest entry. "
            "Hoyer: sparsity of the entries, 0 where all are of one size, 1 where only one is not "
            "zero. 90% in: how few columns (value vectors) hold 90% of the squared change. Survey, "
            "section 5.1.",
        ),
        (
            (
                drawn,
                "|ΔW| of one edit per method and parameter: the largest entry of each block of "
                "rows and columns, on a square-root scale of the panel's own, beside it.",
            ),
        ),
        (PlainTable("", head, tuple(lines)),),
    )


def _columns(mapped: Sequence[Mapped], drawn: Figure | None) -> Part:
    methods = list(dict.fromkeys(one.method for one in mapped))
    lines = []
    for method in methods:
        own = [one for one in mapped if one.method == method]
        cells = [method, str(len(own))]
        for k in (10, 50):
            for either in (False, True):
                values = [
                    _mean([one.hit(k, after=after, either_sign=either) for one in own])
                    for after in (False, True)
                ]
                chance = _mean([one.chance(k, either_sign=either) for one in own])
                cells.append(f"{number(values[0])} → {number(values[1])} ({number(chance)})")
        lines.append(tuple(cells))
    head = ("Method", "Edits x matrices", "Hit@10", "either sign", "Hit@50", "either sign")
    shown: list[tuple[str, ...]] = []
    for method in methods:
        one = next(one for one in mapped if one.method == method)
        shown += [
            (
                f"{method}: {one.target}",
                f"{one.parameter} [{column.index}]",
                number(column.share),
                _words(column.before),
                _words(column.after),
            )
            for column in one.columns
        ]
    columns = ("Edit", "Column", "Share of the change", "Before", "After")
    return Part(
        "What the changed value vectors say",
        (
            "The five most changed columns of a value matrix, multiplied with the unembedding: is "
            "a token of the new answer among the highest logits, before → after (by chance)? A "
            "neuron may fire negatively, and then its vector promotes what it points away from: "
            "“either sign” looks at the lowest logits too. Survey, section 5.1.",
        ),
        ((drawn, "Solid: highest logits; pale: either sign; dotted: by chance."),),
        (
            PlainTable("", head, tuple(lines)),
            PlainTable(
                "Highest tokens of the columns, first edit of each method",
                columns,
                tuple(shown),
                folded=True,
            ),
        ),
    )


def _traces(located: Sequence[Located], telling: Sequence[Located], drawn: Figure | None) -> Part:
    own = [one for one in telling if one.role == "edit"] or list(telling)
    sites = list(dict.fromkeys(site for one in own for site in one.restored))
    lines = []
    for site in sites:
        there = [one for one in own if site in one.restored]
        means = [_mean(v) for v in zip(*(one.effect(site) for one in there), strict=True)]
        best = max(range(len(means)), key=means.__getitem__)
        lines.append(
            (
                site,
                str(len(there)),
                number(_mean([one.clean for one in there])),
                number(_mean([one.corrupted for one in there])),
                str(best),
                number(means[best]),
                " ".join(number(m, 2) for m in means),
            )
        )
    says = [
        f"Causal tracing of {_prompts(len(located))} that the model answers surely: noise on the "
        "subject's embeddings, and then one layer's clean state put back at the subject's last "
        "token. What is traced is the model's own answer, true or not. Meng et al. 2022; survey, "
        "section 5.2.",
    ]
    if len(telling) < len(located):
        says.append(
            f"In {len(located) - len(telling)} of them the noise takes less than {TAKEN} from the "
            "answer's probability: there is nothing to bring back, and they are left out here."
        )
    if not own:
        return Part("Where facts are decided", tuple(says), (), ())
    which = "edits' own prompts" if own[0].role == "edit" else "probes' prompts"
    says.append(
        f"Shown are the {which} among the others ({len(own)}): as they are the answer has a mean "
        f"probability of {number(_mean([one.clean for one in own]))}, with noise of "
        f"{number(_mean([one.corrupted for one in own]))}. The effect is what a layer brings back "
        "of the difference."
    )
    head = (
        *("Restored", "Facts", "Clean", "Corrupted"),
        *("Strongest layer", "Effect there", "Effect by layer"),
    )
    return Part(
        "Where facts are decided",
        tuple(says),
        (
            (
                drawn,
                "Probability of the answer with one layer restored; the band is twice the standard "
                "error over facts.",
            ),
        ),
        (PlainTable("", head, tuple(lines)),),
    )


def _prompts(n: int) -> str:
    return f"{n} prompt{'s' * (n != 1)}"


_SIMILAR = (
    "RSim by how many of the strongest layers or columns are compared. Hollow, without a line: "
    f"fewer than {MANY_PAIRS} pairs, which tell little. Fewer than {FEW_PAIRS} are neither drawn "
    "nor given as a number."
)


def _similar(similar: Sequence[Similar], drawn: Figure | None) -> Part:
    lines = tuple(
        (
            one.units,
            one.group,
            str(one.k),
            number(one.related) if one.pairs >= FEW_PAIRS else DASH,
            number(one.everything),
            number(one.rsim) if one.pairs >= FEW_PAIRS else _too_few(one),
            f"{one.pairs:,} of {one.all_pairs:,}",
        )
        for one in similar
    )
    head = ("Units", "Pairs", "k", "Similarity", "of all pairs", "RSim", "How many")
    return Part(
        "Are related facts in the same places?",
        (
            "RSim(k) = max((Sim_cand - Sim_all) / (1 - Sim_all), 0), where the similarity of two "
            "facts is the overlap of their k strongest layers (of a causal trace) or columns (of a "
            "weight change), Sim_cand its mean over pairs of the named kind and Sim_all over all "
            "pairs. 1: related facts share their places and others do not; 0: no more than any "
            "two facts. Ju and Zhang 2023; survey, section 5.2.",
            "Where the data set names no relation, prompts without their subjects tell it: two "
            "are of one relation where a case has one as the other's rephrase. “Unrelated” "
            "is another subject and, as far as that tells, another relation.",
        ),
        ((drawn, _SIMILAR),),
        (PlainTable(f"{len(lines)} numbers", head, lines, folded=True),),
    )


def _too_few(one: Similar) -> str:
    return f"too few pairs ({one.pairs:,} of {one.all_pairs:,})"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _words(tokens: Sequence[str]) -> str:
    return " ".join(f"«{token}»" for token in tokens)
