"""What an analysis found, as plain values that are kept as JSON beside a run."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from memedit.errors import DatasetError

FILE = "analysis.json"
_FORMAT = 1
FEW_PAIRS, MANY_PAIRS = 3, 10
"""Of fewer pairs RSim is not drawn; from so many on it is drawn as a line."""
TAKEN = 0.1
"""A trace tells something where noise takes at least so much from the answer's probability."""


@dataclass(frozen=True, slots=True)
class Changed:
    """The change of one parameter by one edit. Columns are value vectors: weight is (out, in)."""

    method: str
    case: str
    parameter: str
    rows: int
    columns: int
    norm: float
    """Frobenius norm."""
    relative_norm: float | None
    """Against the weight's own norm; None where that is nothing."""
    exact_zero: float
    """Share of entries that are exactly zero."""
    near_zero: float
    """Share of entries of at most a thousandth of the largest (exact zeros among them)."""
    hoyer: float
    """Hoyer's sparsity of the entries: 0 where all are of one size, 1 where only one is not 0."""
    columns_for_90: int
    """How few columns hold 90% of the squared change."""
    heat: tuple[tuple[float, ...], ...] = ()
    """The largest |entry| of each block of a coarse grid; kept for one edit per method."""


@dataclass(frozen=True, slots=True)
class Column:
    """A value vector, read as a distribution over the vocabulary."""

    index: int
    share: float
    """Of the parameter's squared change."""
    before: tuple[str, ...]
    """The tokens with the highest logits before the edit, the highest first."""
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mapped:
    """The most changed value vectors of one parameter, mapped to the vocabulary.

    Ranks count from 1 and are the best one over the columns, one per token of the target.
    "Reversed" ranks count from the lowest logit: a neuron may fire negatively (gated MLPs), and
    then its vector promotes what it points away from.
    """

    method: str
    case: str
    parameter: str
    target: str
    tokens: tuple[str, ...]
    vocabulary: int
    columns: tuple[Column, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]
    before_reversed: tuple[int, ...]
    after_reversed: tuple[int, ...]

    def hit(self, k: int, *, after: bool, either_sign: bool = False) -> float:
        """Return the share of the target's tokens among the top `k` of any of the columns."""
        ranks = self.after if after else self.before
        if either_sign:
            other = self.after_reversed if after else self.before_reversed
            ranks = tuple(min(pair) for pair in zip(ranks, other, strict=True))
        return sum(rank <= k for rank in ranks) / len(ranks)

    def chance(self, k: int, *, either_sign: bool = False) -> float:
        """Return what `hit` would be if ranks were drawn at random, each column on its own."""
        share = min(1.0, (2 if either_sign else 1) * k / self.vocabulary)
        return float(1.0 - (1.0 - share) ** len(self.columns))


@dataclass(frozen=True, slots=True)
class Located:
    """One fact, causally traced: the answer's probability as layers are restored."""

    case: str
    role: str
    """What the prompt is to the case: `edit`, `rephrase`, `follows`, `other_relation`."""
    prompt: str
    subject: str
    relation: str
    answer: str
    clean: float
    """With nothing disturbed."""
    corrupted: float
    """With noise on the subject."""
    restored: Mapping[str, tuple[float, ...]]
    """Site (`hidden`, `mlp`, `attention`) -> per layer, with that layer's clean state put back at
    the subject's last token."""

    @property
    def tells(self) -> bool:
        """Whether noise on the subject takes something away that could be brought back."""
        return self.clean - self.corrupted >= TAKEN

    def effect(self, site: str) -> tuple[float, ...]:
        """Return the indirect effect per layer: how much of the probability comes back."""
        return tuple(value - self.corrupted for value in self.restored[site])


@dataclass(frozen=True, slots=True)
class Similar:
    """How alike the places of related facts are, against those of any two facts."""

    group: str
    """Which pairs are meant, e.g. `same subject`."""
    units: str
    """What is compared: `layers` of causal traces, or `columns` of one method's changes."""
    k: int
    """How many of the strongest units are compared."""
    related: float
    """Mean similarity of the pairs of the group (Sim_cand)."""
    everything: float
    """Mean similarity of all pairs (Sim_all)."""
    pairs: int
    all_pairs: int

    @property
    def rsim(self) -> float | None:
        """The relative similarity; None where all pairs are wholly alike and it has no meaning.

        Source: Ju and Zhang 2023 (KLoB), and the survey, section 5.2:
        max((Sim_cand - Sim_all) / (1 - Sim_all), 0).
        """
        if self.everything >= 1.0:
            return None
        return max((self.related - self.everything) / (1.0 - self.everything), 0.0)


@dataclass(frozen=True)
class Analysis:
    """Everything that one analysis found."""

    changed: tuple[Changed, ...] = ()
    mapped: tuple[Mapped, ...] = ()
    located: tuple[Located, ...] = ()
    similar: tuple[Similar, ...] = ()
    notes: tuple[str, ...] = field(default=())
    """Which cases were analysed, and what was not and why."""

    def save(self, folder: Path) -> Path:
        """Write `analysis.json` into a run folder and return its path."""
        path = folder / FILE
        record = {"format": _FORMAT, **asdict(self)}
        path.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def with_others(self, before: Analysis, methods: Collection[str]) -> Analysis:
        """Return this analysis with what an earlier one found of other methods.

        Args:
            before: the earlier analysis of the same run; its traces, which are of no method, are
                made anew.
            methods: those that this analysis looked into.

        """
        columns = tuple(f"columns ({method}, " for method in methods)
        similar = [one for one in before.similar if one.units.startswith("columns (")]
        # As `analyse` says it of a case: the method that did not edit it is named.
        notes = [note for note in before.notes if " was not edited by " in note]
        own = [f" was not edited by {method}: " for method in methods]
        return Analysis(
            (*(one for one in before.changed if one.method not in methods), *self.changed),
            (*(one for one in before.mapped if one.method not in methods), *self.mapped),
            self.located,
            (*(one for one in similar if not one.units.startswith(columns)), *self.similar),
            (*self.notes, *(note for note in notes if not any(words in note for words in own))),
        )

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Read `analysis.json` of a run folder; None where there is none.

        Raises:
            DatasetError: it is not what `save` writes.

        """
        path = folder / FILE
        if not path.exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if record.get("format") != _FORMAT:
                raise ValueError(f"format {record.get('format')!r}, expected {_FORMAT}")
            return cls(
                changed=tuple(_made(Changed, one) for one in record["changed"]),
                mapped=tuple(
                    _made(Mapped, {**one, "columns": [_made(Column, c) for c in one["columns"]]})
                    for one in record["mapped"]
                ),
                located=tuple(_made(Located, one) for one in record["located"]),
                similar=tuple(_made(Similar, one) for one in record["similar"]),
                notes=tuple(record["notes"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path} is no analysis of this version: {error!r}") from None


def _made(cls: type[Any], record: Mapping[str, Any]) -> Any:
    return cls(**{f.name: _frozen(record[f.name]) for f in fields(cls)})


def _frozen(value: Any) -> Any:
    """Return JSON's lists as tuples, all the way down."""
    if isinstance(value, dict):
        return {key: _frozen(inner) for key, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_frozen(inner) for inner in value)
    return value
