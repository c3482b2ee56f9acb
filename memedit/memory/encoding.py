"""What the memory needs of an encoder, and encoding many texts with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from memedit.errors import MemoryFailure

Vectors = npt.NDArray[np.float32]
Progress = Callable[[int, int], None]
"""Called with the number of texts encoded so far, and that of all."""

_BATCH = 64


class Encoder(Protocol):
    """Turns texts into unit vectors.  Safe to call from several threads."""

    @property
    def dim(self) -> int:
        """Length of a vector."""

    @property
    def fingerprint(self) -> str:
        """Identity of the very weights and arithmetic."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return float32 ``[n_texts, dim]`` with rows of length 1."""


def encode_all(
    encoder: Encoder, texts: Sequence[str], progress: Progress | None = None
) -> dict[str, Vectors]:
    """Encode each text once, texts of like length together, in batches.

    Returns:
        For each text its vector, float32 ``[dim]``.

    Raises:
        MemoryFailure: the encoder's answer has another shape, or is not finite.

    """
    # Long texts first: a batch is as slow as its longest text, and memory peaks at once.
    unique = sorted(dict.fromkeys(texts), key=len, reverse=True)
    vectors: dict[str, Vectors] = {}
    for start in range(0, len(unique), _BATCH):
        batch = unique[start : start + _BATCH]
        rows = np.ascontiguousarray(encoder.encode(batch), dtype=np.float32)
        if rows.shape != (len(batch), encoder.dim) or not np.isfinite(rows).all():
            raise MemoryFailure(
                f"the encoder answered {list(rows.shape)} for {len(batch)} texts; "
                f"expected finite numbers in the shape [{len(batch)}, {encoder.dim}]"
            )
        vectors.update(zip(batch, rows, strict=True))
        if progress is not None:
            progress(len(vectors), len(unique))
    return vectors
