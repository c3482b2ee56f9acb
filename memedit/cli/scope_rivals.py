"""Which classifiers ``memedit eval scope`` measures, and with which weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from memedit.errors import UnknownNameError

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.scope.base import Encoder, ScopeClassifier


def open_rivals(
    given: Sequence[str] | None, weights: Path | None, settings: Settings, encoder: Encoder
) -> dict[str, ScopeClassifier]:
    """Open each classifier that was asked for, by what it is called in tables and plots.

    Args:
        given: ``NAME`` or ``NAME=DIR``; none: the settings' one.
        weights: of the one classifier, where no ``DIR`` says so.
        settings: whose threshold and weights count for the classifier that they name.
        encoder: whose similarities the candidates carry.

    Raises:
        BadParameter: an unknown name, one given twice, or ``weights`` for several.

    """
    from memedit.scope.catalog import open_classifier

    asked = list(given or [settings.scope.classifier])
    if weights is not None and len(asked) > 1:
        raise typer.BadParameter(
            "several classifiers: say whose it is, --classifier NAME=DIR", param_hint="--weights"
        )
    if len(set(asked)) < len(asked):
        raise typer.BadParameter("one is given twice", param_hint="--classifier")
    opened = {}
    for one in asked:
        name, _, folder = one.partition("=")
        configured = len(asked) == 1 or name == settings.scope.classifier
        own = Path(folder) if folder else weights
        if own is None and configured:
            own = settings.scope_weights
        if own is None and name == "serac":
            own = settings.serac.folder
        try:
            opened[one] = open_classifier(
                name,
                encoder,
                threshold=settings.scope.threshold if configured else None,
                weights=own,
            )
        except UnknownNameError as error:
            raise typer.BadParameter(str(error), param_hint="--classifier") from None
    return opened
