"""What causal tracing found: effects per kind of state, layer and position, with their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError


class Kind(StrEnum):
    """Which state is put back."""

    HIDDEN = "hidden"
    """The residual stream after a block."""
    MLP = "mlp"
    """What the MLPs of a window of layers add."""
    ATTENTION = "attention"
    """What the attentions of a window of layers add."""


class Position(StrEnum):
    """At which token it is put back."""

    SUBJECT_FIRST = "subject_first"
    SUBJECT_LAST = "subject_last"
    AFTER_SUBJECT = "after_subject"
    PROMPT_LAST = "prompt_last"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over prompts with its 95% interval (percentile bootstrap)."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Cell:
    """What putting one state back does."""

    kind: Kind
    layer: int
    position: Position
    restored: Estimate
    """Probability of the answer's first token in the corrupted run with the state put back."""
    effect: Estimate
    """Indirect effect: that, minus the corrupted run's."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A prompt that was not traced, and why."""

    prompt: int
    """Its number among those given, from 0."""
    reason: str


@dataclass(frozen=True, slots=True)
class PromptProfile:
    """One prompt's own trace, at the subject's last token."""

    prompt: int
    """Its number among those given, from 0."""
    clean: float
    corrupted: float
    restored: Mapping[Kind, tuple[float, ...]]
    """Kind -> by layer the answer's probability with the state put back."""


@dataclass(frozen=True)
class Trace:
    """Causal tracing of a set of prompts.

    Source: Meng et al. 2022, section 2.
    """

    n_layers: int
    window: int
    """Layers that are put back together for ``mlp`` and ``attention``, centred on the layer."""
    sigma: float
    """Standard deviation of the noise on the subject's embeddings."""
    samples: int
    """Noise drawn per prompt."""
    threshold: float
    """Prompts whose answer is less probable than this are not known, and not traced."""
    asked: int
    known: int
    skipped: tuple[Skipped, ...]
    clean: Estimate
    corrupted: Estimate
    cells: tuple[Cell, ...]
    fingerprint: str
    """``model_fingerprint`` of the model."""
    prompts_fingerprint: str
    profiles: tuple[PromptProfile, ...] = ()
    """One per known prompt."""

    def cell(self, kind: Kind | str, layer: int, position: Position | str) -> Cell:
        """Return one cell.

        Raises:
            InvalidInputError: it was not traced.

        """
        for cell in self.cells:
            if (cell.kind, cell.layer, cell.position) == (kind, layer, position):
                return cell
        raise InvalidInputError(f"{kind} at {position} of layer {layer} was not traced")

    def profile(self, kind: Kind | str, position: Position | str) -> list[Cell]:
        """Return the cells of one kind and position, by layer; empty where none was traced."""
        return [c for c in self.cells if c.kind == kind and c.position == position]


def trace_table(trace: Trace) -> list[dict[str, Any]]:
    """Return one plain row per cell: ``kind, layer, position, restored, effect, low, high, n``."""
    return [
        {
            "kind": cell.kind.value,
            "layer": cell.layer,
            "position": cell.position.value,
            "restored": cell.restored.mean,
            "effect": cell.effect.mean,
            "low": cell.effect.low,
            "high": cell.effect.high,
            "n": cell.effect.n,
        }
        for cell in trace.cells
    ]


def trace_record(trace: Trace) -> dict[str, Any]:
    """Return a trace as plain values, for JSON, without the single prompts' profiles."""
    whole = asdict(trace)
    del whole["profiles"]
    whole["cells"] = trace_table(trace)
    return whole


def default_window(n_layers: int) -> int:
    """Return 1 for models of up to 12 layers, else a fifth of them, between 5 and 10."""
    return 1 if n_layers <= 12 else min(10, max(5, n_layers // 5))


def window_around(layer: int, width: int, n_layers: int) -> range:
    """Return the layers of a window centred on ``layer``, cut at the ends of the model."""
    return range(max(0, layer - width // 2), min(n_layers, layer + (width + 1) // 2))


def estimate(values: Sequence[float] | npt.NDArray[np.float64], draws: int = 1000) -> Estimate:
    """Return mean and 95% interval of values that are one per prompt; nan of none.

    The same values always give the same interval.
    """
    given = np.asarray(values, dtype=np.float64)
    if not len(given):
        return Estimate(float("nan"), float("nan"), float("nan"), 0)
    drawn = np.random.default_rng(0).integers(len(given), size=(draws, len(given)))
    low, high = np.quantile(given[drawn].mean(1), (0.025, 0.975))
    return Estimate(float(given.mean()), float(low), float(high), len(given))
