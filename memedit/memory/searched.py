"""What a request asks of the edit memory: answered from the mirror, without a word of SQL."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from memedit.errors import MemoryFailure
from memedit.memory.encoding import Encoder, Vectors
from memedit.memory.mirror import Mirror
from memedit.types import Candidate


class Searched:
    """The part of an edit memory that is searched.  Safe for several threads."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._closed = False

    @property
    def encoder(self) -> Encoder:
        """The encoder in use."""
        return self._mirror.encoder

    def candidates(
        self,
        vectors: Vectors,
        namespaces: Sequence[Sequence[str]],
        k: int,
        moment: datetime,
        *,
        texts: Sequence[str] | None = None,
    ) -> list[tuple[Candidate, ...]]:
        """Find the ``k`` most similar edits of each query: the hot path.

        Args:
            vectors: the queries, float32 ``[n, dim]``.
            namespaces: for each query those to look into.
            k: most candidates of one query.
            moment: aware; edits that are not valid then are left out.
            texts: the queries' texts; with them, edits whose subject or alias stands in a text
                (``Candidate.named``, at most 16) come beside the ``k`` most similar ones.

        Returns:
            For each query its candidates, most similar first; of equally similar edits the one
            written last comes first.  Every edit once, by its most similar text.

        """
        self._check_open()
        return self._mirror.candidates(vectors, namespaces, k, moment, texts)

    def erased(
        self, texts: Sequence[str], namespaces: Sequence[str], moment: datetime
    ) -> list[tuple[Candidate, ...]]:
        """Find the erasures, valid at ``moment``, whose subject stands in each of some texts.

        By names alone: no SQL, no encoding; similarities are 0.
        """
        self._check_open()
        return self._mirror.erased(texts, namespaces, moment)

    def has_live(self, namespaces: Sequence[str]) -> bool:
        """Tell whether any of the namespaces holds a live edit: no SQL, no encoding."""
        self._check_open()
        return self._mirror.has(namespaces)

    def may_concern(self, texts: Sequence[str], namespaces: Sequence[str]) -> bool:
        """Tell by words alone whether any text may name a live edit: no SQL, no encoding.

        ``False`` is certain: of no edit's names (subject and aliases) stands as much as a part in
        any of the texts (see ``NameGate``).  Edits that are known by no name make it ``True`` for
        whatever is asked of their namespace.  Whether an edit is valid now plays no part.
        """
        self._check_open()
        return self._mirror.may_concern(texts, namespaces)

    def _check_open(self) -> None:
        if self._closed:
            raise MemoryFailure("the edit memory is closed; open it again")
