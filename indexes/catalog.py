"""Which vector indexes there are, and how to open one by name."""

from __future__ import annotations

from memedit.indexes.base import VectorIndex
from memedit.registry import Registry

INDEXES: Registry[VectorIndex] = Registry(
    "vector index",
    package="memedit.indexes",
    base=VectorIndex,  # type: ignore[type-abstract]
    group="memedit.indexes",
)
AUTO = "auto"
_CHOSEN = "faiss"


def index_class(kind: str) -> type[VectorIndex]:
    """Return the class behind a registered name; ``auto`` is ``faiss``.

    Raises:
        UnknownNameError: no index is called that.

    """
    return INDEXES.get(_CHOSEN if kind == AUTO else kind)


def open_index(kind: str, dim: int) -> VectorIndex:
    """Make an empty index for vectors of ``dim`` numbers.

    Args:
        kind: a registered name, or ``auto``: exact while small, approximate when large.
        dim: the length of a vector.

    Raises:
        UnknownNameError: no index is called that.

    """
    return index_class(kind)(dim)
