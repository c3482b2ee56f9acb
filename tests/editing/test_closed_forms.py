"""The closed forms against float64 solutions found another way, on random matrices."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from memedit.editing import closed_forms as forms
from memedit.errors import DivergedError

OUT, IN, EDITS = 7, 12, 4


@pytest.fixture
def draw() -> torch.Generator:
    return torch.Generator().manual_seed(5)


def normal(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


def moment(draw: torch.Generator) -> Tensor:
    keys = normal(draw, IN, 40)
    return keys @ keys.T / 40


def product(factors: forms.Factors) -> Tensor:
    left, right = factors
    return left @ right


def close(found: Tensor, wanted: Tensor) -> bool:
    return bool((found - wanted).abs().max() < 1e-8)


def test_rank_one_solves_the_constrained_least_squares_problem(draw: torch.Generator) -> None:
    weight, key, value = normal(draw, OUT, IN), normal(draw, IN), normal(draw, OUT)
    c = moment(draw)
    change = product(forms.rank_one(value - weight @ key, key, c))
    # The stationary point of tr(D C Dᵀ) under D k = r, by its KKT system.
    system = torch.zeros(IN + 1, IN + 1, dtype=torch.float64)
    system[:IN, :IN], system[:IN, IN], system[IN, :IN] = 2 * c, key, key
    right = torch.zeros(IN + 1, OUT, dtype=torch.float64)
    right[IN] = value - weight @ key
    assert close(change, torch.linalg.solve(system, right)[:IN].T)
    assert close((weight + change) @ key, value)


def test_with_an_identity_moment_the_key_gives_the_value_exactly(draw: torch.Generator) -> None:
    weight, key, value = normal(draw, OUT, IN), normal(draw, IN), normal(draw, OUT)
    eye = torch.eye(IN, dtype=torch.float64)
    left, right = forms.rank_one(value - weight @ key, key, eye)
    assert close((weight + left @ right) @ key, value)
    assert close(right[0], key / (key @ key))


def test_two_different_keys_miss_the_value(draw: torch.Generator) -> None:
    weight, key, value = normal(draw, OUT, IN), normal(draw, IN), normal(draw, OUT)
    other = key + 0.1 * normal(draw, IN)
    left, right = forms.rank_one(value - weight @ other, key, moment(draw), divisor=other)
    assert close((weight + left @ right) @ other, value)
    assert not close((weight + left @ right) @ key, value)


def test_least_squares_is_the_stationary_point_of_its_objective(draw: torch.Generator) -> None:
    residuals, keys = normal(draw, OUT, EDITS), normal(draw, IN, EDITS)
    preserved = 3.0 * moment(draw)
    change = product(forms.least_squares(residuals, keys, preserved))
    direct = residuals @ keys.T @ torch.linalg.inv(preserved + keys @ keys.T)
    assert close(change, direct)
    leaf = change.clone().requires_grad_(True)
    ((leaf @ keys - residuals).square().sum() + torch.trace(leaf @ preserved @ leaf.T)).backward()
    assert leaf.grad is not None and float(leaf.grad.abs().max()) < 1e-8


def test_equality_holds_for_all_keys_and_disturbs_least(draw: torch.Generator) -> None:
    residuals, keys, c = normal(draw, OUT, EDITS), normal(draw, IN, EDITS), moment(draw)
    change = product(forms.equality(residuals, keys, c))
    assert close(change @ keys, residuals)
    system = torch.zeros(IN + EDITS, IN + EDITS, dtype=torch.float64)
    system[:IN, :IN], system[:IN, IN:], system[IN:, :IN] = 2 * c, keys, keys.T
    right = torch.cat([torch.zeros(IN, OUT, dtype=torch.float64), residuals.T])
    assert close(change, torch.linalg.solve(system, right)[:IN].T)


def test_a_ridge_keeps_two_equal_keys_apart_from_infinity(draw: torch.Generator) -> None:
    residuals, key = normal(draw, OUT, 2), normal(draw, IN, 1)
    keys = torch.cat([key, key], 1)
    change = product(forms.equality(residuals, keys, moment(draw), ridge=1e-6))
    assert torch.allclose(change @ key, residuals.mean(1, keepdim=True), atol=1e-4)


def test_changes_in_the_null_space_leave_old_keys_alone(draw: torch.Generator) -> None:
    basis = torch.linalg.qr(normal(draw, IN, IN)).Q[:, :6]
    old, held_out = basis @ normal(draw, 6, 30), basis @ normal(draw, 6, 5)
    free = forms.null_space(old @ old.T / 30, share=1e-6)
    assert free.shape == (IN, IN - 6)
    residuals, keys = normal(draw, OUT, EDITS), normal(draw, IN, EDITS)
    change = product(forms.within(residuals, keys, free, None, ridge=1e-9))
    assert float((change @ held_out).abs().max()) < 1e-8
    assert torch.allclose(change @ keys, residuals, atol=1e-5)


def test_within_is_the_stationary_point_of_its_objective(draw: torch.Generator) -> None:
    residuals, keys = normal(draw, OUT, EDITS), normal(draw, IN, EDITS)
    written, ridge = normal(draw, IN, 3), 0.3
    free = forms.null_space(moment(draw), share=0.8)
    change = product(forms.within(residuals, keys, free, written @ written.T, ridge))
    projector = free @ free.T
    system = projector @ (keys @ keys.T + written @ written.T) + ridge * torch.eye(IN).double()
    assert close(change, torch.linalg.solve(system, projector @ keys @ residuals.T).T)
    assert close(change, change @ projector)
    # min over D of ‖D P K - R‖² + ‖D P K_old‖² + ridge ‖D P‖², by the normal equations of D P.
    inside = projector @ (keys @ keys.T + written @ written.T) @ projector
    direct = residuals @ keys.T @ projector @ torch.linalg.pinv(inside + ridge * projector)
    assert close(change, direct)


def test_a_singular_system_is_an_error_and_no_number() -> None:
    nothing = torch.zeros(IN, IN, dtype=torch.float64)
    with pytest.raises(DivergedError, match="no solution"):
        forms.rank_one(torch.ones(OUT).double(), torch.ones(IN).double(), nothing)
