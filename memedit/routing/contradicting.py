"""Edits that answer one prompt differently: which of them speaks, and which are left out for it.

Only edits of one subject with different answers can contradict each other, and most of them do not:
a prompt may ask two things of one subject, and a fact may have several answers.  So nothing is left
out unless

- the prompt is literally that of one edit: what else is said about the subject is then an answer to
  something else, or to the same in other words; or
- the scope classifier says of each of two edits that it answers the other one's prompt, and the
  prompt neither joins questions ("and") nor asks for several answers ("which languages").

Erasures are neither left out nor a reason to leave anything out.  What an edit only implies about
its target gives way to what another one states of it, and a prompt is never its own.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Final

from memedit.memory.asking import asked_by, prompts_of
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.types import Candidate, Edit, Operation, QueryText, ScopeDecision, ScopeLabel

CLEAR: Final = 0.1
"""By how much one probability must exceed another one to decide which of two edits speaks."""
MOST: Final = 12
"""Edits of one prompt that are compared with each other: the most probable ones."""

_JOINED: Final = re.compile(
    r"\b(?:and|or|also|plus|both|each|along with|as well as)\b|[;&]"
    r"|[?].*\b(?:how|what|when|where|which|who(?:m|se)?)\b",
    re.DOTALL,
)
"""In a prompt without its subject: it may ask several things."""
_SEVERAL: Final = re.compile(
    r"\b(?:which|what)(?: (?:all|other|official|different))? (?!is\b|was\b|does\b|has\b)"
    r"[\w-]*[^\Ws_]s\b"
    r"|\b(?:who|what|which(?: [\w-]+){1,3}) (?:are|were)\b|\b(?:are|were)\W*$"
    r"|\b(?:all|also|among|another|includ(?:es?|ing)|list|one of|others?|several|some)\b"
    r"|\b(?:awards?|borders?|bordering|brothers?|child|children|daughters?|members?"
    r"|neighbou?r(?:s|ing)?|siblings?|sisters?|sons?)\b"
)
"""In a prompt: it may have several answers that are true together."""
_SENTENCES: Final = re.compile(r"[.!?]\s+(?=\S)")

NOTE: Final = "left-out"
"""Begins a note: an edit is not applied; behind colons stand which one, and why another speaks."""
Pair = frozenset[str]
"""Two edits, each as ``id@version``."""


class Why(StrEnum):
    """Why an edit speaks in the place of another one."""

    OWN_PROMPT = "own_prompt"
    """The prompt is literally its own, one of its rephrases, or one of these by an alias."""
    NAMESPACE = "namespace"
    """Its namespace was named first."""
    PROBABILITY = "probability"
    """It is clearly the more probable one; of edits written at once the more probable one."""
    STATED = "stated"
    """It states the answer; the other one is about another subject, and implies it."""
    NEWEST = "newest"
    LONGER_NAME = "longer_name"
    """Its name stands in the prompt, and that of the other one only as a part of it."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """An edit that concerns a prompt, and is not applied to it."""

    edit: str
    """``id@version``."""
    by: str
    """``id@version`` of the edit that speaks in its place."""
    why: Why


def said_of(left_out: Sequence[LeftOut]) -> str | None:
    """Return the notes that say what was left out, with commas between; ``None``: nothing was."""
    return ",".join(f"{NOTE}:{one.edit}:{one.why.value}" for one in left_out) or None


class Contest:
    """The edits that concern one prompt.

    Args:
        prompt: what is asked.
        concerned: the edits that concern it, most probable first, no two with the same prompt.
        namespaces: as the request names them.

    """

    def __init__(
        self, prompt: str, concerned: Sequence[ScopeDecision], namespaces: Sequence[str]
    ) -> None:
        asked = asked_by(prompt)
        rank = {namespace: number for number, namespace in enumerate(namespaces)}
        speaking = [
            one
            for one in concerned[:MOST]
            if one.candidate.edit.request.operation is not Operation.ERASE
        ]
        self._own = {
            _ref(one)
            for one in speaking
            if not one.candidate.turned and asked in prompts_of(one.candidate.edit)
        }
        # what an edit's own prompt asks is said by that edit, so that nothing has to lead to it
        self._contesting = [one for one in speaking if one.label is ScopeLabel.DIRECT or self._own]
        self._rank = {
            _ref(one): rank.get(one.candidate.edit.namespace, len(rank)) for one in speaking
        }
        self._asked = asked

    def doubtful(self) -> Iterator[tuple[Edit, Edit]]:
        """Yield the pairs of which it must be judged whether they answer the same."""
        for one, other in combinations(self._contesting, 2):
            if self._may_contradict(one, other) and not self._settled_by_prompt(one, other):
                pair = one.candidate.edit, other.candidate.edit
                names = [name for edit in pair for name in _names(edit)]
                told = any(_SENTENCES.search(edit.request.prompt) for edit in pair)
                if not told and not joins_questions(self._asked, names):
                    yield pair

    def left_out(self, same: Collection[Pair]) -> tuple[LeftOut, ...]:
        """Return what is left out, where the pairs in ``same`` answer the same."""
        # what was judged for another prompt settles nothing here, where it may be asked otherwise
        same = {frozenset(edit.ref for edit in pair) for pair in self.doubtful()} & set(same)
        out: list[LeftOut] = []
        remaining = sorted(
            self._contesting, key=lambda one: (_ref(one) not in self._own, -one.direct)
        )
        while remaining:
            first = remaining[0]
            rivals = [one for one in remaining[1:] if self._contradict(first, one, same)]
            winner = self._speaker([first, *rivals])
            losers = [
                one
                for one in remaining
                if one is not winner and self._contradict(winner, one, same)
            ]
            out += [LeftOut(_ref(one), _ref(winner), self._why(winner, one)) for one in losers]
            remaining = [one for one in remaining if one is not winner and one not in losers]
        return tuple(out)

    def _may_contradict(self, one: ScopeDecision, other: ScopeDecision) -> bool:
        """Tell whether two edits are about one subject, and say what cannot both be the answer."""
        edits = one.candidate.edit, other.candidate.edit
        if _names(edits[0]).isdisjoint(_names(edits[1])):
            return False
        answers = [set(asked_by(edit.request.target_new).split()) for edit in edits]
        if answers[0] <= answers[1] or answers[1] <= answers[0]:
            return False
        if _has_several(self._asked):
            return False
        return not all(_has_several(asked_by(edit.request.prompt)) for edit in edits)

    def _settled_by_prompt(self, one: ScopeDecision, other: ScopeDecision) -> bool:
        mine, others = _ref(one), _ref(other)
        return self._rank[mine] == self._rank[others] and not self._own.isdisjoint((mine, others))

    def _contradict(self, one: ScopeDecision, other: ScopeDecision, same: Collection[Pair]) -> bool:
        if not self._may_contradict(one, other):
            return False
        return self._settled_by_prompt(one, other) or frozenset((_ref(one), _ref(other))) in same

    def _speaker(self, rivals: Sequence[ScopeDecision]) -> ScopeDecision:
        """Return who speaks among edits that contradict the first of them."""
        ahead = min(self._rank[_ref(one)] for one in rivals)
        left = [one for one in rivals if self._rank[_ref(one)] == ahead]
        left = [one for one in left if not one.candidate.turned] or left
        own = [one for one in left if _ref(one) in self._own]
        if own:
            left = own
        else:
            best = max(one.direct for one in left)
            left = [one for one in left if one.direct >= best - CLEAR]
        return min(
            left,
            key=lambda one: (-_written(one), -one.direct, one.candidate.edit.id),
        )

    def _why(self, winner: ScopeDecision, loser: ScopeDecision) -> Why:
        if self._rank[_ref(winner)] != self._rank[_ref(loser)]:
            return Why.NAMESPACE
        if (_ref(winner) in self._own) and _ref(loser) not in self._own:
            return Why.OWN_PROMPT
        if loser.candidate.turned and not winner.candidate.turned:
            return Why.STATED
        newer = _written(winner) > _written(loser)
        clear = _ref(winner) not in self._own and winner.direct > loser.direct + CLEAR
        return Why.PROBABILITY if clear or not newer else Why.NEWEST


def answering_the_same(
    pairs: Iterable[tuple[Edit, Edit]], encoder: Encoder, classifier: ScopeClassifier
) -> set[Pair]:
    """Judge which pairs of edits answer the same: each of both the prompt of the other.

    All are judged in one batch; where there is no pair nothing is encoded or judged.
    """
    unsure = {frozenset(edit.ref for edit in pair): pair for pair in pairs}
    if not unsure:
        return set()
    prompts = {edit.request.prompt: None for pair in unsure.values() for edit in pair}
    vectors = dict(zip(prompts, encoder.encode([*prompts]), strict=True))
    asked: list[ScopeInput] = []
    for one, other in unsure.values():
        near = float(vectors[one.request.prompt] @ vectors[other.request.prompt])
        for asking, answering in ((one, other), (other, one)):
            candidate = Candidate(answering, near, answering.request.prompt, named=True)
            asked.append(ScopeInput(QueryText(asking.request.prompt), (candidate,)))
    said = [
        decision.label is ScopeLabel.DIRECT and decision.direct >= classifier.threshold
        for [decision] in classifier.classify(asked)
    ]
    both = zip(unsure, said[::2], said[1::2], strict=True)
    return {pair for pair, one, other in both if one and other}


def joins_questions(prompt: str, names: Sequence[str]) -> bool:
    """Tell whether a prompt may ask several things; an "and" of one of the names joins none."""
    return (
        _JOINED.search(_without(asked_by(prompt), [asked_by(name) for name in names])) is not None
    )


def _has_several(asked: str) -> bool:
    """Tell whether what a text asks at its end may have several true answers."""
    return _SEVERAL.search(_SENTENCES.split(asked)[-1]) is not None


def _ref(decision: ScopeDecision) -> str:
    return decision.candidate.edit.ref


def _written(decision: ScopeDecision) -> float:
    return decision.candidate.edit.created_at.timestamp()


def _names(edit: Edit) -> set[str]:
    return {asked_by(name) for name in (edit.request.subject, *edit.request.aliases)}


def _without(text: str, names: Sequence[str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, " ") if name else text
    return text
