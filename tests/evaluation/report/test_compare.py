"""When two runs' numbers differ by more than chance."""

import pytest

from memedit.evaluation.report.compare import Difference
from memedit.evaluation.rows import Row


def row(value: float, half: float | None, cases: int) -> Row:
    low, high = (None, None) if half is None else (value - half, value + half)
    kept = (value, low, high, cases, cases)
    return Row("ice", "zsre", "single", "edit_success", "", "generated", *kept)


@pytest.mark.parametrize(
    ("now", "earlier", "apart"),
    [
        (row(0.9, 0.05, 20), row(0.5, 0.05, 20), True),
        (row(0.9, 0.05, 20), row(0.85, 0.05, 20), False),
        (row(0.9, None, 20), row(0.5, 0.05, 20), None),
        # one case drawn again is always the same case
        (row(1.0, 0.0, 1), row(0.0, 0.0, 1), None),
        (row(1.0, 0.0, 20), row(0.0, 0.0, 1), None),
    ],
)
def test_only_intervals_of_several_cases_tell_chance(
    now: Row, earlier: Row, apart: bool | None
) -> None:
    assert Difference(now, earlier).apart is apart
