"""r-ROME: ROME with one key everywhere."""

from __future__ import annotations

from dataclasses import dataclass

from memedit.editing.rome import RankOne, RomeConfig
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class RRomeConfig(RomeConfig):
    """Settings of r-ROME."""


@register("r-rome")
class RRome(RankOne[RRomeConfig]):
    """ROME with the mean key k̄ in all places, so that W' k̄ = v* holds exactly.

    Source: Gupta et al. 2024, "Rebuilding ROME: Resolving Model Collapse during Sequential Model
    Editing".
    """

    config_type = RRomeConfig
