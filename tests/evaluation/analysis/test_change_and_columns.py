from __future__ import annotations

import math

import pytest
import torch

from memedit.errors import InvalidInputError
from memedit.evaluation.analysis.change import changed, columns_for, heat, hoyer
from memedit.evaluation.analysis.columns import best_ranks, mapped


def test_a_change_is_described_by_hand_checked_numbers() -> None:
    change = torch.zeros(2, 4)
    change[0, 1], change[1, 1], change[0, 3] = 3.0, 4.0, 0.0039
    found = changed(change, torch.full((2, 4), 2.0), method="m", case="c", parameter="p")
    assert found.norm == pytest.approx(5.0, abs=1e-5)
    assert found.relative_norm == pytest.approx(5.0 / math.sqrt(32), abs=1e-6)
    assert found.exact_zero == 5 / 8
    assert found.near_zero == 6 / 8, "0.0039 is under a thousandth of 4"
    assert found.columns_for_90 == 1
    assert (found.rows, found.columns, found.heat) == (2, 4, ())


def test_hoyer_goes_from_equal_sizes_to_a_single_entry() -> None:
    assert hoyer(torch.full((3, 3), -2.0)) == pytest.approx(0.0, abs=1e-12)
    one = torch.zeros(3, 3)
    one[1, 2] = 7.0
    assert hoyer(one) == pytest.approx(1.0)
    # n = 4, l1 = 7, l2 = 5: (2 - 7/5) / (2 - 1)
    assert hoyer(torch.tensor([[3.0, 4.0, 0.0, 0.0]])) == pytest.approx(0.6)
    assert hoyer(torch.zeros(2, 2)) == 1.0


def test_columns_that_hold_a_share_are_the_fewest() -> None:
    change = torch.diag(torch.tensor([3.0, 1.0, 2.0]))  # squared: 9, 1, 4 of 14
    assert [columns_for(change, share) for share in (0.6, 9 / 14, 0.7, 13 / 14, 1.0)] == [
        *(1, 1, 2, 2, 3)
    ]
    assert columns_for(torch.zeros(2, 2), 0.9) == 0


def test_a_heatmap_keeps_a_single_column() -> None:
    change = torch.zeros(100, 100)
    change[:, 57] = -2.0
    grid = torch.tensor(heat(change, 10))
    assert grid.shape == (10, 10)
    assert torch.equal(grid[:, 5], torch.full((10,), 2.0))
    assert float(grid.sum()) == 20.0
    assert torch.tensor(heat(torch.ones(3, 200), 10)).shape == (3, 10)


class Letters:
    def decode(self, ids: list[int]) -> str:
        return "".join(chr(97 + number) for number in ids)


def test_columns_are_read_through_the_unembedding() -> None:
    # Token i stands for direction i: a column's logits are its own entries.
    unembedding = torch.eye(6)
    weight = torch.zeros(6, 4)
    weight[:, 0] = torch.tensor([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    weight[:, 2] = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    change = torch.zeros(6, 4)
    change[3, 0], change[1, 2] = 10.0, -3.0
    found = mapped(
        change,
        weight,
        unembedding,
        [3, 1, 3],
        Letters(),
        method="rome",
        case="c",
        parameter="p",
        target="db",
        top=2,
    )
    assert [column.index for column in found.columns] == [0, 2]
    assert [column.share for column in found.columns] == pytest.approx([100 / 109, 9 / 109])
    assert found.columns[0].before[:3] == ("a", "b", "c")
    assert found.columns[0].after[:3] == ("d", "a", "b")
    assert found.tokens == ("d", "b"), "each token counts once"
    # d: rank 4 and 3 before, 1 after; b: rank 2 and 5 before, 3 (behind d) and 6 after.
    assert (found.before, found.after) == ((3, 2), (1, 3))
    # From the other end b is 5th and 2nd before; after, its -1 is the lowest of column 2.
    assert (found.before_reversed[1], found.after_reversed[1]) == (2, 1)
    assert found.hit(1, after=False) == 0.0
    assert found.hit(1, after=True) == 0.5
    assert found.hit(1, after=True, either_sign=True) == 1.0
    assert found.hit(3, after=True) == 1.0
    assert found.chance(3) == pytest.approx(1 - 0.5**2)
    assert found.chance(3, either_sign=True) == 1.0


def test_a_tie_is_no_hit() -> None:
    assert best_ranks(torch.zeros(5, 2), [0, 4]) == (5, 5)


def test_shapes_that_do_not_fit_are_refused() -> None:
    names = {"method": "m", "case": "c", "parameter": "p", "target": "t"}
    with pytest.raises(InvalidInputError, match="cannot be mapped"):
        mapped(torch.ones(3, 4), torch.ones(3, 4), torch.eye(6), [1], Letters(), **names)
    with pytest.raises(InvalidInputError, match="no tokens"):
        mapped(torch.ones(6, 4), torch.ones(6, 4), torch.eye(6), [], Letters(), **names)
