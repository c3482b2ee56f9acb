"""Scope by similarity alone: the honest baseline."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Self

from memedit.registry import register
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput, refuse_weights
from memedit.scope.calibration import (
    Calibration,
    foreign_note,
    shipped_calibration,
    threshold_of,
)
from memedit.types import ScopeDecision, ScopeLabel


@register("cosine")
class Cosine(ScopeClassifier):
    """Reads the similarity that the search found as a probability (Platt scaling).

    It knows nothing but that number: another relation of the same subject ("population of X"
    beside "capital of X") lies close and fires too often, and whether an answer depends on an
    edit through another hop it cannot tell, so ``dependent`` is always 0.

    Args:
        calibration: how to read similarities; ``None`` takes the shipped one.
        threshold: the probability from which an edit fires; ``None`` takes the calibrated one.

    """

    def __init__(
        self, calibration: Calibration | None = None, *, threshold: float | None = None
    ) -> None:
        self.calibration = calibration if calibration is not None else shipped_calibration()
        self.threshold = threshold_of(threshold, self.calibration.threshold_probability)
        self.note: str | None = None

    @classmethod
    def open(
        cls, encoder: Encoder, *, threshold: float | None = None, weights: Path | None = None
    ) -> Self:
        """Make one for the encoder in use; warns if the calibration is another encoder's."""
        refuse_weights("cosine", weights)
        classifier = cls(threshold=threshold)
        classifier.note = foreign_note(
            "scope 'cosine' was calibrated",
            classifier.calibration.encoder,
            encoder.fingerprint,
            "its probabilities are a guess; run python -m memedit.scope.calibrate, or set "
            "scope.threshold",
        )
        return classifier

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        """Judge every candidate of every query; see ``ScopeClassifier.classify``."""
        decisions: list[list[ScopeDecision]] = []
        for judged in inputs:
            row = []
            for candidate in judged.candidates:
                direct = self.calibration.probability(candidate.similarity)
                fires = direct >= self.threshold
                row.append(
                    ScopeDecision(
                        candidate=candidate,
                        label=ScopeLabel.DIRECT if fires else ScopeLabel.UNRELATED,
                        direct=direct,
                        dependent=0.0,
                        unrelated=1.0 - direct,
                    )
                )
            decisions.append(row)
        return decisions
