"""What an encoder and a scope classifier promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError
from memedit.types import Candidate, QueryText, ScopeDecision

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into unit vectors.  Safe to call from several threads."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Identity of the very weights and arithmetic; equal only if the vectors agree."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return float32 ``[n_texts, dim]`` with rows of length 1; any text, also an empty one."""


@dataclass(frozen=True, slots=True)
class ScopeInput:
    """One query with the candidates to be judged."""

    query: QueryText
    candidates: tuple[Candidate, ...]


def refuse_weights(classifier: str, weights: Path | None) -> None:
    """Raise ``InvalidInputError`` where a classifier without weights is given some."""
    if weights is not None:
        raise InvalidInputError(
            f"got scope.weights {weights}, but the classifier {classifier} reads none; "
            "leave the setting out, or take the classifier 'pair'"
        )


class ScopeClassifier(ABC):
    """Decides how prompts stand to candidate edits."""

    threshold: float
    """An edit concerns a prompt when ``ScopeDecision.probability`` is at least this."""

    note: str | None = None
    """What whoever reads the decisions should know, such as that the encoder is another one."""

    @classmethod
    def open(
        cls, encoder: Encoder, *, threshold: float | None = None, weights: Path | None = None
    ) -> Self:
        """Make one for the encoder in use.

        Args:
            encoder: whose similarities the candidates carry.
            threshold: ``None`` takes the calibrated one.
            weights: a folder of the classifier's own instead of what comes with memedit.

        Raises:
            InvalidInputError: weights for a classifier that has none.

        """
        refuse_weights(cls.__name__, weights)
        classifier = cls()
        if threshold is not None:
            classifier.threshold = threshold
        return classifier

    @abstractmethod
    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        """Judge every candidate of every query in one batch.

        Returns:
            One list per input, in the order of its candidates.

        """
