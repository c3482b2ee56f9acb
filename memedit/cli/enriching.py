"""Making questions for edits from the command line: after a write, and by ``memedit enrich``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from memedit.errors import UpstreamUnreachable

if TYPE_CHECKING:
    from memedit.config import Settings
    from memedit.enrichment import Enriched
    from memedit.memory import EditMemory
    from memedit.routing.steps import NeedUpstream, UpstreamReply
    from memedit.types import Edit

MOST_FAILURES = 3
"""Edits in a row whose questions the model did not make: then it is not asked any more."""


def enrich_edits(
    memory: EditMemory,
    settings: Settings,
    edits: Iterable[Edit],
    *,
    anew: bool = False,
    tell: Callable[[int], None] = lambda done: None,
) -> Enriched:
    """Make and store questions as ``memory.enrich`` says.

    Args:
        memory: where the edits are.
        settings: those of the memory.
        edits: as they are stored.
        anew: also for edits that have questions of the same method.
        tell: called with the number of edits that are done.

    Returns:
        What became of those that were tried; a model that does not answer is given up on.

    Raises:
        SettingsError: no questions are to be made, or the upstream is no URL.
        MemoryFailure: the database cannot be read or written.

    """
    from memedit.enrichment import Enriched, open_asker
    from memedit.wiring import open_enricher

    done, tried, in_a_row = Enriched(), 0, 0
    asks = settings.memory.enrich == "model"
    with open_asker(settings.serve) if asks else nullcontext(_nobody) as ask:
        enricher = open_enricher(memory, settings, ask)
        left = iter(edits)
        while part := list(islice(left, enricher.at_once)):
            now = enricher.enrich(part, anew=anew)
            done, tried = done + now, tried + len(part)
            in_a_row = in_a_row + now.failed if now.failed == len(part) else 0
            tell(tried)
            if in_a_row >= MOST_FAILURES:
                break
    return done


def _nobody(need: NeedUpstream) -> UpstreamReply:
    raise UpstreamUnreachable("templates ask no model")
