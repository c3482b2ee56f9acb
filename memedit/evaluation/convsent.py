"""ConvSent's own measurements, asked of a session: sentiment, and what moved besides."""

from __future__ import annotations

import math
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memedit.errors import MissingResourceError
from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import Replies
from memedit.evaluation.protocols import Forced
from memedit.evaluation.questions import CaseQuestions
from memedit.evaluation.sentiment import Sentiment, divergence, sentiment
from memedit.evaluation.treatments import Session

_IN_MEMORY = 1 << 28
"""Bytes of distributions that are kept before they go to disk."""


class Whole:
    """What the unedited model gives for replies: distributions over the whole vocabulary.

    They are large (20 replies of 15 words, of a vocabulary of 128,000: 150 MB a topic), and every
    topic's must be had before anything is edited: beyond 256 MB they lie in a temporary file
    without a name, which goes with this object.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._places: dict[tuple[str, str], tuple[int, tuple[int, ...]]] = {}
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return len(self._places)

    def keep(self, pair: tuple[str, str], logs: npt.NDArray[np.float32]) -> None:
        """Keep the log-probabilities [n_target_tokens, vocabulary] of a (prompt, target).

        Raises:
            MissingResourceError: there is no room for them.

        """
        try:
            start = self._file.seek(0, 2)
            self._file.write(np.ascontiguousarray(logs, dtype=np.float32).tobytes())
        except OSError as error:
            raise MissingResourceError(
                f"no room in {tempfile.gettempdir()} for the distributions that KL divergence "
                f"compares ({error.strerror or error}); take fewer cases with --limit, or let "
                "TMPDIR name a larger place"
            ) from error
        self._places[pair] = (start, logs.shape)

    def __getitem__(self, pair: tuple[str, str]) -> npt.NDArray[np.float32]:
        """Return what was kept; `KeyError` where nothing was."""
        start, shape = self._places[pair]
        self._file.seek(start)
        raw = self._file.read(math.prod(shape) * np.dtype(np.float32).itemsize)
        return np.frombuffer(raw, dtype=np.float32).reshape(shape)


def sentiments(
    base: BaseAnswers, session: Session, asked: Sequence[CaseQuestions]
) -> Iterator[tuple[int, Sentiment | None]]:
    """Yield each ConvSent case's place and scores; `None` where a reply is too long to be fed."""
    pairs = [
        (owner, pair) for owner, one in enumerate(asked) for pair in reply_pairs(one.case.replies)
    ]
    prompts = [prompt for _, (prompt, _) in pairs]
    targets = [target for _, (_, target) in pairs]
    now = session.score(prompts, [owner for owner, _ in pairs], targets)
    old = base.score(prompts, targets)
    after: dict[int, list[Forced]] = {}
    before: dict[int, list[Forced]] = {}
    for (owner, _), one, other in zip(pairs, now, old, strict=True):
        after.setdefault(owner, []).append(one)
        before.setdefault(owner, []).append(other)
    for owner, fed in after.items():
        replies = asked[owner].case.replies
        n = len(replies.wanted) if replies is not None else 0
        if all(map(finite, (*fed, *before[owner]))):
            yield owner, sentiment(before[owner][:n], fed[:n], fed[n:])
        else:
            yield owner, None


def divergences(
    whole: Whole, session: Session, asked: Sequence[CaseQuestions]
) -> Iterator[tuple[int, float | None]]:
    """Yield each ConvSent case's place and KL on another topic; `None` where that is too long.

    It is over all example replies on that topic, of both sentiments, as in the survey's code. That
    of SERAC's authors takes the same mean, over all tokens together, of its own edit inputs on that
    topic ("Topic: ..."), which other methods than SERAC do not have.
    """
    for owner, one in enumerate(asked):
        pairs = reply_pairs(one.other)
        if not pairs:
            continue
        prompts, targets = [prompt for prompt, _ in pairs], [target for _, target in pairs]
        after = session.log_probabilities(prompts, [owner] * len(pairs), targets)
        before = [whole[pair] for pair in pairs]
        if not all(part.size for part in (*before, *after)):
            yield owner, None
            continue
        tokens = sum(map(len, before))
        moved = [len(old) * divergence(old, now) for old, now in zip(before, after, strict=True)]
        yield owner, sum(moved) / tokens


def distributions(model: Any, asked: Sequence[CaseQuestions]) -> Whole:
    """Have the unedited model give what `divergences` compares with, a topic at a time."""
    whole = Whole()
    for other in dict.fromkeys(one.other for one in asked if one.other is not None):
        pairs = list(dict.fromkeys(reply_pairs(other)))
        found = model.log_probabilities([p for p, _ in pairs], [target for _, target in pairs])
        for pair, logs in zip(pairs, found, strict=True):
            whole.keep(pair, logs)
    return whole


def reply_pairs(replies: Replies | None) -> list[tuple[str, str]]:
    """Return (prompt, reply), the wanted ones first."""
    if replies is None:
        return []
    return [(replies.prompt, reply) for reply in (*replies.wanted, *replies.unwanted)]


def finite(forced: Forced) -> bool:
    """Tell whether the model could read the whole text."""
    return all(map(math.isfinite, forced.log_probability))
