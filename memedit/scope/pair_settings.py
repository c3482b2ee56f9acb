"""How the pair classifier's numbers are read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from memedit.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class PairSettings:
    """How to read the classifier's numbers; stands beside its weights as ``pair.json``."""

    threshold: float
    """The probability from which an edit fires."""
    temperature: float
    """Logits are divided by it."""
    part: tuple[float, float, float, float, float]
    """Of a part of a name: intercept, and slopes of its coverage, of the similarity, and of another
    name's word right before and right after it."""
    encoder: str = ""
    """The encoder family whose similarities those are (see ``calibration.family``)."""

    def __post_init__(self) -> None:
        numbers = (self.threshold, self.temperature, *self.part)
        if not all(math.isfinite(number) for number in numbers) or self.temperature <= 0:
            raise InvalidInputError(
                f"got {self}; expected finite numbers and a temperature above 0"
            )

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Read the fields of ``pair.json`` that are settings."""
        one, two, three, four, five = (float(value) for value in record["part"])
        return cls(
            float(record["threshold"]),
            float(record["temperature"]),
            (one, two, three, four, five),
            str(record.get("encoder", "")),
        )

    def named(self, coverage: float, similarity: float, before: int, after: int) -> float:
        """Return the probability that a part of a name means the subject.

        Args:
            coverage: ``Mention.coverage``, below 1.
            similarity: the candidate's.
            before: 1 where a word of another name stands right before the part, else 0.
            after: the same right after it; both as ``other_names`` tells.

        """
        intercept, *slopes = self.part
        values = (coverage, similarity, before, after)
        logit = intercept + sum(s * v for s, v in zip(slopes, values, strict=True))
        return 1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, logit))))
