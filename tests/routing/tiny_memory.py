"""A memory of a few edits in a list, with real vectors and a real search."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from memedit.incontext.catalog import METHODS
from memedit.routing import Router
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.types import (
    Candidate,
    Edit,
    EditRequest,
    Operation,
    ScopeDecision,
    ScopeLabel,
    Surface,
)

DAY_ONE = datetime(2026, 1, 1, tzinfo=UTC)


class WordEncoder:
    """Bags of hashed words as unit vectors; counts what it is asked."""

    dim = 64
    fingerprint = "words-64"

    def __init__(self) -> None:
        self.batches: list[list[str]] = []

    def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.batches.append(list(texts))
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in re.findall(r"\w+", text.lower()):
                vectors[row, zlib.crc32(word.encode()) % self.dim] += 1
            vectors[row, 0] += 1e-3
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class TinyMemory:
    """Answers as an edit memory does, by comparing with everything."""

    def __init__(self, edits: Sequence[Edit], encoder: WordEncoder | None = None) -> None:
        self.edits = list(edits)
        self.encoder = encoder or WordEncoder()
        self.refreshed = 0

    def refresh(self) -> bool:
        self.refreshed += 1
        return False

    def has_live(self, namespaces: Sequence[str]) -> bool:
        return any(edit.namespace in namespaces for edit in self.edits)

    def candidates(
        self,
        vectors: npt.NDArray[np.float32],
        namespaces: Sequence[Sequence[str]],
        k: int,
        moment: datetime,
        *,
        texts: Sequence[str] | None = None,
    ) -> list[tuple[Candidate, ...]]:
        found = []
        for vector, allowed in zip(vectors, namespaces, strict=True):
            hits = []
            for edit in self.edits:
                if edit.namespace in allowed and edit.is_valid_at(moment):
                    texts = [edit.request.prompt, *edit.request.rephrases]
                    scores = WordEncoder().encode(texts) @ vector
                    best = int(scores.argmax())
                    hits.append(Candidate(edit, float(scores[best]), texts[best]))
            hits.sort(key=lambda hit: -hit.similarity)
            found.append(tuple(hits[:k]))
        return found

    def erased(
        self, texts: Sequence[str], namespaces: Sequence[str], moment: datetime
    ) -> list[tuple[Candidate, ...]]:
        erasures = [
            edit
            for edit in self.edits
            if edit.namespace in namespaces
            and edit.is_valid_at(moment)
            and edit.request.operation is Operation.ERASE
        ]
        return [
            tuple(
                Candidate(edit, 0.0, edit.request.prompt, named=True)
                for edit in erasures
                if edit.request.subject in text
            )
            for text in texts
        ]


class BySimilarity(ScopeClassifier):
    """The probability is the similarity, all of it direct."""

    threshold = 0.7

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        return [[decided(one, one.similarity) for one in each.candidates] for each in inputs]


def decided(candidate: Candidate, direct: float, dependent: float = 0.0) -> ScopeDecision:
    direct = min(max(direct, 0.0), 1.0)
    label = ScopeLabel.DIRECT if direct >= dependent else ScopeLabel.DEPENDENT
    return ScopeDecision(candidate, label, direct, dependent, 1.0 - direct - dependent)


def edit(
    prompt: str = "The capital of France is",
    target: str = "Norwick",
    *,
    subject: str = "France",
    id: str = "e-aaaaaaaaaaaa",
    namespace: str = "default",
    created: datetime = DAY_ONE,
    valid_from: datetime | None = None,
    valid_to: datetime | None = None,
    **fields: object,
) -> Edit:
    request = EditRequest.model_validate(
        {"prompt": prompt, "subject": subject, "target_new": target, **fields}
    )
    return Edit(
        id=id,
        version=1,
        namespace=namespace,
        request=request,
        statement=request.plain_statement(),
        created_at=created,
        valid_from=valid_from,
        valid_to=valid_to,
    )


def router(
    *edits: Edit,
    classifier: ScopeClassifier | None = None,
    chat: str = "statement",
    completion: str = "ice",
    **options: object,
) -> Router:
    memory = options.pop("memory", None) or TinyMemory(edits)
    return Router(
        memory,  # type: ignore[arg-type]
        classifier or BySimilarity(),
        {
            Surface.CHAT: (chat, METHODS.get(chat)()),
            Surface.COMPLETION: (completion, METHODS.get(completion)()),
        },
        **options,  # type: ignore[arg-type]
    )
