"""A calibration on somebody's own traffic: what was asked, what came of it, what follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memedit.cli import traffic
from memedit.cli.traffic import Asked
from memedit.errors import InvalidInputError
from memedit.scope.operating import OperatingPoint, Scores, curve, point_at, point_for

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.memory import EditMemory
    from memedit.routing import Route

SETTING = "scope.threshold"
VARIABLE = "MEMEDIT_SCOPE__THRESHOLD"

Decided = Sequence[tuple[Asked, "Route"]]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What a calibration found."""

    classifier: str
    encoder: str
    namespaces: tuple[str, ...]
    edits: int
    ordinary: Decided
    positives: Mapping[str, Decided]
    """By kind, in the order of the tables."""
    now: OperatingPoint
    """At the threshold in force."""
    points: tuple[OperatingPoint, ...]
    """One per accepted rate."""
    own: tuple[Mapping[str, float], ...]
    """Of ``now`` and each point, by kind: the share to which the very edit is applied."""
    notes: tuple[str, ...]

    def curves(self) -> dict[str, list[tuple[float, float]]]:
        """Return what the plot draws: by kind, shares that fire at every threshold."""
        negatives = _scores(self.ordinary)
        return {kind: curve(negatives, _scores(asked)) for kind, asked in self.positives.items()}

    def nearest(self, n: int) -> list[dict[str, Any]]:
        """Return the ordinary prompts that are most probably concerned, each once."""
        once = {one.text: (one, route) for one, route in self.ordinary if route.considered}
        ordered = sorted(once.values(), key=lambda each: -traffic.probability(each[1]))
        return [
            {
                "prompt": one.text,
                "probability": traffic.probability(route),
                "edit": route.considered[0].candidate.edit.ref,
                "statement": route.considered[0].candidate.edit.statement,
            }
            for one, route in ordered[:n]
        ]

    def advice(self) -> list[str]:
        """Say where to put each threshold that the prompts bear out."""
        lines = []
        for point in self.points:
            if point.threshold is None or not (point.resolved and point.binding):
                continue
            if self._as_good(point):
                lines.append(
                    f"for {point.accepted:.4g} false alarms the threshold in force, "
                    f"{self.now.threshold:.4g}, can stay: it keeps to that, and the lower one "
                    f"({point.threshold:.4g}) makes no more of these prompts fire that should"
                )
            else:
                lines.append(
                    f"for {point.accepted:.4g} false alarms: {SETTING} = {point.threshold:.16g} "
                    f"([scope] threshold in memedit.toml, or {VARIABLE}={point.threshold:.16g}), "
                    f"with the classifier {self.classifier}; so few prompts leave room for up to "
                    f"{point.false_alarms.high:.2g}, at 95%, and say nothing of prompts unlike them"
                )
        return lines

    def _as_good(self, point: OperatingPoint) -> bool:
        """Whether a lower threshold brings nothing that the one in force does not."""
        now = self.now
        if now.threshold is None or point.threshold is None or point.accepted is None:
            return False
        kept = point.threshold < now.threshold and now.false_alarms.share <= point.accepted
        return kept and all(
            share.share <= now.fires[kind].share for kind, share in point.fires.items()
        )

    def record(self) -> dict[str, Any]:
        """Return everything as JSON-ready values."""
        shown = [
            _shown(point, own)
            for point, own in zip((self.now, *self.points), self.own, strict=True)
        ]
        return {
            "classifier": self.classifier,
            "encoder": self.encoder,
            "namespaces": list(self.namespaces),
            "edits": self.edits,
            "ordinary": len(self.ordinary),
            "setting": SETTING,
            "environment": VARIABLE,
            "in_force": shown[0],
            "points": shown[1:],
            "nearest": self.nearest(20),
            "notes": list(self.notes),
        }


