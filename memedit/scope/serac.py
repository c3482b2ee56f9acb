"""SERAC's scope classifier: a prompt is in scope where it asks what the edit asks."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.indexes.names import Words, names_of, words_of
from memedit.registry import register
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.scope.calibration import foreign_note, threshold_of
from memedit.scope.query import WINDOW, head, search_texts
from memedit.scope.subjects import find_mention
from memedit.types import Candidate, EditRequest, ScopeDecision, ScopeLabel

WEIGHTS: Final = "serac.safetensors"
SETTINGS: Final = "serac.json"
FOLDER: Final = "scope"
"""Where a folder of 'memedit train serac' has the classifier."""
SUBJECT: Final = "X"
"""What stands in a text in the place of the subject: the encoder knows it as a word."""
REPHRASES: Final = 3
"""Stored rephrases of an edit that a prompt is compared with, at most."""
_REMEMBERED: Final = 20_000

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class SeracHead:
    """What was learned: how far apart two texts are, and what an incomplete name adds to it.

    ``projection`` is float32 ``[d, dim]``; ``missing`` is not negative.
    """

    projection: Floats
    missing: float
    threshold: float
    encoder: str
    """The encoder family whose vectors are projected (see ``calibration.family``)."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what ``memedit train serac`` wrote; ``folder`` may be the one above.

        Raises:
            MissingResourceError: a file is missing or damaged.

        """
        if not (folder / SETTINGS).is_file():
            folder = folder / FOLDER
        try:
            record: Mapping[str, Any] = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            read = cls(
                load_file(folder / WEIGHTS)["projection"].astype(np.float32),
                float(record["missing"]),
                float(record["threshold"]),
                str(record["encoder"]),
            )
            numbers = (read.missing, read.threshold, float(np.abs(read.projection).sum()))
            if read.projection.ndim != 2 or not all(map(math.isfinite, numbers)):
                raise ValueError("expected a matrix and finite numbers")
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise MissingResourceError(
                f"the scope classifier in {folder} cannot be read ({error}); expected {WEIGHTS} "
                f"and {SETTINGS}, as 'memedit train serac' writes them"
            ) from error
        return read

    def probability(self, distance: float, coverage: float) -> float:
        """Return the probability that a prompt is in scope.

        Args:
            distance: between the projected vectors, squared.
            coverage: ``Mention.coverage`` of the subject in the prompt.

        """
        return math.exp(-(max(0.0, distance) + self.missing * (1.0 - coverage)))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A prompt beside the wordings of an edit, the subject hidden in all of them."""

    prompt: str
    edits: tuple[str, ...]
    coverage: float


