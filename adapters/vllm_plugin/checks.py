"""Is what lies in a folder fit to be served?  Asked before vLLM is shown it.

vLLM itself takes numbers that are none, layers that do not exist and adapters of another model
without a word, and some of what it does refuse costs it more than the request.
"""

from __future__ import annotations

import json
import re
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch

from memedit.adapters.files import FORMAT as ADAPTER_FORMAT
from memedit.adapters.files import MANIFEST, PEFT_CONFIG, PEFT_TENSORS, load_adapter
from memedit.adapters.vllm_plugin.grace_table import Book
from memedit.adapters.vllm_plugin.served_checkpoint import ServedCheckpoint
from memedit.adapters.vllm_plugin.settings import Served
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.checkpoint import opened
from memedit.modeling.delta_files import FORMAT as DELTA_FORMAT
from memedit.modeling.delta_files import file_sha256

_FACTOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")


class Kind(StrEnum):
    """What a folder holds."""

    LORA = "lora"
    GRACE = "grace"


def check_adapter(folder: Path, base: ServedCheckpoint | None, served: Served | None) -> Kind:
    """Check an adapter's files in every part, and that it fits the model and the server.

    Args:
        folder: where it lies.
        base: the served model; ``None``: unknown, what it is needed for is not checked.
        served: what the server was started with; ``None``: unknown, likewise.

    Raises:
        MissingResourceError: a file is not there.
        InvalidInputError: it is no adapter that vLLM can serve, is damaged, or does not fit.

    """
    manifest = _manifest(folder)
    kind = kind_of(folder)
    if kind is Kind.GRACE:
        book = grace_book(folder)
        _check_base(manifest, base)
        width = _width(base)
        if width is not None and book.table.keys.shape[1] != width:
            raise InvalidInputError(
                f"its keys have {book.table.keys.shape[1]} numbers, the model's states {width}"
            )
        if served is not None:
            check_grace_fits(book, served)
        return kind
    _check_lora(folder, base, served)
    if "sha256" in manifest and file_sha256(folder / PEFT_TENSORS) != manifest["sha256"]:
        raise InvalidInputError(f"{PEFT_TENSORS} is damaged: its SHA-256 is not the manifest's")
    _check_base(manifest, base)
    return kind


def kind_of(folder: Path) -> Kind:
    """Return what a folder says that it holds; nothing of it is checked.

    Raises:
        InvalidInputError: it says to be nothing that is served by the name of a model.

    """
    manifest = _manifest(folder)
    said, method = manifest.get("format"), manifest.get("method")
    if said == DELTA_FORMAT:
        raise InvalidInputError(
            "this is a weight delta, which is not chosen per request; put it into the weights with "
            "PUT /v1/memedit/weights, or make a LoRA of it with 'memedit delta lora'"
        )
    if (folder / PEFT_CONFIG).exists():
        return Kind.LORA
    if said == ADAPTER_FORMAT and method == "grace":
        return Kind.GRACE
    if said == ADAPTER_FORMAT:
        raise InvalidInputError(
            f"an adapter of the method {method!r} is not served as it is saved; expected grace, or "
            f"a folder with {PEFT_CONFIG} (lora, adalora, a folded block of melo)"
        )
    raise InvalidInputError(f"there is neither {PEFT_CONFIG} nor a {MANIFEST} of a GRACE adapter")


def grace_book(folder: Path) -> Book:
    """Read what a saved GRACE adapter looks up; checked as ``load_adapter`` does.

    Raises:
        MissingResourceError: a file is not there.
        InvalidInputError: it is damaged, or holds no edit.

    """
    adapter: Any = load_adapter(folder)
    codebook = adapter.codebook
    if codebook is None or all(entry.is_hole for entry in codebook.entries):
        raise InvalidInputError("this GRACE adapter holds no edit; there is nothing to serve")
    return Book(adapter.layer, codebook.table())


def check_grace_fits(book: Book, served: Served) -> None:
    """Check that the server has room for a codebook at its layer.

    Raises:
        InvalidInputError: it has not.

    """
    entries = len(book.table.keys)
    how = served.grace.how_to(book.layer, entries)
    if book.layer not in served.grace.layers:
        raise InvalidInputError(
            f"this GRACE adapter looks at layer {book.layer}, the server was started for "
            f"{list(served.grace.layers) or 'none'}; {how}"
        )
    if entries > served.grace.capacity:
        raise InvalidInputError(
            f"this GRACE adapter has {entries} entries, the server was started for "
            f"{served.grace.capacity}; {how}"
        )


