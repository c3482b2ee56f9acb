"""A trained detector tried as it is used: all edits of a split in memory, and questions put to it.

What comes of it gives the settings of the detector (on the validation split), and what is reported
of it (on the subjects that were kept out).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from memedit.errors import InvalidInputError
from memedit.scope.base import Encoder, ScopeInput
from memedit.scope.platt import fit_platt, threshold_for
from memedit.scope.pokemqa import PokemqaScope, PokemqaSettings, Stages, plain
from memedit.scope.training.scope_data import Known
from memedit.types import Candidate, Edit, QueryText

CANDIDATES: Final = 5
"""What ``scope.candidates`` is by default."""
STAY: Final = 0.99
"""Share of the questions whose edit has to get into the second stage."""
MOST: Final = 250
"""Questions that are tried, spread evenly; each twice: with its edit in memory, and without."""
_AT_ONCE: Final = 64

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Trial:
    """One prompt with the candidates that a search brings up, and what should become of it."""

    given: ScopeInput
    own: frozenset[int]
    """Places of candidates that should fire."""
    kind: str
    """``question``, ``blocked`` (its edit is not in memory) or ``unrelated``, which none should
    fire on."""


def trials_of(known: Sequence[Known], encoder: Encoder, most: int = MOST) -> list[Trial]:
    """Put the edits into a memory and ask; own prompts, which are certain, are not asked."""
    if not known:
        return []
    edits = [_stored(one, i) for i, one in enumerate(known)]
    told = np.stack([encoder.encode([one.request.prompt, one.edit]) for one in known])
    groups = np.array([one.group for one in known])
    asked = [(question, i) for i, one in enumerate(known) for question in one.others]
    answered = {plain(question) for one in known for question in one.questions}
    near = [
        (text, i)
        for i, one in enumerate(known)
        for text in one.unrelated
        if plain(text) not in answered
    ]
    trials = []
    for kind, prompts in (("question", _spread(asked, most)), ("unrelated", _spread(near, most))):
        for text, i in prompts:
            similarity = (told @ encoder.encode([text])[0]).max(axis=1)  # [n_edits]
            trials.append(_trial(text, edits, similarity, kind, groups == groups[i]))
            if kind == "question":
                without = np.where(groups == groups[i], -np.inf, similarity)
                trials.append(_trial(text, edits, without, "blocked", groups < 0))
    return trials


def _stored(one: Known, number: int) -> Edit:
    return Edit(
        id=f"e-{number:012d}",
        version=1,
        namespace="default",
        request=one.request,
        statement=one.request.plain_statement(),
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def _spread(prompts: Sequence[tuple[str, int]], most: int) -> list[tuple[str, int]]:
    places = np.linspace(0, len(prompts) - 1, min(most, len(prompts))).round().astype(int)
    return [prompts[place] for place in places.tolist()]


def _trial(
    text: str,
    edits: Sequence[Edit],
    similarity: npt.NDArray[np.float32],
    kind: str,
    own: npt.NDArray[np.bool_],
) -> Trial:
    order = [i for i in np.argsort(-similarity, kind="stable")[:CANDIDATES].tolist()]
    found = [i for i in order if np.isfinite(similarity[i])]
    candidates = tuple(Candidate(edits[i], float(similarity[i]), edits[i].statement) for i in found)
    mine = kind == "question"
    places = frozenset(place for place, i in enumerate(found) if mine and own[i])
    return Trial(ScopeInput(QueryText(text), candidates), places, kind)


def settled(detector: PokemqaScope, trials: Sequence[Trial], rate: float) -> PokemqaSettings:
    """Choose the settings of a detector whose own let every candidate into the second stage.

    - ``stays``: so that ``STAY`` of the questions get into the second stage with their edit, and
      0.5, the paper's, at most;
    - ``slope`` and ``intercept``: Platt's, of the candidates that then stay;
    - ``threshold``: at least 0.5, and so that at most ``rate`` of the prompts fire wrongly.

    Raises:
        InvalidInputError: the second stage has learned nothing.

    """
    stages = list(_stages(detector, trials))
    own = [row[i].near for trial, row in zip(trials, stages, strict=True) for i in trial.own]
    stays = min(0.5, float(np.quantile(own, 1 - STAY)))
    judged = [
        (one.near, one.logit, place in trial.own)
        for trial, row in zip(trials, stages, strict=True)
        for place, one in enumerate(row)
        if one.logit is not None
    ]
    # where nothing else stays, what would not have stayed has to do
    least = stays if any(near >= stays and not right for near, _, right in judged) else 0.0
    by_right = [
        np.array([logit for near, logit, kind in judged if kind is right and near >= least])
        for right in (True, False)
    ]
    try:
        slope, intercept = fit_platt(*by_right)
    except InvalidInputError as error:
        raise InvalidInputError(
            f"the second stage does not tell what is in scope from what is not ({error}); train it "
            "for more steps, or give more data"
        ) from error
    chosen = replace(
        detector.settings, stays=stays, slope=slope, intercept=intercept, threshold=0.5
    )
    best = _best(chosen, stages)
    none = np.array([trial.kind != "question" for trial in trials])
    # a little above, so that rounding lets nothing more through
    threshold = min(max(threshold_for(best[none], rate) + 1e-4, 0.5), 0.99)
    return replace(chosen, threshold=round(threshold, 4))


def measured(detector: PokemqaScope, trials: Sequence[Trial]) -> dict[str, Any]:
    """Return, by kind, how many prompts there are and on which share an edit fires.

    Of questions also on which share the right one does, and which share the first stage drops.
    """
    stages = list(_stages(detector, trials))
    best = _best(detector.settings, stages)
    table: dict[str, Any] = {}
    for kind in dict.fromkeys(trial.kind for trial in trials):
        mine = [i for i, trial in enumerate(trials) if trial.kind == kind]
        row: dict[str, Any] = {
            "n": len(mine),
            "fires": round(float((best[mine] >= detector.threshold).mean()), 4),
        }
        if kind == "question":
            right = [
                best[i] >= detector.threshold
                and int(np.argmax([_p(detector.settings, one) for one in stages[i]]))
                in trials[i].own
                for i in mine
            ]
            lost = [not any(stages[i][at].logit is not None for at in trials[i].own) for i in mine]
            row |= {
                "right_edit": round(float(np.mean(right)), 4),
                "dropped": round(float(np.mean(lost)), 4),
            }
        table[kind] = row
    return table


def _stages(detector: PokemqaScope, trials: Sequence[Trial]) -> Iterator[list[Stages]]:
    for first in range(0, len(trials), _AT_ONCE):
        yield from detector.stages([trial.given for trial in trials[first : first + _AT_ONCE]])


def _best(settings: PokemqaSettings, stages: Sequence[Sequence[Stages]]) -> Floats:
    return np.array([max((_p(settings, one) for one in row), default=0.0) for row in stages])


def _p(settings: PokemqaSettings, one: Stages) -> float:
    if one.logit is None or one.near < settings.stays:
        return 0.0
    return settings.probability(one.logit)
