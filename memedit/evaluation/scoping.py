"""How well prompts are told apart: which edit fires on which, with all edits in memory at once.

Nothing here knows a classifier: it is given, for each prompt, the edits that were judged and with
which probabilities, and counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memedit.errors import InvalidInputError
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.evaluation.rivals import LiveEdits
from memedit.evaluation.scope_numbers import Floats, auroc, calibration_error, chosen_threshold
from memedit.types import EditRequest, ScopeLabel

_FIRING = frozenset({Metric.GENERALITY, Metric.PORTABILITY, Metric.MULTIHOP})


@dataclass(frozen=True, slots=True)
class Judged:
    """One edit that was judged beside a prompt; ``edit`` is its position in memory."""

    edit: int
    direct: float
    dependent: float

    @property
    def probability(self) -> float:
        """The probability that the edit concerns the prompt at all."""
        return self.direct + self.dependent


@dataclass(frozen=True, slots=True)
class ScopeProbe:
    """A prompt, the edits that should fire on it (none: nothing should), and where it is from."""

    text: str
    kind: str
    own: frozenset[int]
    where: str
    faulty: bool = False
    """By the cleaning rule it may well ask what an edit changes; see ``rivals``."""
    case: int = 0
    """The position of the case that it is from."""
    label: ScopeLabel | None = None
    """``DIRECT`` where the edit is the answer, ``DEPENDENT`` where it is one hop of it; ``None``:
    the data set does not say."""


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """What was counted of one kind of prompt at one threshold."""

    kind: str
    n: int
    auroc: float | None
    """Of this kind against the cleaned unrelated prompts; None for unrelated kinds."""
    calibration_error: float
    """Of the most probable edit's probability to be the own one; see ``calibration_error``.  Of a
    kind that should fire together with the cleaned unrelated prompts, as ``auroc`` is."""
    recall: float | None
    """Fires, and the own edit is the most probable one or is among those applied."""
    own_edit: float | None
    """Of the prompts on which something fires: those on which the own edit is the most probable."""
    right_label: float | None
    """Of the recalled prompts: those whose own edit is ``direct`` where it is the answer, or
    ``dependent`` where it is one hop of it.  None where the data set does not say which."""
    false_alarms: float | None
    """Of an unrelated kind: the share on which anything fires."""
    threshold: float
    threshold_from: str
    """``file``: set on the cleaned unrelated prompts of these very files; ``shipped``: fixed."""
    accepted: float | None
    """The share of false alarms that the threshold was set for; None for the shipped one."""
    cleaned: bool
    edits_in_memory: int


def scope_probes(
    cases: Sequence[EditCase],
    asked: Callable[[EditCase], bool] = lambda case: True,
    further: Sequence[EditRequest] = (),
) -> tuple[list[EditRequest], list[ScopeProbe]]:
    """Return the edits of all cases, in order, and the prompts that are asked with them in memory.

    An edit of the same subject as the prompt's own counts as its own where it has the same target
    or the same old answer: it is of the same fact, which files edit twice.  A prompt that nothing
    should fire on is faulty where it names the subject of any edit in memory and may ask
    what that changes.  Prompts come from the cases for which ``asked`` is true, edits from all;
    ``further`` are others that may be in memory beside them, and what edits imply.
    """
    edits = [request for case in cases for request in case.requests]
    alike: dict[tuple[str, str, str], set[int]] = defaultdict(set)
    live = LiveEdits([*edits, *further])
    for number, edit in enumerate(edits):
        for key in _facts(edit):
            alike[key].add(number)
    probes = []
    first = 0
    for position, case in enumerate(cases):
        mine = case.requests
        own = frozenset().union(
            range(first, first + len(mine)),
            *(alike[key] for edit in mine for key in _facts(edit)),
        )
        first += len(mine)
        for number, probe in enumerate(case.probes if asked(case) else ()):
            where = f"{case.id}.{probe.kind or probe.metric.value}[{number}]"
            kind = probe.kind or probe.metric.value
            if probe.metric in _FIRING:
                label = _label_of(probe)
                probes.append(
                    ScopeProbe(probe.prompt, kind, own, where, case=position, label=label)
                )
            elif probe.metric is Metric.LOCALITY:
                faulty = live.asked_by(probe, mine)
                probes.append(ScopeProbe(probe.prompt, kind, frozenset(), where, faulty, position))
    return edits, probes


def _facts(edit: EditRequest) -> Iterator[tuple[str, str, str]]:
    """By what an edit is known to be of the same fact as another one."""
    subject = edit.subject.casefold()
    yield subject, "to", edit.target_new.casefold()
    if edit.ground_truth is not None:
        yield subject, "from", edit.ground_truth.casefold()


def _label_of(probe: Probe) -> ScopeLabel | None:
    if probe.metric is Metric.GENERALITY:
        return ScopeLabel.DIRECT
    if probe.metric is Metric.MULTIHOP or probe.kind == "Reasoning":
        return ScopeLabel.DEPENDENT
    return None


def measure_scope(
    probes: Sequence[ScopeProbe],
    judge: Callable[[Sequence[str]], Sequence[Sequence[Judged]]],
    *,
    edits: int,
    shipped: float,
    false_alarms: Sequence[float] = (0.01,),
    max_edits: int = 4,
) -> list[ScopeRow]:
    """Count every kind at the shipped threshold and at those these files would choose.

    Args:
        probes: the prompts.
        judge: maps prompts to the edits that were judged beside each.
        edits: how many are in memory, for the rows.
        shipped: the classifier's fixed threshold.
        false_alarms: the shares of cleaned unrelated prompts that may fire when a threshold is
            chosen on these very files, one after the other.
        max_edits: edits applied to one prompt at most.

    Raises:
        InvalidInputError: there is no prompt, or no unrelated one to choose a threshold on.

    """
    if not probes:
        raise InvalidInputError("the data set has no probes to ask")
    judged = judge([probe.text for probe in probes])
    tops = [max(each, key=lambda one: one.probability, default=None) for each in judged]
    best = np.array([0.0 if top is None else top.probability for top in tops])
    true = np.array(
        [top is not None and top.edit in one.own for one, top in zip(probes, tops, strict=True)]
    )
    clean = np.array([not probe.own and not probe.faulty for probe in probes])
    if not clean.any():
        raise InvalidInputError(
            "the data set has no unrelated prompts, so no threshold can be chosen on it; add a "
            "file that has some (FORMAT:FILE,FILE)"
        )
    thresholds: list[tuple[str, float | None, float]] = [
        ("file", rate, chosen_threshold(best[clean], rate)) for rate in false_alarms
    ]
    rows = []
    for name, rate, threshold in (*thresholds, ("shipped", None, shipped)):
        for kind, cleaned in _groups(probes):
            at = [
                i
                for i, probe in enumerate(probes)
                if probe.kind == kind and not (cleaned and probe.faulty)
            ]
            beside = at + np.flatnonzero(clean).tolist() if probes[at[0]].own else at
            rows.append(
                _row(
                    kind, [probes[i] for i in at], [judged[i] for i in at], best[at], best[clean],
                    {"calibration_error": calibration_error(best[beside], true[beside]),
                     "threshold": threshold, "threshold_from": name, "accepted": rate,
                     "cleaned": cleaned, "edits_in_memory": edits},
                    max_edits,
                )
            )  # fmt: skip
    return rows


def recall_curves(
    probes: Sequence[ScopeProbe], judged: Sequence[Sequence[Judged]]
) -> dict[str, list[tuple[float, float]]]:
    """Return (share of cleaned unrelated prompts that fire, recall) at every threshold, by kind.

    Recall is that of the rows, without their limit on how many edits are applied; no threshold is
    chosen here.

    Args:
        probes: the prompts.
        judged: of each prompt, the edits that were judged beside it.

    Raises:
        InvalidInputError: there is no unrelated prompt.

    """
    best = np.array([max((one.probability for one in each), default=0.0) for each in judged])
    unrelated = np.sort(best[[not probe.own and not probe.faulty for probe in probes]])
    if not len(unrelated):
        raise InvalidInputError("the data set has no unrelated prompts to draw recall against")
    curves = {}
    for kind in dict.fromkeys(probe.kind for probe in probes if probe.own):
        mine = np.sort(
            [
                _recalled_up_to(probe, each)
                for probe, each in zip(probes, judged, strict=True)
                if probe.own and probe.kind == kind
            ]
        )
        steps = np.unique(np.concatenate([unrelated, mine[mine >= 0]]))
        alarms = 1 - np.searchsorted(unrelated, steps) / len(unrelated)
        recalled = 1 - np.searchsorted(mine, steps) / len(mine)
        pairs = zip(alarms.tolist(), recalled.tolist(), strict=True)
        curves[kind] = [(0.0, 0.0), *sorted(set(pairs))]
    return curves


def _recalled_up_to(probe: ScopeProbe, judged: Sequence[Judged]) -> float:
    """Return the highest threshold at which a prompt is recalled; -1 where it never is."""
    if not judged:
        return -1.0
    best = max(judged, key=lambda one: one.probability)
    if best.edit in probe.own:
        return best.probability
    through = (one.probability for one in judged if one.dependent > one.direct
               and one.edit in probe.own)  # fmt: skip
    return max(through, default=-1.0)


def _groups(probes: Sequence[ScopeProbe]) -> list[tuple[str, bool]]:
    """Return the kinds, each raw, and cleaned too where that leaves prompts out."""
    groups = []
    for kind in dict.fromkeys(probe.kind for probe in probes):
        groups.append((kind, False))
        mine = [probe for probe in probes if probe.kind == kind]
        if any(probe.faulty for probe in mine) and not all(probe.faulty for probe in mine):
            groups.append((kind, True))
    return groups


def _row(
    kind: str,
    probes: Sequence[ScopeProbe],
    judged: Sequence[Sequence[Judged]],
    best: Floats,
    unrelated: Floats,
    common: Mapping[str, Any],
    max_edits: int,
) -> ScopeRow:
    threshold = float(common["threshold"])
    fires = best >= threshold
    if not probes[0].own:
        return ScopeRow(
            kind, len(probes), auroc=None, recall=None, own_edit=None, right_label=None,
            false_alarms=float(fires.mean()), **common,
        )  # fmt: skip
    recalled, owned, labelled = 0, 0, 0
    for probe, each, firing in zip(probes, judged, fires.tolist(), strict=True):
        if not firing:
            continue
        ranked = sorted(each, key=lambda one: -one.probability)
        applied = [one for one in ranked if one.probability >= threshold]
        # direct ones are applied before dependent ones, as routing does
        applied.sort(key=lambda one: one.direct < one.dependent)
        owned += ranked[0].edit in probe.own
        if ranked[0].edit in probe.own or any(
            one.edit in probe.own for one in applied[:max_edits] if one.dependent > one.direct
        ):
            recalled += 1
            own_one = next(one for one in ranked if one.edit in probe.own)
            labelled += (own_one.direct >= own_one.dependent) is (probe.label is ScopeLabel.DIRECT)
    own = owned / int(fires.sum()) if fires.any() else None
    return ScopeRow(
        kind, len(probes), auroc=auroc(best, unrelated), recall=recalled / len(probes),
        own_edit=own, false_alarms=None, **common,
        right_label=labelled / recalled if recalled and probes[0].label is not None else None,
    )  # fmt: skip
