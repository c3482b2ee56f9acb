"""The scope classifiers by name."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from memedit.registry import Registry
from memedit.scope.base import Encoder, ScopeClassifier

CLASSIFIERS: Final[Registry[ScopeClassifier]] = Registry(
    kind="scope classifier",
    package="memedit.scope",
    base=ScopeClassifier,  # type: ignore[type-abstract]  # a base is only compared with
    group="memedit.scope",
)


def open_classifier(
    name: str,
    encoder: Encoder,
    *,
    threshold: float | None = None,
    weights: Path | None = None,
) -> ScopeClassifier:
    """Make the classifier called ``name`` for the encoder in use.

    Raises:
        UnknownNameError: no classifier of that name.
        InvalidInputError: weights for one that has none.
        MissingResourceError: the weights cannot be read.

    """
    return CLASSIFIERS.get(name).open(encoder, threshold=threshold, weights=weights)
