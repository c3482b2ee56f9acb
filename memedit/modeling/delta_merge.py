"""A delta baked into a checkpoint on disk: a new folder, written a shard at a time.

What stands there afterwards is, bit for bit, what ``WeightDelta.apply`` leaves in the model when it
is loaded in the dtype that it is stored in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from memedit.errors import InvalidInputError
from memedit.modeling.checkpoint import Checkpoint, opened
from memedit.modeling.delta import WeightDelta
from memedit.modeling.delta_files import DTYPES, delta_record, write_json
from memedit.modeling.new_folder import new_folder

MERGED = "memedit_merged.json"
"""In a merged checkpoint: which deltas are in it, oldest first."""
WEIGHTS = frozenset(
    {
        *(".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".onnx"),
        *(".onnx_data", ".gguf"),
    }
)


@dataclass(frozen=True, slots=True)
class Merged:
    """What was written."""

    folder: Path
    changed: tuple[str, ...]
    """Names of the changed tensors as they are stored."""
    shards: int
    """How many files of weights."""
    rewritten: int
    """How many of them hold a changed tensor; the others were copied."""
    left_out: tuple[str, ...]
    """Files with the same model's unedited weights in other formats, which were not copied."""
    warning: str = ""
    """What is wrong with the base, where any was allowed."""

    def as_record(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "folder": str(self.folder),
            "changed": list(self.changed),
            "shards": self.shards,
            "rewritten": self.rewritten,
            "left_out": list(self.left_out),
            "warning": self.warning,
        }


def merge(
    delta: WeightDelta,
    checkpoint: Path,
    into: Path,
    *,
    any_base: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Write a copy of a checkpoint with a delta in its weights.  The original is not touched.

    Memory: the largest shard and one change.  The copy has the same shards and index; tensors keep
    their dtypes, the sum being taken in float32 (float64 for float64) and rounded once.  A tensor
    that the model ties to a changed one changes with it, as it does in a loaded model.

    Args:
        delta: what to add.
        checkpoint: folder with config.json and safetensors.
        into: folder to write, which must not exist; it appears when it is whole.
        any_base: also into a model that the delta was not computed for.
        progress: called with (shards written, in all).

    Raises:
        MissingResourceError: the checkpoint, or a file of it, is not there.
        InvalidInputError: the delta does not fit the checkpoint, its base is another model, a
            changed tensor is quantised or not there, or ``into`` cannot be written; nothing is left
            behind.

    """
    source, into = Checkpoint(checkpoint), Path(into)
    if source.folder.resolve() in into.resolve().parents:
        raise InvalidInputError(
            f"{into} lies inside the checkpoint that is copied; give a folder outside it"
        )
    placed = _placed(delta, source)
    warning = delta.check_base(source.fingerprint, any_base=any_base)
    copied, left_out = _other_files(source)
    tell = progress or (lambda done, total: None)
    rewritten = 0
    with new_folder(into) as draft:
        for done, shard in enumerate(source.shards):
            tell(done, len(source.shards))
            here = {
                stored: name for stored, name in placed.items() if source.files[stored] == shard
            }
            if here:
                _rewrite(delta, here, shard, draft / shard.name)
                rewritten += 1
            else:
                shutil.copyfile(shard, draft / shard.name)
        for file in copied:
            target = draft / file.relative_to(source.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        write_json(draft / MERGED, [*_merged_before(source.folder), delta_record(delta)])
        tell(len(source.shards), len(source.shards))
    return Merged(
        folder=into,
        changed=tuple(placed),
        shards=len(source.shards),
        rewritten=rewritten,
        left_out=tuple(str(file.relative_to(source.folder)) for file in left_out),
        warning=warning,
    )


def _placed(delta: WeightDelta, source: Checkpoint) -> dict[str, str]:
    """Return stored name -> the delta's name, for every tensor that changes."""
    placed: dict[str, str] = {}
    for name in delta.names():
        stored = source.stored(name)
        weights = [source.read(one) for one in stored]
        if any(weight.dtype not in DTYPES for weight in weights):
            raise InvalidInputError(
                f"{stored[0]} is stored as {weights[0].dtype}; a change can be merged into "
                "float32, bfloat16, float16 and float64, not into quantised weights"
            )
        if any(not torch.equal(weights[0], other) for other in weights[1:]):
            raise InvalidInputError(
                f"{' and '.join(stored)} are one tensor in the model (tied weights), but are "
                "stored with different numbers; load the model and save it again"
            )
        if taken := [one for one in stored if one in placed]:
            raise InvalidInputError(
                f"{name} and {placed[taken[0]]} are one tensor in this model (tied weights); a "
                "change of one would be a change of the other"
            )
        delta.added(name, weights[0])  # refuses what does not fit before anything is written
        placed |= dict.fromkeys(stored, name)
    return placed


def _rewrite(delta: WeightDelta, here: dict[str, str], shard: Path, target: Path) -> None:
    with opened(shard) as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    for stored, name in here.items():
        tensors[stored] = delta.added(name, tensors[stored]).contiguous()
    save_file(tensors, target, metadata=metadata)


def _other_files(source: Checkpoint) -> tuple[list[Path], list[Path]]:
    """Return the checkpoint's other files: those to copy, and weights that would be stale."""
    copied: list[Path] = []
    left_out: list[Path] = []
    for file in sorted(source.folder.rglob("*")):
        inside = file.relative_to(source.folder)
        if not file.is_file() or file in source.shards or str(inside) == MERGED:
            continue
        if any(part.startswith(".") for part in inside.parts[:-1]):
            continue  # .git and .cache are of the folder they lie in
        is_index = file.name.endswith(".index.json") and file != source.index
        (left_out if file.suffix in WEIGHTS or is_index else copied).append(file)
    return copied, left_out


def _merged_before(folder: Path) -> list[Any]:
    path = folder / MERGED
    if not path.is_file():
        return []
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(records, list):
            raise ValueError("it is no list")
    except ValueError as error:
        raise InvalidInputError(
            f"{path} does not say which deltas are in the checkpoint: {error}; repair or remove it"
        ) from error
    return records