@register("serac")
class SeracScope(ScopeClassifier):
    """p = exp(-d), d the squared distance of what prompt and edit ask, in a learned projection.

    The subject is looked for by its letters, as ``pair`` does, and is hidden in both texts, so what
    was learned of one subject holds for all; what a name lacks adds to the distance.  A prompt that
    is the edit's own, or one of its rephrases, is in scope for certain.  There is no ``dependent``:
    the counterfactual model could not answer it.  Weights come from ``memedit train serac`` and are
    for the prompts of the data that they were trained on.  Safe to call from several threads.

    Source: Mitchell et al. 2022, "Memory-Based Model Editing at Scale", section 3.3 (the form with
    embeddings).

    Args:
        encoder: turns texts into the vectors that are projected.
        learned: the projection.
        threshold: the probability from which an edit fires; ``None`` takes the trained one's.

    Raises:
        InvalidInputError: no such threshold, or vectors of another length than those learned.

    """

    def __init__(
        self, encoder: Encoder, learned: SeracHead, *, threshold: float | None = None
    ) -> None:
        if learned.projection.shape[1] != encoder.dim:
            raise InvalidInputError(
                f"scope 'serac' was trained with encoder {learned.encoder}, whose vectors have "
                f"{learned.projection.shape[1]} numbers; {encoder.fingerprint} makes "
                f"{encoder.dim}. Train it anew with 'memedit train serac'"
            )
        self.threshold = threshold_of(threshold, learned.threshold)
        self.note: str | None = None
        self._encoder = encoder
        self._head = learned
        self._edits: dict[str, Floats] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls, encoder: Encoder, *, threshold: float | None = None, weights: Path | None = None
    ) -> Self:
        """Read ``weights``; warns where they were trained with another encoder of that size.

        Raises:
            InvalidInputError: no weights are given: none come with memedit.

        """
        if weights is None:
            raise InvalidInputError(
                "the scope classifier 'serac' belongs to a counterfactual model; set serac.folder "
                "(or scope.weights) to a folder of 'memedit train serac'"
            )
        learned = SeracHead.read(weights)
        classifier = cls(encoder, learned, threshold=threshold)
        classifier.note = foreign_note(
            "scope 'serac' was trained",
            learned.encoder,
            encoder.fingerprint,
            "its probabilities are a guess",
        )
        return classifier

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        """Judge every candidate of every query in one batch; see ``ScopeClassifier.classify``."""
        asked = [
            [_ask(texts, candidate.edit.request) for candidate in one.candidates]
            for one in inputs
            for texts in [[(text, words_of(text)) for text in search_texts(one.query)]]
        ]
        open_questions = [
            one for row in asked for one in row if one is not None and one.prompt not in one.edits
        ]
        vectors = self._projected(open_questions)
        return [
            [
                self._decision(candidate, question, vectors)
                for candidate, question in zip(one.candidates, row, strict=True)
            ]
            for one, row in zip(inputs, asked, strict=True)
        ]

    def _projected(self, questions: Sequence[_Asked]) -> dict[str, Floats]:
        """Return the projected vector of every text; those of edits are remembered."""
        with self._lock:
            known = dict(self._edits)
        edits = dict.fromkeys(text for one in questions for text in one.edits)
        wanted = list(dict.fromkeys([*(one.prompt for one in questions), *edits]))
        new = [text for text in wanted if text not in known]
        if new:
            rows = self._encoder.encode(new) @ self._head.projection.T
            known |= dict(zip(new, rows, strict=True))
            with self._lock:
                if len(self._edits) > _REMEMBERED:
                    self._edits.clear()
                self._edits |= {text: known[text] for text in edits if text in known}
        return known

    def _decision(
        self, candidate: Candidate, question: _Asked | None, vectors: Mapping[str, Floats]
    ) -> ScopeDecision:
        direct = 0.0
        if question is not None:
            distance = 0.0
            if question.prompt not in question.edits:
                prompt = vectors[question.prompt]
                # the nearest of an edit's wordings: it is asked if any of them is
                distance = min(
                    float(np.square(prompt - vectors[edit], dtype=np.float64).sum())
                    for edit in question.edits
                )
            # six places: the encoder's last bits depend on what else is in its batch
            direct = round(self._head.probability(distance, question.coverage), 6)
        label = ScopeLabel.DIRECT if direct >= self.threshold else ScopeLabel.UNRELATED
        return ScopeDecision(candidate, label, direct, 0.0, 1.0 - direct)


def _ask(texts: Sequence[tuple[str, Words]], request: EditRequest) -> _Asked | None:
    """Return what is to be compared; ``None`` where the prompt does not name the subject."""
    wordings = (request.prompt, *request.rephrases)
    own = {_plain(text) for text in wordings}
    for text, _ in texts:
        if _plain(text) in own or _plain(text) == _plain(head(request.prompt)):
            return _Asked(text, (text,), 1.0)
    if words_of(request.subject).words == words_of(request.prompt).words:
        # feedback about a prompt, which stands for the subject: there is nothing to hide
        return _Asked(texts[-1][0], tuple(dict.fromkeys(map(head, wordings[: 1 + REPHRASES]))), 1.0)
    best: tuple[str, float] | None = None
    for text, words in texts:
        found = hidden(text, request, words)
        if found is not None and (best is None or found[1] > best[1]):
            best = found
    if best is None:
        return None
    hidings = [hidden(text, request) for text in wordings[: 1 + REPHRASES]]
    edits = [found[0] for found in hidings if found is not None] or [head(request.prompt)]
    return _Asked(best[0], tuple(dict.fromkeys(edits)), best[1])


def hidden(text: str, request: EditRequest, words: Words | None = None) -> tuple[str, float] | None:
    """Return a text with the subject hidden, and how much of its name stood there, in (0, 1].

    ``None``: it does not name the subject.  What an encoder would not read is cut off.
    """
    found = words if words is not None else words_of(text)
    mention = find_mention(found, names_of(request.subject, request.aliases))
    if mention is None:
        return None
    without = text[: mention.start] + SUBJECT + text[mention.end :]
    return head(without, WINDOW), mention.coverage


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
