"""One probe's score, from what a model said and from what it gave when it was fed the answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from memedit.errors import InvalidInputError
from memedit.evaluation import forced, matching
from memedit.evaluation.cases import Metric, Probe
from memedit.evaluation.errors_of_answers import judge
from memedit.evaluation.protocols import Forced


class Score(NamedTuple):
    """What goes into a `Scored`."""

    score: float
    verdict: str
    also: Mapping[str, float]


def score_generated(probe: Probe, said: str, base_said: str) -> Score:
    """Score a generated answer: 1 or 0.

    Locality is kept where the answer is the unedited model's own, right or wrong; everything else
    is right where it is one of the probe's answers. `also` holds the looser score "contains" for
    what is compared with answers.
    """
    if probe.metric is Metric.LOCALITY:
        kept = matching.same(said, base_said)
        return Score(float(kept), judge(said, (base_said,)), {})
    right = matching.exact(said, probe.answers)
    # What has to stay is the old answer itself: there, saying the same is no failed edit.
    base = None if probe.metric is Metric.RETENTION else base_said
    verdict = judge(said, probe.answers, base)
    return Score(float(right), verdict, {"contains": float(matching.contains(said, probe.answers))})


def score_forced(probe: Probe, after: Forced, before: Forced | None = None) -> Score:
    """Score the teacher-forced first answer of a probe, between 0 and 1.

    Locality: the share of positions whose argmax the edit left as it was; all else: the share of
    target tokens that are the argmax. `also`: "all_tokens", 1 where that share is 1; and, except
    for locality and for targets of probability 0, "log_probability" of the whole target (natural
    logarithm): one minus infinity would swallow every mean.

    Raises:
        InvalidInputError: locality without `before`, the unedited model's scores.

    """
    if probe.metric is Metric.LOCALITY:
        if before is None:
            raise InvalidInputError("locality needs the unedited model's scores of the same target")
        kept = forced.kept_share(before, after)
        return Score(kept, "", {"all_tokens": float(kept == 1.0)})
    also = {"all_tokens": float(forced.all_right(after))}
    if math.isfinite(total := forced.log_probability(after)):
        also["log_probability"] = total
    return Score(after.accuracy, "", also)
