"""What the pair classifier reads: a prompt and an edit, the subject of both hidden."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from memedit.errors import MissingResourceError
from memedit.scope.tokens import well_formed

HIDDEN = "\ufffc"
"""What stands in a text in place of the subject (U+FFFC, the object replacement character)."""

Row = tuple[list[int], list[int]]
"""Token ids and the segment, 0 or 1, of each."""

TOKENS = 48
"""Tokens of one text that the pair classifier reads."""
_SPECIAL = ("[CLS]", "[SEP]", "[MASK]")

Ints = npt.NDArray[np.int32]


class PairTokenizer:
    """Reads ``[CLS] prompt [SEP] edit [SEP]``; the hidden subject is ``[MASK]``.

    Safe to call from several threads.

    Args:
        file: ``tokenizer.json`` of a BERT.
        most: tokens of one text; of a longer one the neighbourhood of its subject is read.

    """

    def __init__(self, file: Path, most: int = TOKENS) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise MissingResourceError(
                f"the tokenizer {file} cannot be read ({error}); install memedit again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        special = {name: self._tokenizer.token_to_id(name) for name in _SPECIAL}
        if None in special.values():
            raise MissingResourceError(f"the tokenizer {file} lacks one of {', '.join(_SPECIAL)}")
        self._cls, self._sep, self._mask = (int(i) for i in special.values() if i is not None)
        self._most = most

    def ids(self, prompt: str, edit: str) -> Row:
        """Return the ids and segments of a pair."""
        left = [self._cls, *self._text(prompt), self._sep]
        right = [*self._text(edit), self._sep]
        return left + right, [0] * len(left) + [1] * len(right)

    def _text(self, text: str) -> list[int]:
        before, hidden, after = well_formed(text).partition(HIDDEN)
        left = self._encoded(before[-2_000:])
        if not hidden:
            return left[: self._most]
        right = self._encoded(after.replace(HIDDEN, "")[:2_000])
        room = self._most - 1
        taken = min(len(right), max(room - len(left), room // 2))
        kept = left[max(0, len(left) - (room - taken)) :]
        return [*kept, self._mask, *right[:taken]]

    def _encoded(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text.lower(), add_special_tokens=False).ids
        return ids

    def padded(self, rows: Sequence[Row], *, grain: int = 1) -> tuple[Ints, Ints, Ints]:
        """Return ids, segments and mask, int32 ``[rows, T]``, T a multiple of ``grain``."""
        longest = -(-max(len(ids) for ids, _ in rows) // grain) * grain
        ids, segments, mask = (np.zeros((len(rows), longest), np.int32) for _ in range(3))
        for i, (row, segment) in enumerate(rows):
            ids[i, : len(row)] = row
            segments[i, : len(row)] = segment
            mask[i, : len(row)] = 1
        return ids, segments, mask
