"""Gold decompositions of multi-hop questions, and how often an agent gets whole chains right.

Source: Zhong et al. 2023, "MQuAKE: Assessing Knowledge Editing in Language Models via Multi-Hop
Questions"; that edits of one case contradict the hops of another is described by Zhong et al. 2025,
"MQuAKE-Remastered".
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from memedit.errors import DatasetError
from memedit.evaluation.formats.base import (
    alternatives,
    as_list,
    as_object,
    filled,
    first,
    named_text,
    read_json,
)
from memedit.evaluation.matching import exact, normalised
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class GoldHop:
    """One hop as it should go once the case's edits hold."""

    question: str
    forms: frozenset[str]
    """The question and the cloze, normalised: what asks for this very fact."""
    answers: tuple[str, ...]
    own: str
    """What a model without edits would say."""
    edited: bool


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another edit of the data set gives this hop another answer than the case expects."""

    hop: int
    question: str
    expected: str
    target: str
    case: str


@dataclass(frozen=True, slots=True)
class GoldChain:
    """One multi-hop question with its edits."""

    id: str
    question: str
    hops: tuple[GoldHop, ...]
    answers: tuple[str, ...]
    requests: tuple[EditRequest, ...]
    conflicts: tuple[Conflict, ...] = ()
    """Not empty: with all edits in memory the expected answer is not what the memory says."""


def read_chains(path: Path) -> list[GoldChain]:
    """Read MQuAKE's cases, each with its first question, and find the corrupted ones.

    Raises:
        DatasetError: the file is not MQuAKE's; names the case and what is missing.

    """
    chains = []
    for number, record in enumerate(as_list(read_json(path))):
        try:
            chains.append(_chain(as_object(record), number))
        except (ValueError, LookupError, TypeError) as error:
            raise DatasetError(f"{path}, case {number} is not MQuAKE's: {error}") from error
    if not chains:
        raise DatasetError(f"{path} holds no list of MQuAKE cases")
    edits: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for chain in chains:
        for request in chain.requests:
            for form in _forms(request.prompt, *request.rephrases):
                edits[form].append((chain.id, request.target_new))
    return [replace(chain, conflicts=tuple(_conflicts(chain, edits))) for chain in chains]


def _chain(case: dict[str, Any], number: int) -> GoldChain:
    requests = []
    for rewrite in map(as_object, as_list(case["requested_rewrite"])):
        question = rewrite.get("question")
        requests.append(
            EditRequest(
                prompt=filled(rewrite["prompt"], rewrite["subject"]) or "",
                subject=rewrite["subject"],
                target_new=first(alternatives(named_text(rewrite["target_new"]))),
                ground_truth=first(alternatives(named_text(rewrite["target_true"]))),
                rephrases=(question,) if question else (),
            )
        )
    if not as_list(case["new_single_hops"]):
        raise ValueError("it has no new_single_hops")
    return GoldChain(
        id=str(case.get("case_id", number)),
        question=str(case["questions"][0]),
        hops=tuple(_hop(as_object(hop), requests) for hop in as_list(case["new_single_hops"])),
        answers=alternatives(case["new_answer"], case.get("new_answer_alias")),
        requests=tuple(requests),
    )


def _hop(hop: dict[str, Any], requests: Sequence[EditRequest]) -> GoldHop:
    forms = _forms(hop["question"], hop.get("cloze") or "")
    answers = alternatives(hop["answer"], hop.get("answer_alias"))
    own = next(
        (one.ground_truth for one in requests if forms & _forms(one.prompt, *one.rephrases)), None
    )
    return GoldHop(
        question=" ".join(str(hop["question"]).split()),
        forms=forms,
        answers=answers,
        own=own if own is not None else str(first(answers) or ""),
        edited=own is not None,
    )


def _forms(*texts: str) -> frozenset[str]:
    return frozenset(normalised(text) for text in texts if text)


def _conflicts(chain: GoldChain, edits: dict[str, list[tuple[str, str]]]) -> list[Conflict]:
    found: dict[tuple[int, str], Conflict] = {}
    for number, hop in enumerate(chain.hops):
        for form in sorted(hop.forms):
            for case, target in edits.get(form, ()):
                if not exact(target, hop.answers):
                    conflict = Conflict(number, hop.question, hop.answers[0], target, case)
                    found.setdefault((number, normalised(target)), conflict)
    return list(found.values())


class Outcome(StrEnum):
    """What became of one chain; of several mistakes the first one counts."""

    RIGHT = "right"
    MISSED = "missed"
    """No edit answered an edited hop."""
    WRONG_EDIT = "wrong_edit"
    """An edit answered an edited hop, but another one."""
    FALSE_ALARM = "false_alarm"
    """An edit answered a hop that no edit of the case touches."""
    BROKEN_OFF = "broken_off"
    """The chain did not come to its end."""


@dataclass(frozen=True, slots=True)
class ChainScore:
    """One chain's outcome, and the hop that went wrong first."""

    chain: GoldChain
    outcome: Outcome
    hop: int | None = None
    answer: str | None = None


def score_chain(
    chain: GoldChain, hops: Sequence[tuple[str | None, bool]], final: str | None
) -> ChainScore:
    """Score one replayed chain.

    Args:
        chain: what should have happened.
        hops: each hop's answer, and whether an edit gave it.
        final: the final answer.

    """
    for number, gold in enumerate(chain.hops):
        if number >= len(hops):
            return ChainScore(chain, Outcome.BROKEN_OFF, number)
        answer, from_edit = hops[number]
        if answer is not None and exact(answer, gold.answers):
            continue
        if gold.edited:
            outcome = Outcome.WRONG_EDIT if from_edit else Outcome.MISSED
        else:
            outcome = Outcome.FALSE_ALARM if from_edit else Outcome.BROKEN_OFF
        return ChainScore(chain, outcome, number, answer)
    if final is None or not exact(final, (*chain.answers, *chain.hops[-1].answers)):
        return ChainScore(chain, Outcome.BROKEN_OFF, len(chain.hops), final)
    return ChainScore(chain, Outcome.RIGHT)


@dataclass(frozen=True, slots=True)
class ChainCounts:
    """How many chains of one length ended how."""

    hops: int | None
    """``None``: all lengths together."""
    n: int
    outcomes: dict[Outcome, int]

    @property
    def right(self) -> float | None:
        """Share of whole chains right, in [0, 1]; ``None`` without chains."""
        return self.outcomes.get(Outcome.RIGHT, 0) / self.n if self.n else None


def count_chains(scores: Sequence[ChainScore]) -> list[ChainCounts]:
    """Count outcomes by length, and over all lengths at the end."""
    lengths = sorted({len(score.chain.hops) for score in scores})
    counts = []
    for length in (*lengths, None):
        those = [one for one in scores if length in (None, len(one.chain.hops))]
        outcomes = Counter(one.outcome for one in those)
        counts.append(ChainCounts(length, len(those), dict(outcomes)))
    return counts