def _check_lora(folder: Path, base: ServedCheckpoint | None, served: Served | None) -> None:
    config = _json(folder / PEFT_CONFIG)
    _check_peft_config(config, served)
    path = folder / PEFT_TENSORS
    if not path.is_file():
        raise MissingResourceError(f"{PEFT_TENSORS} is not there")
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    with opened(path) as file:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            found = _FACTOR.fullmatch(name)
            if found is None:
                raise InvalidInputError(
                    f"{name[:200]!r} is no factor of a LoRA; expected "
                    "base_model.model.<module>.lora_A.weight and .lora_B.weight"
                )
            tensor = file.get_tensor(name)
            if not tensor.dtype.is_floating_point or tensor.ndim != 2:
                raise InvalidInputError(
                    f"{name} is of {tensor.dtype} and {tensor.ndim} dimensions; expected floats, 2"
                )
            if not bool(torch.isfinite(tensor).all()):
                raise InvalidInputError(f"{name} holds infinities or no numbers")
            shapes.setdefault(found["module"], {})[found["side"]] = tuple(tensor.shape)
    if not shapes:
        raise InvalidInputError(f"{PEFT_TENSORS} holds no factors")
    for module, sides in shapes.items():
        _check_factors(module, sides, base, served)


def _check_peft_config(config: dict[str, Any], served: Served | None) -> None:
    if config.get("peft_type") != "LORA":
        raise InvalidInputError(f"peft_type is {config.get('peft_type')!r}; vLLM serves 'LORA'")
    ranks = [config.get("r"), *dict(config.get("rank_pattern") or {}).values()]
    if not all(type(rank) is int and rank > 0 for rank in ranks):
        raise InvalidInputError(f"its ranks are {ranks}; expected numbers from 1")
    if served is not None and max(ranks) > served.max_lora_rank:
        raise InvalidInputError(
            f"its rank is {max(ranks)}, the server takes at most {served.max_lora_rank}; start "
            f"vLLM with --max-lora-rank {max(ranks)} or more"
        )
    for name, wanted in (("use_dora", False), ("bias", "none"), ("modules_to_save", None)):
        if (config.get(name) or wanted) != wanted:
            raise InvalidInputError(f"{name} is {config[name]!r}; vLLM serves {wanted!r}")


def _check_factors(
    module: str,
    sides: dict[str, tuple[int, ...]],
    base: ServedCheckpoint | None,
    served: Served | None,
) -> None:
    if set(sides) != {"A", "B"} or sides["A"][0] != sides["B"][1]:
        raise InvalidInputError(
            f"the factors of {module} are {sides}; expected A [r, in], B [out, r]"
        )
    if served is not None and sides["A"][0] > served.max_lora_rank:
        raise InvalidInputError(
            f"{module} has the rank {sides['A'][0]}, the server takes at most "
            f"{served.max_lora_rank}"
        )
    if base is None:
        return
    weight = f"{module}.weight"
    # A checkpoint saved without its language-modelling head leaves the first part of names out.
    there = base.shapes.get(weight) or base.shapes.get(weight.partition(".")[2])
    if there is None:
        raise InvalidInputError(f"the served model has no {weight}; it is for another model")
    size = (sides["B"][0], sides["A"][1])
    if size not in (there, there[::-1]):  # GPT-2 stores (in, out)
        raise InvalidInputError(
            f"the factors of {module} make {size}, the served model has {there} there; it is for "
            "another model"
        )


def _check_base(manifest: dict[str, Any], base: ServedCheckpoint | None) -> None:
    """Refuse what was learned for another model; what does not say for which is let pass."""
    said = manifest.get("base")
    if base is None or not said:
        return
    if said != base.fingerprint:
        raise InvalidInputError(
            f"it was made for the model with fingerprint {str(said)[:12]}, the served one has "
            f"{base.fingerprint[:12]}; on another model it does not do what was measured"
        )


def _width(base: ServedCheckpoint | None) -> int | None:
    if base is None:
        return None
    config = base.config()
    text = config.get("text_config") or config
    width = text.get("hidden_size") or text.get("n_embd")
    return None if width is None else int(width)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / MANIFEST
    return _json(path) if path.exists() else {}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise MissingResourceError(f"cannot read {path.name}: {error.strerror}") from error
    except ValueError as error:
        raise InvalidInputError(f"{path.name} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise InvalidInputError(f"{path.name} is {type(found).__name__}; expected an object")
    return found
