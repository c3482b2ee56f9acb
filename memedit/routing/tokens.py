"""Prompts of token ids: reading them, and inserting text into them, by the upstream's tokenizer."""

from __future__ import annotations

import json
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

from memedit.errors import UpstreamError
from memedit.routing.steps import NeedUpstream, UpstreamReply
from memedit.routing.wire.block import last_block


class NotTokenizable(Exception):
    """The upstream has no tokenizer endpoint, or it does not answer as one."""


@dataclass(frozen=True, slots=True)
class Detokenized:
    """A prompt of token ids with its text."""

    tokens: tuple[int, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The upstream's tokenizer for ``model``, spoken to through the plan's driver."""

    model: str | None

    def read(self, tokens: Sequence[int]) -> Generator[NeedUpstream, UpstreamReply, Detokenized]:
        """Turn ids into text.

        Raises:
            NotTokenizable: the upstream cannot.

        """
        text = yield from self._detokenize(tokens)
        return Detokenized(tuple(tokens), text)

    def write(self, text: str) -> Generator[NeedUpstream, UpstreamReply, list[int]]:
        """Turn text into ids, with no special tokens around it.

        Raises:
            NotTokenizable: the upstream cannot.

        """
        return (yield from self._tokenize(text, special=False))

    def place(
        self, prompt: Detokenized, text: str, ids: Sequence[int]
    ) -> Generator[NeedUpstream, UpstreamReply, int]:
        """Return before which token ``text``, whose ids are ``ids``, stands right before the query.

        That is before the last block; or in front, behind the special tokens that the tokenizer
        itself begins a prompt with, where there is one block or no token ends where it begins.

        Raises:
            NotTokenizable: the upstream cannot tell.

        """
        start = last_block(prompt.text)
        if start:
            at = yield from self._boundary(prompt, start)
            if at is not None:
                return at
        # an empty prompt would show the special tokens alone, but servers refuse it
        whole = yield from self._tokenize(text, special=True)
        begins = (at for at in range(len(whole)) if whole[at : at + len(ids)] == list(ids))
        opening = whole[: next(begins, 0)]
        return len(opening) if list(prompt.tokens[: len(opening)]) == opening else 0

    def _boundary(
        self, prompt: Detokenized, start: int
    ) -> Generator[NeedUpstream, UpstreamReply, int | None]:
        """Find how many tokens spell the first ``start`` characters; none: no token ends there.

        By halving: the text of a prefix grows with the prefix.
        """
        low, high = 1, len(prompt.tokens) - 1
        while low <= high:
            middle = (low + high) // 2
            prefix = yield from self._detokenize(prompt.tokens[:middle])
            if prefix == prompt.text[:start]:
                return middle
            low, high = (middle + 1, high) if len(prefix) < start else (low, middle - 1)
        return None

    def _detokenize(self, tokens: Sequence[int]) -> Generator[NeedUpstream, UpstreamReply, str]:
        answer = yield from self._ask("/detokenize", {"tokens": list(tokens)})
        text = answer.get("prompt")
        if not isinstance(text, str):
            raise NotTokenizable("/detokenize answered without a prompt")
        return text

    def _tokenize(
        self, text: str, *, special: bool
    ) -> Generator[NeedUpstream, UpstreamReply, list[int]]:
        answer = yield from self._ask("/tokenize", {"prompt": text, "add_special_tokens": special})
        ids = answer.get("tokens")
        if not isinstance(ids, list) or not all(type(number) is int for number in ids):
            raise NotTokenizable("/tokenize answered without tokens")
        return ids

    def _ask(
        self, path: str, fields: dict[str, Any]
    ) -> Generator[NeedUpstream, UpstreamReply, dict[str, Any]]:
        model = {} if self.model is None else {"model": self.model}
        body = json.dumps({**model, **fields}).encode("ascii")
        try:
            reply = yield NeedUpstream("POST", path, body)
        except UpstreamError as error:
            raise NotTokenizable(f"{path}: {error.code}") from error
        if reply.status != 200:
            raise NotTokenizable(f"{path} answered {reply.status}")
        try:
            answer = json.loads(reply.body)
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise NotTokenizable(f"{path} answered no JSON object")
        return answer
