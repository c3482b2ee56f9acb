"""ConvSent's own measurements, asked of a session: sentiment, and what moved besides."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from memedit.evaluation.base_answers import BaseAnswers
from memedit.evaluation.cases import Replies
from memedit.evaluation.protocols import Forced
from memedit.evaluation.questions import CaseQuestions
from memedit.evaluation.sentiment import Sentiment, divergence, sentiment
from memedit.evaluation.treatments import Session

Whole = Mapping[tuple[str, str], npt.NDArray[np.float32]]
"""(prompt, target) -> log-probabilities of the unedited model, [n_target_tokens, vocabulary]."""


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
    """Yield each ConvSent case's place and KL on another topic; `None` where that is too long."""
    for owner, one in enumerate(asked):
        pairs = _other_pairs(one)
        if not pairs:
            continue
        prompts, targets = [prompt for prompt, _ in pairs], [target for _, target in pairs]
        after = session.log_probabilities(prompts, [owner] * len(pairs), targets)
        before = [whole[pair] for pair in pairs]
        if not all(part.size for part in (*before, *after)):
            yield owner, None
            continue
        moved = [divergence(old, now) for old, now in zip(before, after, strict=True)]
        yield owner, sum(moved) / len(moved)


def distributions(model: Any, asked: Sequence[CaseQuestions]) -> Whole:
    """Have the unedited model give what `divergences` compares with; too large to be kept long."""
    pairs = list(dict.fromkeys(pair for one in asked for pair in _other_pairs(one)))
    if not pairs:
        return {}
    found = model.log_probabilities([p for p, _ in pairs], [target for _, target in pairs])
    return dict(zip(pairs, found, strict=True))


def reply_pairs(replies: Replies | None) -> list[tuple[str, str]]:
    """Return (prompt, reply), the wanted ones first."""
    if replies is None:
        return []
    return [(replies.prompt, reply) for reply in (*replies.wanted, *replies.unwanted)]


def finite(forced: Forced) -> bool:
    """Tell whether the model could read the whole text."""
    return all(map(math.isfinite, forced.log_probability))


def _other_pairs(one: CaseQuestions) -> list[tuple[str, str]]:
    if one.other is None:
        return []
    return [(one.other.prompt, reply) for reply in (one.other.wanted[0], one.other.unwanted[0])]