def calibrated(
    memory: EditMemory,
    settings: Settings,
    file: Path,
    namespaces: tuple[str, ...],
    rates: Sequence[float],
    *,
    most_edits: int,
    tell: Callable[[int, int], None],
) -> Calibrated:
    """Ask a file's prompts, and what should fire, and choose a threshold for each rate.

    Args:
        memory: whose edits may fire.
        settings: of the road that requests take.
        file: ordinary prompts, and perhaps some that should fire.
        namespaces: those of the requests.
        rates: of false alarms, in [0, 1).
        most_edits: edits whose own prompts and rephrases are asked, where the file marks none.
        tell: called with (prompts decided, in all), part by part.

    Raises:
        InvalidInputError: no ordinary prompts, no live edits, or a line that cannot be used.

    """
    from memedit.scope.catalog import open_classifier
    from memedit.wiring import open_router

    live = traffic.live_edits(memory, namespaces)
    read = traffic.read_traffic(file, frozenset(edit.id for edit in live))
    ordinary = [one for one in read.asked if one.kind == traffic.ORDINARY]
    if not ordinary:
        raise InvalidInputError(
            f"{file} holds no ordinary prompts, on which false alarms could be counted; give "
            "traffic that no edit should touch, one prompt a line"
        )
    router = open_router(memory, settings)
    name, given = settings.scope.classifier, settings.scope.threshold
    classifier = open_classifier(
        name, memory.encoder, threshold=given, weights=settings.scope_weights
    )
    positives: dict[str, Decided] = {}
    wanted = [one for one in read.asked if one.kind == traffic.GIVEN]
    chosen = [] if wanted else traffic.spread(live, most_edits)
    wanted = wanted or traffic.own_prompts(chosen)
    routes = traffic.routed(router, [*ordinary, *wanted], namespaces, tell)
    negatives = list(zip(ordinary, routes, strict=False))
    positives[wanted[0].kind] = list(zip(wanted, routes[len(ordinary) :], strict=True))
    if any(edit.request.rephrases for edit in chosen):
        with traffic.without_rephrases(live, memory, settings, tell) as (unknowing, ids):
            asked = traffic.rephrases(chosen, ids)
            found = traffic.routed(unknowing, asked, namespaces, tell)
        if asked:
            positives[traffic.REPHRASED] = list(zip(asked, found, strict=True))
    below = _scores(negatives)
    above = {kind: _scores(each) for kind, each in positives.items()}
    now = point_at(below, above, classifier.threshold)
    points = tuple(point_for(below, above, rate) for rate in rates)
    own = tuple(
        _own(positives, point.threshold, settings.scope.max_edits, namespaces)
        for point in (now, *points)
    )
    notes = (
        *([classifier.note] if classifier.note else []),
        *_notes(read, negatives, positives, points),
    )
    return Calibrated(
        name,
        memory.encoder.fingerprint,
        namespaces,
        len(live),
        negatives,
        positives,
        now,
        points,
        own,
        notes,
    )


def _scores(asked: Decided) -> Scores:
    return Scores.of(
        [traffic.probability(route) for _, route in asked],
        [one.edit or one.text for one, _ in asked],
    )


def _own(
    positives: Mapping[str, Decided],
    threshold: float | None,
    max_edits: int,
    namespaces: tuple[str, ...],
) -> dict[str, float]:
    from memedit.routing.selection import selected

    shares = {}
    for kind, asked in positives.items():
        known = [(one, route) for one, route in asked if one.edit is not None]
        if not known:
            continue
        right = 0
        for one, route in known if threshold is not None else []:
            chosen = selected(
                one.query.text,
                route.considered,
                threshold or 0.0,
                max_edits,
                namespaces,
                context=one.query.context,
            )
            right += any(each.candidate.edit.id == one.edit for each in chosen.applied)
        shares[kind] = right / len(known)
    return shares


def _notes(
    read: traffic.Traffic,
    ordinary: Decided,
    positives: Mapping[str, Decided],
    points: Sequence[OperatingPoint],
) -> list[str]:
    notes = []
    distinct = len({one.text for one, _ in ordinary})
    for point in points:
        rate = f"{point.accepted:.4g}"
        if point.needed:
            notes.append(
                f"{distinct} different prompts cannot resolve {rate} false alarms: that is less "
                f"than one of them. At least {point.needed:,} are needed, ten times as many for a "
                "narrow interval. The threshold shown lies above all of them, and the true rate "
                f"may be up to {point.false_alarms.high:.3f}"
            )
        elif point.threshold is None:
            notes.append(
                f"no threshold keeps to {rate} false alarms: more of the prompts than that have "
                "the probability 1; do they ask what edits answer?"
            )
        elif not point.binding:
            notes.append(
                f"these prompts ask for no threshold: at {rate} all the others have a probability "
                "below 0.01, so the one in force can stay"
            )
    if read.unread:
        told = "1 conversation asks" if read.unread == 1 else f"{read.unread} conversations ask"
        notes.append(f"{told} nothing in words; what asks nothing passes, and is not counted")
    stored = sum(
        any(one.text.casefold() == each.candidate.matched.casefold() for each in route.considered)
        for one, route in ordinary
    )
    if stored:
        notes.append(
            f"{stored} ordinary prompts are word for word stored with an edit, and count as false "
            'alarms; mark them with "should_fire": true if they are meant'
        )
    if set(positives) == {traffic.STORED}:
        notes.append(
            "no rephrases are stored and the file marks no prompt that should fire, so recall is "
            "that of prompts the memory knows word for word, which says little"
        )
    return notes


def _shown(point: OperatingPoint, own: Mapping[str, float]) -> dict[str, Any]:
    return {
        "accepted": point.accepted,
        "threshold": point.threshold,
        "threshold_spread": None if point.spread is None else list(point.spread),
        "false_alarms": asdict(point.false_alarms),
        "fires": {
            kind: {**asdict(share), "right_edit": own.get(kind)}
            for kind, share in point.fires.items()
        },
        "resolved": point.resolved,
        "needed": point.needed,
        "binding": point.binding,
    }
