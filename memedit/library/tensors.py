"""A safetensors file looked through without torch: names, shapes, and whether all is finite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from memedit.errors import InvalidInputError, MissingResourceError

_LONGEST_HEADER: Final = 2**26
_WIDTH: Final = {"F32": 4, "F16": 2, "BF16": 2}
_EXPONENT: Final = {"F32": 0x7F80_0000, "F16": 0x7C00, "BF16": 0x7F80}
"""All bits of the exponent: where all are set, the number is infinite or none."""
_CHUNK: Final = 2**24


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """Where a tensor lies in a file, and how it is stored."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_places(path: Path) -> dict[str, TensorPlace]:
    """Read the header of a safetensors file.

    Raises:
        MissingResourceError: it cannot be read.
        InvalidInputError: it is no safetensors file, or holds other numbers than floats.

    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            text = file.read(length) if length <= _LONGEST_HEADER else b""
            size = path.stat().st_size - 8 - length
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error}") from error
    try:
        header = json.loads(text)
        header.pop("__metadata__", None)
        return {str(name): _place(one, size, 8 + length) for name, one in header.items()}
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InvalidInputError(f"{path.name} is no safetensors file of floats: {error}") from None


def check_finite(path: Path, places: Mapping[str, TensorPlace]) -> None:
    """Refuse infinities and what is no number, which poison a server's next requests.

    Raises:
        InvalidInputError: names the first tensor that holds one.
        MissingResourceError: the file cannot be read.

    """
    try:
        with path.open("rb") as file:
            for name, place in places.items():
                file.seek(place.start)
                left = place.end - place.start
                while left:
                    part = file.read(min(left, _CHUNK))
                    if not part:
                        raise InvalidInputError(f"{path.name} ends before its tensor {name} does")
                    bits = np.frombuffer(part, "<u4" if place.dtype == "F32" else "<u2")
                    exponent = _EXPONENT[place.dtype]
                    if bool(((bits & exponent) == exponent).any()):
                        raise InvalidInputError(f"{name} holds infinities or no numbers")
                    left -= len(part)
    except OSError as error:
        raise MissingResourceError(f"cannot read {path}: {error}") from error


def _place(said: Mapping[str, Any], size: int, offset: int) -> TensorPlace:
    dtype, shape = str(said["dtype"]), tuple(int(n) for n in said["shape"])
    start, end = (int(n) for n in said["data_offsets"])
    if dtype not in _WIDTH:
        raise ValueError(f"a tensor of {dtype}, expected one of {', '.join(_WIDTH)}")
    count = 1
    for n in shape:
        count *= n
    if not 0 <= start <= end <= size or end - start != count * _WIDTH[dtype]:
        raise ValueError("a tensor lies beyond the end of the file")
    return TensorPlace(dtype, shape, offset + start, offset + end)
