"""Text out of tokens, as they come: whole characters only, and the text of a single token."""

from __future__ import annotations

from typing import Any

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
WINDOW = 8
"""Tokens looked back at most.  A character has at most 4 bytes, hence at most 4 tokens."""


class Detokenizer:
    """Turns one sequence's tokens into text, piece by piece.

    A token may end in the middle of a character, and a token's text may depend on the one before
    it (a leading space).  So each step decodes a short window of tokens and hands out what is new
    and whole.  An incomplete character at the end is never handed out.
    """

    def __init__(self, tokenizer: Any, *, skip_special_tokens: bool = True) -> None:
        self._tokenizer = tokenizer
        self._skip = skip_special_tokens
        self._window: list[int] = []
        self._shown = 0  # characters of the window's text that were handed out
        self._settled = 0  # tokens of the window whose text was complete at the last step

    def push(self, token: int) -> str:
        """Return the text that ``token`` completes; may be empty."""
        self._window.append(token)
        text = self._decode(self._window)
        # A decoder writes an unfinished character as ONE replacement character at the very end.
        open_end = text.endswith(REPLACEMENT)
        whole = text[:-1] if open_end else text
        new = whole[self._shown :]
        self._shown = max(self._shown, len(whole))
        if not open_end:
            self._slide(self._settled)
            self._settled = len(self._window)
        elif len(self._window) > WINDOW:
            # Bytes that are no text at all would hold the window open for ever.
            self._slide(len(self._window) - WINDOW // 2)
            self._settled = 0
        return new

    def _slide(self, drop: int) -> None:
        if drop:
            self._window = self._window[drop:]
            text = self._decode(self._window)
            self._shown = len(text) - text.endswith(REPLACEMENT)

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=self._skip, clean_up_tokenization_spaces=False
        )
        return text


class TokenTexts:
    """The text of single tokens, as log-probabilities name them; remembers what it has decoded."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def __getitem__(self, token: int) -> str:
        """Return the text that the token adds in the middle of a text."""
        known = self._texts.get(token)
        if known is None:
            # Twice, because some tokenizers drop the space in front of a text's first token.
            once, twice = self._decode([token]), self._decode([token, token])
            known = twice[len(once) :] if twice.startswith(once) else once
            self._texts[token] = known
        return known

    def _decode(self, tokens: list[int]) -> str:
        text: str = self._tokenizer.decode(
            tokens, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return text
