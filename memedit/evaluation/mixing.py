"""The order in which the cases of several tasks are edited together."""

from __future__ import annotations

from collections.abc import Sequence

from memedit.evaluation.cases import EditCase

_GOLDEN = (5**0.5 - 1) / 2


def mixed(cases: Sequence[EditCase]) -> tuple[EditCase, ...]:
    """Interleave tasks, and the files of one task, so that any beginning holds all of them.

    Every file begins at once, so that as many cases as there are files hold one of each; from then
    on each takes part in proportion to its size, up to the very end. How old an edit is when a
    sequence is over says nothing of its task then, and a shorter sequence is how a longer one of
    the same cases begins. Within a file cases come by the golden ratio, so that a beginning is
    spread over the whole file: some data sets are sorted by relation or by number of hops.

    The same every time; nothing is drawn.
    """
    files: dict[tuple[str, str], list[EditCase]] = {}
    for case in cases:
        files.setdefault((case.task, case.id.rpartition("[")[0]), []).append(case)
    placed = [
        (place / len(there), number, case)
        for number, there in enumerate(files.values())
        for place, case in enumerate(_spaced(there))
    ]
    return tuple(case for *_, case in sorted(placed, key=lambda one: one[:2]))


def _spaced(cases: Sequence[EditCase]) -> list[EditCase]:
    """Order cases so that the first few of them are far apart, for any number of them.

    Unlike with halving, no period of the file's own (every second record, every fourth) is met.
    """
    return [cases[place] for place in sorted(range(len(cases)), key=lambda n: n * _GOLDEN % 1)]
