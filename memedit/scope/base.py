"""What an encoder and a scope classifier promise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

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


class ScopeClassifier(ABC):
    """Decides how prompts stand to candidate edits."""

    threshold: float
    """An edit concerns a prompt when ``ScopeDecision.probability`` is at least this."""

    note: str | None = None
    """What whoever reads the decisions should know, such as that the encoder is another one."""

    @classmethod
    def open(cls, encoder: Encoder, *, threshold: float | None = None) -> Self:
        """Make one for the encoder in use; ``threshold`` ``None`` takes the calibrated one."""
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
