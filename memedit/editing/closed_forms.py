"""The linear algebra of the baked methods: what to add to a matrix so that keys give new values.

Every function takes and returns float64 and knows nothing of models.  Keys are columns: ``keys``
[in, B].  ``residuals`` [out, B] are what the values lack: wanted value minus what the matrix makes
of the key now.  ``moment`` [in, in] is the uncentred second moment C of the layer's keys.  A change
is returned as the factors (left [out, r], right [r, in]) of ΔW = left @ right.
"""

from __future__ import annotations

import torch
from torch import Tensor

from memedit.errors import DivergedError

Factors = tuple[Tensor, Tensor]


def rank_one(
    residual: Tensor, key: Tensor, moment: Tensor, divisor: Tensor | None = None
) -> Factors:
    """Write one key: ΔW = residual uᵀ / (k·u), u = C⁻¹ k.

    Source: Meng et al. 2022, equation 2, solved for one key.

    Args:
        residual: [out].
        key: [in]; what u is made of.
        moment: [in, in].
        divisor: the k of the denominator [in]; left out, ``key`` itself, and then W'k is exactly
            the wanted value.

    """
    u = solve(moment, key[:, None])[:, 0]
    reach = torch.dot(key if divisor is None else divisor, u)
    return residual[:, None], (u / reach)[None]


def least_squares(residuals: Tensor, keys: Tensor, preserved: Tensor) -> Factors:
    """Write many keys while old ones keep their values: ΔW = R Kᵀ (P + K Kᵀ)⁻¹.

    Source: Meng et al. 2023 (MEMIT), equation 14, with P = λC.  Computed through the B x B matrix
    I + Kᵀ P⁻¹ K, which is the same by the push-through identity and shows that the rank is B.

    Args:
        residuals: [out, B].
        keys: [in, B].
        preserved: λC [in, in].

    """
    reached = solve(preserved, keys)  # P⁻¹ K
    inner = keys.T @ reached
    inner.diagonal().add_(1.0)
    return residuals, solve(inner, reached.T)


def equality(residuals: Tensor, keys: Tensor, moment: Tensor, ridge: float = 0.0) -> Factors:
    """Write many keys exactly: ΔW = R (Kᵀ C⁻¹ K)⁻¹ Kᵀ C⁻¹.

    Source: Gupta et al. 2024 (EMMET), equation 7.

    Args:
        residuals: [out, B].
        keys: [in, B].
        moment: [in, in].
        ridge: is added to the diagonal of Kᵀ C⁻¹ K, as a share of its mean: two keys that nearly
            coincide (one subject edited twice) would else be torn apart by a huge change.

    """
    reached = solve(moment, keys)  # C⁻¹ K
    inner = keys.T @ reached
    inner.diagonal().add_(ridge * inner.diagonal().mean())
    return residuals, solve(inner, reached.T)


def null_space(moment: Tensor, share: float) -> Tensor:
    """Return an orthonormal basis U [in, r] of what the old keys hardly use; P is U Uᵀ.

    Source: Fang et al. 2025 (AlphaEdit), section 3.2; the threshold there is absolute, which means
    something else for every model.

    Args:
        moment: [in, in].
        share: a direction is free when its eigenvalue is under this share of the mean one.

    """
    values, vectors = torch.linalg.eigh(moment)
    free: Tensor = vectors[:, values < share * values.mean()]
    return free


def within(
    residuals: Tensor, keys: Tensor, basis: Tensor, earlier: Tensor | None, ridge: float
) -> Factors:
    """Write many keys inside a null space: ΔWᵀ = (P (K Kᵀ + M) + ridge I)⁻¹ P K Rᵀ.

    Source: Fang et al. 2025 (AlphaEdit), equation 14.  Solved in the coordinates of the null space,
    ΔWᵀ = U (Uᵀ (K Kᵀ + M) U + ridge I)⁻¹ Uᵀ K Rᵀ, which is the same, smaller, symmetric, and lies
    in it to the last bit that rounding leaves.

    Args:
        residuals: [out, B].
        keys: [in, B].
        basis: U [in, r].
        earlier: M = Σ K Kᵀ of the edits before [in, in]; ``None``: there are none.
        ridge: the weight of ‖ΔW‖².

    """
    inside = basis.T @ keys
    system = inside @ inside.T
    if earlier is not None:
        system = system + basis.T @ earlier @ basis
    system.diagonal().add_(ridge)
    return residuals, (basis @ solve(system, inside)).T


def solve(system: Tensor, right: Tensor) -> Tensor:
    """Solve ``system @ x = right``.

    Raises:
        DivergedError: the system is singular, or the solution is no number.

    """
    found: Tensor
    found, failed = torch.linalg.solve_ex(system, right)
    if int(failed) or not bool(torch.isfinite(found).all()):
        raise DivergedError(
            f"a linear system of {system.shape[0]} unknowns has no solution: the statistics have "
            "directions that were never seen, or two edits have the same key. Nothing was "
            "changed. Take statistics over more text, or give a ridge"
        )
    return found
