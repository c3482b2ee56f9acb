"""A delta as a PEFT LoRA: what peft loads, and what a running vLLM loads and chooses per request.

A LoRA adds ``lora_B @ lora_A``, times alpha / r, to a matrix.  Here alpha is r, so that the scale
is 1.  Both factors carry the square roots of the singular values: they have one size, which is
what a narrow dtype needs.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Matrix, linear_matrix
from memedit.modeling.delta import Change, LowRank, WeightDelta
from memedit.modeling.delta_files import MANIFEST, delta_record, file_sha256, write_json
from memedit.modeling.new_folder import new_folder

FORMAT = "memedit-lora/1"
CONFIG = "adapter_config.json"
TENSORS = "adapter_model.safetensors"
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as ``--max-lora-rank``; an adapter may have any rank up to it."""
ROUNDING = 1e-6
"""What a dense change may lose (as a share of its Frobenius norm) where no rank is asked for: it
holds float32 rounding of about this size that no method meant."""


@dataclass(frozen=True, slots=True)
class LoraPart:
    """How one parameter's change was written."""

    name: str
    """Of the parameter."""
    rank: int
    relative_error: float
    """Frobenius norm of what the stored factors miss, as a share of the change's own norm."""


@dataclass(frozen=True, slots=True)
class LoraExport:
    """A written LoRA."""

    folder: Path
    parts: tuple[LoraPart, ...]

    @property
    def rank(self) -> int:
        """The largest rank in it."""
        return max(part.rank for part in self.parts)

    @property
    def max_lora_rank(self) -> int:
        """The smallest ``--max-lora-rank`` with which vLLM takes it."""
        return next(allowed for allowed in VLLM_RANKS if allowed >= self.rank)

    @property
    def relative_error(self) -> float:
        """The largest of its parts' errors."""
        return max(part.relative_error for part in self.parts)

    def as_record(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "rank": self.rank,
            "max_lora_rank": self.max_lora_rank,
            "relative_error": self.relative_error,
            "parameters": [asdict(part) for part in self.parts],
        }


