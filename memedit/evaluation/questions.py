"""What is asked of a case: its probes, far questions of other cases, longer texts, replies."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from memedit.evaluation.cases import EditCase, Metric, Probe, Replies
from memedit.evaluation.datasets import spread
from memedit.evaluation.matching import normalised

GENERAL = "general_ability"
FLUENCY = "fluency"
SENTIMENT = "sentiment"
DIVERGENCE = "kl"
_FAR = ("Out_Of_Distribution", "Distract_Neighbor", "Distracting_Neighbor")


@dataclass(frozen=True, slots=True)
class Amounts:
    """How much is asked beside the probes; part of what makes two runs comparable."""

    max_tokens: int = 64
    """Longest answer."""
    general: int = 2
    """Far questions of other cases for each case."""
    fluent: int = 50
    """Cases, spread evenly over the tasks, whose prompts are continued before and after."""
    fluent_tokens: int = 100
    """Length of such a text."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """One probe to be asked."""

    metric: str
    """A `Metric`, or `general_ability`."""
    probe: Probe


@dataclass(frozen=True, slots=True)
class CaseQuestions:
    """All that is asked of one case."""

    case: EditCase
    questions: tuple[Question, ...]
    fluent: bool
    other: Replies | None = None
    """ConvSent: replies about another topic, on which nothing is to move."""


def questions_of(
    cases: Sequence[EditCase],
    amounts: Amounts,
    among: Sequence[EditCase] | None = None,
    edited: Sequence[EditCase] = (),
) -> list[CaseQuestions]:
    """Choose what is asked, the same every time.

    General ability: far questions of *other* cases with the answers that the data set holds to be
    true, whether or not the unedited model gives them, drawn by `amounts.seed` and the case's id.
    Far are the locality probes about other subjects (`Out_Of_Distribution`, `Distract_Neighbor`),
    those first that name no subject of any edit, so that no other edit in force answers them; and
    where a data set has none, locality probes of cases about another subject.

    Args:
        cases: those that are asked about.
        amounts: how much is asked.
        among: the cases whose far questions are drawn from, `cases` where nothing is said. The
            same ones make several settings of a run ask the same.
        edited: cases beside `among` whose edits are in force.

    """
    among = cases if among is None else among
    pool = _far(among, [*among, *edited])
    fluent = {case.id for case in spread(cases, amounts.fluent)}
    topics = [case for case in cases if case.replies is not None]
    found = []
    for case in cases:
        asked = [Question(probe.metric.value, probe) for probe in case.probes]
        asked += _general(case, pool, amounts)
        found.append(CaseQuestions(case, tuple(asked), case.id in fluent, _another(case, topics)))
    return found


def _far(among: Sequence[EditCase], edited: Sequence[EditCase]) -> list[tuple[EditCase, Probe]]:
    local = [
        (case, probe)
        for case in among
        for probe in case.probes
        if probe.metric is Metric.LOCALITY and probe.answers and case.replies is None
    ]
    far = [one for one in local if one[1].kind in _FAR]
    subjects = {
        _words(name)
        for case in edited
        for request in case.requests
        for name in (request.subject, *request.aliases)
    }
    longest = max(map(len, subjects), default=0)
    apart = [one for one in far if not _names(one[1].prompt, subjects, longest)]
    once = {probe.prompt: (case, probe) for case, probe in apart or far or local}
    return list(once.values())


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", normalised(text)))


def _names(prompt: str, subjects: set[tuple[str, ...]], longest: int) -> bool:
    """Tell whether one of the subjects stands in a prompt, word for word.

    Stricter than `indexes.names`, which is for prompts and overlooks an s: here another name that
    only looks like a subject's plural is another name.
    """
    words = _words(prompt)
    return any(
        words[start : start + length] in subjects
        for length in range(1, longest + 1)
        for start in range(len(words) - length + 1)
    )


def _general(
    case: EditCase, pool: Sequence[tuple[EditCase, Probe]], amounts: Amounts
) -> list[Question]:
    subjects = {normalised(request.subject) for request in case.requests}
    own = {probe.prompt for probe in case.probes}
    rng = random.Random(f"{amounts.seed} {case.id}")  # one of its own: not the process's
    chosen: list[Question] = []
    for other, probe in rng.sample(pool, len(pool)) if amounts.general else ():
        if len(chosen) == amounts.general:
            break
        theirs = {normalised(request.subject) for request in other.requests}
        near = any(subject in normalised(probe.prompt) for subject in subjects)
        if other.id == case.id or theirs & subjects or near or probe.prompt in own:
            continue
        chosen.append(Question(GENERAL, replace(probe, metric=Metric.RETENTION)))
    return chosen


def _another(case: EditCase, topics: Sequence[EditCase]) -> Replies | None:
    """Return the replies of the next topic."""
    if case.replies is None:
        return None
    place = next(number for number, one in enumerate(topics) if one.id == case.id)
    for other in (*topics[place + 1 :], *topics[:place]):
        if other.replies is not None and other.replies.prompt != case.replies.prompt:
            return other.replies
    return None
