"""Enriching stored edits: questions are made, and stored beside them."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass

from memedit.enrichment.base import QuestionMaker
from memedit.errors import UpstreamError
from memedit.memory import EditMemory, Generated
from memedit.types import Edit, Status

log = logging.getLogger(__name__)

_SWEEP_SECONDS = 60.0
"""So long at least between two looks for questions of edits whose validity is over."""


@dataclass(frozen=True, slots=True)
class Enriched:
    """What became of some edits; their numbers add up to those that were given."""

    enriched: int = 0
    """Edits that have questions now."""
    unchanged: int = 0
    """Edits for which nothing fit was made, and those that had theirs."""
    gone: int = 0
    """Edits that were superseded, retracted or over meanwhile."""
    failed: int = 0
    """Edits whose questions the model was to make, and did not."""
    questions: int = 0
    """Stored, of all of them."""
    rejected: int = 0
    """Answers of the model that were not taken."""

    def __add__(self, other: Enriched) -> Enriched:
        return Enriched(
            self.enriched + other.enriched,
            self.unchanged + other.unchanged,
            self.gone + other.gone,
            self.failed + other.failed,
            self.questions + other.questions,
            self.rejected + other.rejected,
        )


class Enricher:
    """Makes and stores questions for edits of one memory.

    Args:
        memory: where the edits are.
        maker: what makes the questions.

    """

    def __init__(self, memory: EditMemory, maker: QuestionMaker) -> None:
        self.memory = memory
        self.maker = maker
        self._swept = -_SWEEP_SECONDS

    @property
    def at_once(self) -> int:
        """How many edits to hand over at once."""
        return self.maker.at_once

    def enrich(self, edits: Sequence[Edit], *, anew: bool = False) -> Enriched:
        """Make questions for edits, and store them in one transaction.

        Of a model that does not answer it is logged why, without any text, and the edit is counted
        as failed: it stays among those that have no questions yet.  Questions of edits that are
        over by now are removed on the way.

        Args:
            edits: versions as they are stored; those that are no longer live are left alone.
            anew: also for edits that have questions of the same maker.

        Raises:
            MemoryFailure: the database cannot be read or written; nothing was stored.

        """
        if time.monotonic() - self._swept >= _SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.memory.questions.forget_expired()
        done = Enriched()
        made = []
        for edit in {edit.ref: edit for edit in edits}.values():
            if edit.status is not Status.LIVE:
                done += Enriched(gone=1)
                continue
            there = None if anew else self.memory.questions.of(edit.ref)
            if there is not None and there.method == self.maker.name:
                done += Enriched(unchanged=1)
                continue
            try:
                one = self.maker.make(edit)
            except UpstreamError as error:
                log.warning(
                    "no questions were generated for %s: %s; 'memedit enrich' tries again",
                    edit.ref,
                    error,
                )
                done += Enriched(failed=1)
                continue
            made.append(Generated(edit.ref, self.maker.name, one.texts))
            done += Enriched(rejected=one.rejected)
        stored = self.memory.questions.store(made) if made else {}
        return done + Enriched(
            enriched=sum(n > 0 for n in stored.values()),
            unchanged=sum(n == 0 for n in stored.values()),
            gone=len(made) - len(stored),
            questions=sum(stored.values()),
        )
