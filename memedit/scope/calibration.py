"""What turns a similarity into a probability, as a value; and the one that is shipped."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import dataclass
from importlib import resources
from typing import Any

from memedit.errors import InvalidInputError

SHIPPED = "cosine.json"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Calibration:
    """Platt coefficients and the similarity from which an edit fires.

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """

    slope: float
    intercept: float
    threshold: float
    """A cosine similarity in [-1, 1]."""
    encoder: str
    """The encoder family (see ``family``) whose similarities these are."""

    def __post_init__(self) -> None:
        numbers = (self.slope, self.intercept, self.threshold)
        if not all(math.isfinite(number) for number in numbers) or self.slope <= 0:
            raise InvalidInputError(
                f"got slope {self.slope}, intercept {self.intercept}, threshold "
                f"{self.threshold}; expected finite numbers and a slope above 0, so that "
                "probability grows with similarity"
            )

    def probability(self, similarity: float) -> float:
        """Return the probability, strictly within (0, 1), that the edit concerns the prompt."""
        # Beyond 30 a float64 sigmoid would reach 1 and forget which of two is more probable.
        logit = max(-30.0, min(30.0, self.slope * similarity + self.intercept))
        return 1.0 / (1.0 + math.exp(-logit))

    @property
    def threshold_probability(self) -> float:
        """The probability from which an edit fires."""
        return self.probability(self.threshold)


def family(fingerprint: str) -> str:
    """Return the part of an encoder's fingerprint that decides its similarities.

    The same weights on another exact runtime agree within 1e-5, so one calibration serves both;
    a quantised runtime (``int8``) stays a family of its own.

    >>> family("9daa/256/onnx-1") == family("9daa/256/torch") == "9daa/256"
    True
    """
    weights, _, runtime = fingerprint.rpartition("/")
    return weights if weights and "int8" not in runtime else fingerprint


def threshold_of(given: float | None, learned: float) -> float:
    """Return the probability from which edits fire: the one that is given, else the learned one.

    Raises:
        InvalidInputError: what is given is no probability.

    """
    if given is None:
        return learned
    if not 0.0 <= given <= 1.0:
        raise InvalidInputError(f"got threshold {given}; expected a probability in [0, 1]")
    return given


def foreign_note(made: str, theirs: str, fingerprint: str, means: str) -> str | None:
    """Return what to know of a classifier that was made for another encoder, and log it.

    Args:
        made: which classifier, and what was done with its own encoder: "scope 'serac' was trained".
        theirs: the encoder family that it was made for.
        fingerprint: of the encoder in use.
        means: what comes of it where they are not the same.

    """
    if family(fingerprint) == theirs:
        return None
    note = f"{made} with encoder {theirs}, not with {fingerprint}: {means}"
    log.warning("%s", note)
    return note


def shipped_calibration() -> Calibration:
    """Read the calibration that comes with memedit, for the default encoder."""
    record = shipped_record()
    return Calibration(
        slope=record["slope"],
        intercept=record["intercept"],
        threshold=record["threshold"],
        encoder=record["encoder"],
    )


def shipped_record() -> dict[str, Any]:
    """Read the whole record: coefficients, the data and split behind them, what was measured."""
    text = resources.files("memedit.scope").joinpath(SHIPPED).read_text(encoding="utf-8")
    record: dict[str, Any] = json.loads(text)
    return record
