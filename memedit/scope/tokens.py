"""Texts to token ids, with the ``tokenizers`` library alone; any text can be read."""

from __future__ import annotations

from pathlib import Path

from memedit.errors import MissingResourceError

WINDOW = 2_048
"""Characters that are read at first of a text whose end will be cut anyway."""


class TextTokenizer:
    """The tokenizer of a checkpoint, with its special tokens.  Safe to call from several threads.

    Args:
        file: ``tokenizer.json``.
        max_length: tokens of one text, special tokens included; the end of a longer text is cut.
        lower_case: lower-case texts first.

    """

    def __init__(self, file: Path, max_length: int, *, lower_case: bool = False) -> None:
        from tokenizers import Tokenizer

        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise MissingResourceError(
                f"the tokenizer {file} cannot be read ({error}); copy the model again"
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_length)
        self._lower_case = lower_case

    def ids(self, text: str) -> list[int]:
        """Return the token ids of one text, at least the special tokens."""
        text = well_formed(text)
        if self._lower_case:
            text = text.lower()
        # A pasted book is not tokenised to its end only to be cut: a beginning that ends at a
        # space and overflows already has the very tokens that the whole text begins with.
        window = WINDOW
        while window < len(text):
            edge = text.rfind(" ", 0, window)
            if edge > 0:
                encoding = self._tokenizer.encode(text[:edge])
                if encoding.overflowing:
                    return list(encoding.ids)
            window *= 4
        return list(self._tokenizer.encode(text).ids)


def well_formed(text: str) -> str:
    """Return the text with lone surrogates, which no UTF-8 can carry, as U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
