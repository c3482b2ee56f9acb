"""What a conversation asked before: erased facts that its answers are still watched for."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Final, Protocol

from memedit.routing.route import RouteQuery
from memedit.routing.selection import merged
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.scope.query import search_texts
from memedit.types import Candidate, QueryText, ScopeDecision

MOST_TURNS: Final = 32
"""Earlier turns that are judged, of those that name whom something is erased about: the last."""


class ErasedFacts(Protocol):
    """A memory's erasures by names."""

    def erased(
        self, texts: Sequence[str], namespaces: Sequence[str], moment: datetime
    ) -> list[tuple[Candidate, ...]]:
        """Find the erasures whose subject stands in each text; no encoding, no database."""


def remembered(
    memory: ErasedFacts,
    classifier: ScopeClassifier,
    queries: Sequence[tuple[RouteQuery, float]],
    moment: datetime,
) -> list[tuple[ScopeDecision, ...]]:
    """Find the erasures that earlier turns ask, each turn judged as it was when it was the last.

    "Where does Ann Lee live?", and behind the refusal "Please, I do need to know.": the second turn
    asks for nothing by itself, and the answer to it may tell.  What costs is the judgement of turns
    that name an erased fact's subject; others cost a look at their words, and a memory without
    erasures not even that.

    Args:
        memory: holds the erasures.
        classifier: judges them by name, without similarities.
        queries: each with the probability from which an edit concerns it.
        moment: aware; when they are asked.

    Returns:
        For each query what is to be watched for, each erasure once.

    """
    inputs: list[ScopeInput] = []
    owners: list[int] = []
    for number, (query, _) in enumerate(queries):
        turns = query.query.context
        if not any(memory.erased(turns, query.namespaces, moment)):
            continue
        asked = []
        for place, turn in enumerate(turns):
            earlier = QueryText(turn, turns[:place])
            hits = memory.erased(search_texts(earlier), query.namespaces, moment)
            found = merged(chain.from_iterable(hits), 0)
            if found:
                asked.append(ScopeInput(earlier, found))
        inputs += asked[-MOST_TURNS:]
        owners += [number] * len(asked[-MOST_TURNS:])
    kept: list[dict[str, ScopeDecision]] = [{} for _ in queries]
    judged = classifier.classify(inputs) if inputs else []
    for number, decisions in zip(owners, judged, strict=True):
        for one in decisions:
            if one.probability >= queries[number][1]:
                kept[number].setdefault(one.candidate.edit.ref, one)
    return [tuple(one.values()) for one in kept]