def to_lora(
    delta: WeightDelta,
    folder: Path,
    model: nn.Module,
    *,
    rank: int | None = None,
    dtype: torch.dtype = torch.float32,
    base_model: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> LoraExport:
    """Write a delta as a PEFT LoRA into a new folder; neither delta nor model is changed.

    Every parameter has the rank that it needs, at most ``rank``.  What was lost is measured on the
    factors as they are stored, returned, and written into the folder's manifest.json.

    Args:
        delta: changes of 2-d weights of ``Linear`` or ``Conv1D`` modules.
        folder: must not exist; it appears when it is whole.
        model: the model that it is for, asked only for its modules: it may be on the meta device.
        rank: the largest rank to write, 1 to 512; what is of a larger one is cut to its best
            approximation (truncated SVD).  Left out, nothing is cut: a change of low rank is
            exact, a dense one loses at most ``ROUNDING``, and one that needs more than vLLM's
            largest rank is refused.
        dtype: of the stored factors.  vLLM casts them to the served model's own.
        base_model: what adapter_config.json names as the model; for people, nothing checks it.
        progress: called with (parameters done, in all).

    Raises:
        InvalidInputError: a parameter is no such weight or is tied to another, nothing is changed,
            or the rank is not enough or out of range; nothing was written.

    """
    limit = VLLM_RANKS[-1]
    if rank is not None and not 1 <= rank <= limit:
        raise InvalidInputError(f"rank {rank} is out of range; expected 1 to {limit}")
    if not delta.changes:
        raise InvalidInputError("the delta changes nothing; there is no LoRA to write")
    matrices = [_matrix(model, delta, name) for name in delta.names()]
    tell = progress or (lambda done, total: None)
    parts: list[LoraPart] = []
    tensors: dict[str, Tensor] = {}
    for done, matrix in enumerate(matrices):
        tell(done, len(matrices))
        change = delta.changes[matrix.name]
        up, down = _factors(change, rank)
        if up.shape[1] > limit:
            raise InvalidInputError(
                f"the change of {matrix.name} has rank {up.shape[1]}, vLLM takes LoRAs up to "
                f"{limit}; give a rank (rank=64, --rank 64) and see what is lost, or merge the "
                "delta into the checkpoint"
            )
        up, down = (part.to("cpu", dtype).contiguous() for part in (up, down))
        if not all(bool(torch.isfinite(part).all()) for part in (up, down)):
            raise InvalidInputError(f"the factors of {matrix.name} do not fit {dtype}")
        parts.append(LoraPart(matrix.name, up.shape[1], _error(change, up, down)))
        if matrix.transposed:  # stored as (in, out): the LoRA is of the transpose
            up, down = down.T.contiguous(), up.T.contiguous()
        key = f"base_model.model.{_module(matrix)}"
        tensors[f"{key}.lora_A.weight"] = down  # [r, in]
        tensors[f"{key}.lora_B.weight"] = up  # [out, r]
    tell(len(matrices), len(matrices))
    export = LoraExport(Path(folder), tuple(parts))
    with new_folder(export.folder) as draft:
        save_file(tensors, draft / TENSORS, metadata={"format": "pt"})
        write_json(draft / CONFIG, _config(export, matrices, base_model))
        write_json(
            draft / MANIFEST,
            {
                "format": FORMAT,
                **delta_record(delta),
                **export.as_record(),
                "sha256": file_sha256(draft / TENSORS),
            },
        )
    return export


def lora_delta(folder: Path, delta: WeightDelta) -> WeightDelta:
    """Return what a LoRA that ``to_lora`` wrote of a delta adds to the weights.

    Args:
        folder: the LoRA's.
        delta: of which it was written; its names and shapes are asked for, no values.

    """
    factors = load_file(folder / TENSORS)
    changes: dict[str, Change] = {}
    for name, change in delta.changes.items():
        key = f"base_model.model.{name.removesuffix('.weight')}"
        up, down = factors[f"{key}.lora_B.weight"], factors[f"{key}.lora_A.weight"]
        if (up.shape[0], down.shape[1]) != tuple(change.shape):  # stored as (in, out)
            up, down = down.T, up.T
        device = change.left.device if isinstance(change, LowRank) else change.device
        changes[name] = LowRank(up.float().to(device), down.float().to(device))
    return replace(delta, changes=changes)


def _matrix(model: nn.Module, delta: WeightDelta, name: str) -> Matrix:
    """Return a parameter as a matrix; raises InvalidInputError where a LoRA cannot change it."""
    matrix = linear_matrix(model, name)
    delta.check_shape(name, matrix.weight)
    for other, parameter in model.named_parameters(remove_duplicate=False):
        if parameter is matrix.weight and other != name:
            raise InvalidInputError(
                f"{name} is one tensor with {other} (tied weights), which a LoRA would leave as "
                "it is; merge the delta into the checkpoint instead"
            )
    return matrix


def _factors(change: Change, rank: int | None) -> tuple[Tensor, Tensor]:
    """Return balanced factors, float64 [rows, r] and [r, columns], of at most the given rank."""
    if isinstance(change, LowRank) and change.left.shape[1]:
        # The SVD of a product of thin factors is that of the small product of their R parts.
        left = torch.linalg.qr(change.left.double())
        right = torch.linalg.qr(change.right.double().T)
        inner = torch.linalg.svd(left.R @ right.R.T, full_matrices=False)
        u, values, vh = left.Q @ inner.U, inner.S, inner.Vh @ right.Q.T
        # only what double precision cannot tell from nothing: a small edit beside a large one stays
        floor = values[:1] * max(change.shape) * torch.finfo(torch.float64).eps
        needed = int((values > floor).sum())
    else:
        dense = change.dense() if isinstance(change, LowRank) else change
        u, values, vh = torch.linalg.svd(dense.double(), full_matrices=False)
        # [i]: the norm of what is left out when i values are kept
        left_out = values.square().flip(0).cumsum(0).flip(0).sqrt()
        needed = int((left_out > ROUNDING * left_out[:1]).sum())
    kept = max(1, needed if rank is None else min(rank, needed))
    root = values[:kept].sqrt()
    return u[:, :kept] * root, root[:, None] * vh[:kept]


def _error(change: Change, up: Tensor, down: Tensor) -> float:
    if isinstance(change, LowRank):
        dense = change.left.double() @ change.right.double()
    else:
        dense = change.double()
    dense = dense.cpu()
    norm = float(torch.linalg.matrix_norm(dense))
    missing = float(torch.linalg.matrix_norm(dense - up.double() @ down.double()))
    return missing / norm if norm else 0.0


def _module(matrix: Matrix) -> str:
    return matrix.name.removesuffix(".weight")


def _config(export: LoraExport, matrices: list[Matrix], base_model: str) -> dict[str, Any]:
    """Return adapter_config.json: full module paths, and patterns where ranks differ."""
    ranks = {
        re.escape(_module(matrix)): part.rank
        for matrix, part in zip(matrices, export.parts, strict=True)
        if part.rank != export.rank
    }
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_model or None,
        "r": export.rank,
        "lora_alpha": export.rank,
        "rank_pattern": ranks,
        "alpha_pattern": ranks,
        "target_modules": [_module(matrix) for matrix in matrices],
        "fan_in_fan_out": all(matrix.transposed for matrix in matrices),
        "lora_dropout": 0.0,
        "bias": "none",
        "modules_to_save": None,
        "init_lora_weights": True,
        "use_rslora": False,
        "use_dora": False,
        "inference_mode": True,
    }
