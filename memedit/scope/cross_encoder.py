"""A BERT that reads two texts at once, on ONNX Runtime: the graph and file of ``pair_weights``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from memedit.scope.onnx_encoder import MAX_BATCH_TOKENS, sub_batches
from memedit.scope.onnx_session import open_session
from memedit.scope.pair_input import PairTokenizer
from memedit.scope.pair_weights import read_graph

Floats = npt.NDArray[np.float32]

LONGEST: Final = 128
"""Tokens of one text that are read: a window of ``query.WINDOW`` characters is seldom longer."""


class CrossEncoder:
    """Judges pairs of texts.  Safe to call from several threads.

    Args:
        weights: the file of ``pair_weights.write_weights``.
        tokenizer: ``tokenizer.json`` of its BERT.
        longest: tokens of one text that are read.
        threads: threads of one judgement.

    Raises:
        OSError, SafetensorError, ValueError, KeyError, TypeError: the weights cannot be read.
        MissingResourceError: nor can the tokenizer.

    """

    def __init__(
        self, weights: Path, tokenizer: Path, *, longest: int = LONGEST, threads: int = 1
    ) -> None:
        model = read_graph(weights)
        self._tokenizer = PairTokenizer(tokenizer, longest)
        self._session = open_session(model, threads)

    def logits(self, pairs: Sequence[tuple[str, str]]) -> Floats:
        """Return float32 ``[n_pairs, 3]``: what the head says of each pair."""
        out = np.empty((len(pairs), 3), dtype=np.float32)
        rows = [self._tokenizer.ids(first, second) for first, second in pairs]
        for chosen in sub_batches([len(ids) for ids, _ in rows], MAX_BATCH_TOKENS):
            ids, segments, mask = self._tokenizer.padded([rows[i] for i in chosen])
            feed = {"ids": ids, "segments": segments, "mask": mask}
            out[chosen] = self._session.run(["logits"], feed)[0]
        return out
