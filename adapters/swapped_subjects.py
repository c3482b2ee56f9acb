"""An edit's prompt about something else: what looks most like it and is not to be changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from memedit.types import EditRequest

WORDS = 2
"""Of a name that is made of the model's own text."""


def made_names(tokenizer: Any, texts: Sequence[Sequence[int]], count: int) -> list[str]:
    """Return what stands in the place of subjects where no others are known: words of texts.

    Args:
        tokenizer: that cut the texts.
        texts: token ids.
        count: names at most.

    """
    words = [w for ids in texts for w in tokenizer.decode(ids, skip_special_tokens=True).split()]
    pairs = (" ".join(words[n : n + WORDS]) for n in range(0, len(words) - WORDS + 1, WORDS))
    return list(dict.fromkeys(pairs))[:count]


def swapped(request: EditRequest, names: Sequence[str]) -> list[str]:
    """Return a request's prompt with each of the names in the place of its subject.

    A prompt that does not hold its subject as it is spelled has none.
    """
    if request.subject not in request.prompt:
        return []
    return [
        request.prompt.replace(request.subject, name)
        for name in names
        if name not in request.prompt and name not in request.target_new
    ]
