"""PokeMQA's scope detector: what is near enough stays, and of that the best answers, or none."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
from safetensors import SafetensorError

from memedit.errors import InvalidInputError, MissingResourceError
from memedit.registry import register
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.scope.calibration import foreign_note, threshold_of
from memedit.scope.cross_encoder import CrossEncoder
from memedit.scope.predetector import FILE, Floats, Predetector, nearness
from memedit.scope.query import search_texts
from memedit.types import Candidate, EditRequest, ScopeDecision, ScopeLabel

SETTINGS: Final = "pokemqa.json"
DISAMBIGUATOR: Final = "disambiguator.safetensors"
TOKENIZER: Final = "tokenizer.json"
_REMEMBERED: Final = 20_000


@dataclass(frozen=True, slots=True)
class PokemqaSettings:
    """How to read the numbers of both stages; stands beside their weights."""

    stays: float
    """From which nearness on an edit gets into the second stage."""
    slope: float
    intercept: float
    """Of the second stage: p = sigmoid(slope * logit + intercept)."""
    threshold: float
    """The probability from which the best edit fires."""
    encoder: str
    """The encoder family whose vectors the first stage projects (see ``calibration.family``)."""

    def __post_init__(self) -> None:
        numbers = (self.stays, self.slope, self.intercept, self.threshold)
        if not all(math.isfinite(number) for number in numbers) or self.slope <= 0:
            raise InvalidInputError(f"got {self}; expected finite numbers and a slope above 0")

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Self:
        """Read the fields of ``pokemqa.json`` that are settings."""
        stays, slope, intercept, threshold = (
            float(record[name]) for name in ("stays", "slope", "intercept", "threshold")
        )
        return cls(stays, slope, intercept, threshold, str(record["encoder"]))

    def probability(self, logit: float) -> float:
        """Return what the second stage's logit means."""
        value = max(-30.0, min(30.0, self.slope * logit + self.intercept))
        return 1.0 / (1.0 + math.exp(-value))


@dataclass(frozen=True, slots=True)
class Stages:
    """What both stages say of one candidate."""

    near: float
    """The first stage's probability."""
    logit: float | None
    """The second stage's; ``None`` where the candidate did not stay, or is certain."""
    certain: bool = False
    """The prompt is the edit's own, or one of its rephrases."""


