"""PokeMQA's first stage: how near a question is to an edit, each encoded by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from memedit.scope.base import Vectors

Floats = npt.NDArray[np.float32]

FILE: Final = "predetector.safetensors"


@dataclass(frozen=True, slots=True)
class Predetector:
    """Two towers over an encoder's vectors: p = exp(-d), d the squared distance of what they say.

    The paper fine-tunes an encoder for this; here two projections of the vectors that the memory
    has anyway are learned, so that a question is encoded once.

    Source: Gu et al. 2024, "PokeMQA: Programmable knowledge editing for Multi-hop Question
    Answering", the pre-detector.
    """

    questions: Floats
    """``[d, dim]``."""
    edits: Floats
    """``[d, dim]``."""
    shift: Floats
    """``[d]``: what is added to a question's projection."""

    def __post_init__(self) -> None:
        shapes = (self.questions.shape, self.edits.shape, self.shift.shape)
        whole = all(np.isfinite(part).all() for part in (self.questions, self.edits, self.shift))
        if self.questions.ndim != 2 or shapes[0] != shapes[1] or shapes[2] != shapes[0][:1]:
            raise ValueError(f"expected two matrices of one shape and their shift, got {shapes}")
        if not whole:
            raise ValueError("expected finite numbers")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what ``write`` wrote.

        Raises:
            OSError, SafetensorError, KeyError, ValueError: it is missing or damaged.

        """
        parts = load_file(folder / FILE)
        return cls(*(parts[name].astype(np.float32) for name in ("questions", "edits", "shift")))

    def write(self, folder: Path) -> None:
        """Write the matrices into a folder."""
        parts = {"questions": self.questions, "edits": self.edits, "shift": self.shift}
        save_file({k: np.ascontiguousarray(v, np.float32) for k, v in parts.items()}, folder / FILE)

    @property
    def dim(self) -> int:
        """Length of the vectors that are projected."""
        return int(self.questions.shape[1])

    def of_questions(self, vectors: Vectors) -> Floats:
        """Project questions: float32 ``[n, dim]`` -> ``[n, d]``."""
        projected: Floats = vectors @ self.questions.T + self.shift
        return projected

    def of_edits(self, vectors: Vectors) -> Floats:
        """Project edits: float32 ``[n, dim]`` -> ``[n, d]``."""
        projected: Floats = vectors @ self.edits.T
        return projected


def nearness(questions: Floats, edits: Floats) -> npt.NDArray[np.float64]:
    """Return exp(-d) of projected questions and edits, row by row, float64 ``[n]``."""
    apart = np.square(questions - edits, dtype=np.float64).sum(axis=-1)
    near: npt.NDArray[np.float64] = np.exp(-apart)
    return near