@register("pokemqa")
class PokemqaScope(ScopeClassifier):
    """Two stages: a bi-encoder drops most candidates, a cross-encoder picks the best of the rest.

    Both read the question and the edit's statement whole, subjects and all.  At most one edit fires
    on a prompt; the others, and those that the first stage drops, get the probability 0.  A prompt
    that is an edit's own, or one of its rephrases, is in scope for certain.  There is no
    ``dependent``: multi-hop questions are taken apart before they are asked.  Unlike the paper's,
    the second stage also judges an edit that stays alone, so that a probability means one thing,
    and the first sees the candidates of the search, not all edits.  Weights come from ``memedit
    train pokemqa``.  Safe to call from several threads.

    Source: Gu et al. 2024, "PokeMQA: Programmable knowledge editing for Multi-hop Question
    Answering", section 4 (the programmable scope detector).

    Args:
        encoder: turns texts into the vectors that the first stage projects.
        folder: holds what ``memedit train pokemqa`` wrote.
        threshold: the probability from which an edit fires; ``None`` takes the trained one's.
        threads: threads of one judgement.

    Raises:
        InvalidInputError: no such threshold, or vectors of another length than those learned.
        MissingResourceError: a file is missing or damaged.

    """

    def __init__(
        self, encoder: Encoder, folder: Path, *, threshold: float | None = None, threads: int = 1
    ) -> None:
        try:
            record = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
            self.settings = PokemqaSettings.read(record)
            if (found := fingerprint(folder)) != record["fingerprint"]:
                raise ValueError(f"the weights are {found}, not {record['fingerprint']}")
            self._near = Predetector.read(folder)
            self._cross = CrossEncoder(folder / DISAMBIGUATOR, folder / TOKENIZER, threads=threads)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise MissingResourceError(
                f"the scope classifier in {folder} cannot be read ({error}); expected {SETTINGS}, "
                f"{FILE}, {DISAMBIGUATOR} and {TOKENIZER}, as 'memedit train pokemqa' writes them"
            ) from error
        if self._near.dim != encoder.dim:
            raise InvalidInputError(
                f"scope 'pokemqa' was trained with encoder {self.settings.encoder}, whose vectors "
                f"have {self._near.dim} numbers; {encoder.fingerprint} makes {encoder.dim}. Train "
                "it anew with 'memedit train pokemqa'"
            )
        self.threshold = threshold_of(threshold, self.settings.threshold)
        self.note: str | None = None
        self._encoder = encoder
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
                "no weights of the scope classifier 'pokemqa' come with memedit; set scope.weights "
                "to a folder of 'memedit train pokemqa'"
            )
        classifier = cls(encoder, weights, threshold=threshold)
        classifier.note = foreign_note(
            "scope 'pokemqa' was trained",
            classifier.settings.encoder,
            encoder.fingerprint,
            "what its first stage drops is a guess",
        )
        return classifier

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        """Judge every candidate of every query in one batch; see ``ScopeClassifier.classify``."""
        return [
            self._decisions(one.candidates, row)
            for one, row in zip(inputs, self.stages(inputs), strict=True)
        ]

    def probability(self, stages: Stages) -> float:
        """Return the probability that a candidate is in scope, whatever the others are."""
        if stages.certain:
            return 1.0
        if stages.logit is None:
            return 0.0
        # six places: the last bits depend on what else is in the batch
        return round(self.settings.probability(stages.logit), 6)

    def stages(self, inputs: Sequence[ScopeInput]) -> list[list[Stages]]:
        """Return what both stages say, in one batch: one list per input, as its candidates are."""
        asked = [search_texts(one.query) for one in inputs]
        open_ = [
            [not _certain(texts, candidate.edit.request) for candidate in one.candidates]
            for one, texts in zip(inputs, asked, strict=True)
        ]
        questions, edits = self._projected(
            [text for texts, row in zip(asked, open_, strict=True) if any(row) for text in texts],
            [
                stated(candidate.edit.request)
                for one, row in zip(inputs, open_, strict=True)
                for candidate, wanted in zip(one.candidates, row, strict=True)
                if wanted
            ],
        )
        found: list[list[Stages]] = []
        pairs: dict[tuple[str, str], int] = {}
        places: list[list[int | None]] = []
        for one, texts, row in zip(inputs, asked, open_, strict=True):
            found.append([])
            places.append([])
            for candidate, wanted in zip(one.candidates, row, strict=True):
                if not wanted:
                    found[-1].append(Stages(1.0, None, certain=True))
                    places[-1].append(None)
                    continue
                edit = stated(candidate.edit.request)
                near = [float(nearness(questions[text], edits[edit])) for text in texts]
                best = int(np.argmax(near))
                found[-1].append(Stages(near[best], None))
                stays = near[best] >= self.settings.stays
                pair = (texts[best], edit)
                places[-1].append(pairs.setdefault(pair, len(pairs)) if stays else None)
        logits = self._cross.logits(list(pairs))
        return [
            [
                stage
                if place is None
                # in scope against out of it; the third output, "dependent", was never taught
                else Stages(stage.near, float(logits[place, 0] - logits[place, 2]))
                for stage, place in zip(row, at, strict=True)
            ]
            for row, at in zip(found, places, strict=True)
        ]

    def _decisions(
        self, candidates: Sequence[Candidate], stages: Sequence[Stages]
    ) -> list[ScopeDecision]:
        own = [self.probability(one) for one in stages]
        ranked = sorted(
            range(len(own)), key=lambda i: (own[i], candidates[i].similarity), reverse=True
        )
        decisions = []
        for i, candidate in enumerate(candidates):
            direct = own[i] if i == ranked[0] else 0.0
            label = ScopeLabel.DIRECT if direct >= self.threshold else ScopeLabel.UNRELATED
            decisions.append(ScopeDecision(candidate, label, direct, 0.0, 1.0 - direct))
        return decisions

    def _projected(
        self, questions: Sequence[str], edits: Sequence[str]
    ) -> tuple[dict[str, Floats], dict[str, Floats]]:
        """Return the projections of both by their texts; those of edits are remembered."""
        asked = list(dict.fromkeys(questions))
        with self._lock:
            known = {text: self._edits[text] for text in edits if text in self._edits}
        new = [text for text in dict.fromkeys(edits) if text not in known]
        if not asked and not new:
            return {}, known
        vectors = self._encoder.encode([*asked, *new])
        made = dict(zip(new, self._near.of_edits(vectors[len(asked) :]), strict=True))
        with self._lock:
            if len(self._edits) > _REMEMBERED:
                self._edits.clear()
            self._edits |= made
        projected = self._near.of_questions(vectors[: len(asked)])
        return dict(zip(asked, projected, strict=True)), known | made


def stated(request: EditRequest) -> str:
    """Return an edit as one text that says what it is about: what both stages read of it.

    A statement that does not name the subject, as a correction may not, has the prompt before it.
    """
    statement = request.plain_statement()
    if request.subject.casefold() in statement.casefold():
        return statement
    return f"{request.prompt} {statement}"


def plain(text: str) -> str:
    """Return a text as prompts are compared: without case and further spaces."""
    return " ".join(text.casefold().split())


def fingerprint(folder: Path) -> str:
    """Return the identity of both stages' weights and of the tokenizer.

    Raises:
        OSError: a file is missing.

    """
    digest = hashlib.sha256()
    for name in (FILE, DISAMBIGUATOR, TOKENIZER):
        digest.update(hashlib.sha256((folder / name).read_bytes()).digest())
    return digest.hexdigest()[:16]


def _certain(texts: Sequence[str], request: EditRequest) -> bool:
    own = {plain(text) for text in (request.prompt, *request.rephrases)}
    return any(plain(text) in own for text in texts)
