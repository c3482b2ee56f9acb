"""Scope by subject and relation: a prompt names the subject, and asks what the edit changes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Self

import numpy as np
from safetensors import SafetensorError

from memedit.errors import MissingResourceError
from memedit.indexes.names import Words, words_of
from memedit.registry import register
from memedit.scope.base import Encoder, ScopeClassifier, ScopeInput
from memedit.scope.calibration import foreign_note, threshold_of
from memedit.scope.cosine import Cosine
from memedit.scope.cross_encoder import CrossEncoder, Floats
from memedit.scope.pair_asked import Asked, of_the_last
from memedit.scope.pair_input import HIDDEN, TOKENS
from memedit.scope.pair_settings import PairSettings
from memedit.scope.query import leans, points_back, search_texts, standing
from memedit.scope.questions import by_question, parts_of
from memedit.scope.subjects import (
    KnownBy,
    Mention,
    find_mention,
    forms_asked,
    left_behind,
    other_names,
)
from memedit.scope.wordings import Wording, hidden_edits
from memedit.types import Candidate, EditRequest, ScopeDecision, ScopeLabel

SHIPPED = "pair_model"
_REMEMBERED = 4_096
"""Edits whose names stay read: a few are near to prompts of any kind."""
_CERTAIN = 0.9999
"""What an edit's own prompt counts as; below 1, so that a threshold of 1 silences everything."""

_Text = tuple[str, Words, Set[str]]
"""A text that a query is searched for with, its words, and their ``asked_forms``."""


@register("pair")
class PairClassifier(ScopeClassifier):
    """Looks for the subject by its letters, and judges the relation by a small cross-encoder.

    The cross-encoder reads prompt and edit with the subject hidden in both, so what it learnt of
    one subject holds for all.  A candidate whose subject, aliases included, the prompt does not
    name is unrelated without asking it.  Where the subject is the whole prompt of the edit (as of
    feedback about a prompt) nothing is left to judge: those edits go by similarity, as ``cosine``
    has it, and so do edits whose subject is a word of any question.  Safe to call from several
    threads.

    Args:
        folder: holds ``pair.safetensors``, ``tokenizer.json`` and ``pair.json``; ``None``: the
            one that comes with memedit.
        threshold: the probability from which an edit fires; ``None`` takes the calibrated one.
        threads: threads of one judgement.

    Raises:
        MissingResourceError: a file is missing or damaged.

    """

    def __init__(
        self, folder: Path | None = None, *, threshold: float | None = None, threads: int = 1
    ) -> None:
        folder = folder if folder is not None else shipped_folder()
        try:
            record = json.loads((folder / "pair.json").read_text(encoding="utf-8"))
            self.settings = PairSettings.read(record)
            self._network = CrossEncoder(
                folder / "pair.safetensors",
                folder / "tokenizer.json",
                longest=TOKENS,
                threads=threads,
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise MissingResourceError(
                f"the scope classifier in {folder} cannot be read ({error}); expected "
                "pair.safetensors, tokenizer.json and pair.json, as 'memedit scope train' writes "
                "them"
            ) from error
        self.threshold = threshold_of(threshold, self.settings.threshold)
        self.note: str | None = None
        self._by_similarity = Cosine()
        self._known_by = lru_cache(_REMEMBERED)(_known_by)

    @classmethod
    def open(
        cls, encoder: Encoder, *, threshold: float | None = None, weights: Path | None = None
    ) -> Self:
        """Take the weights; warns if parts of names were calibrated for another encoder.

        ``weights``: a folder as the class takes it; ``None``: those that come with memedit.
        """
        classifier = cls(weights, threshold=threshold)
        classifier.note = foreign_note(
            "scope 'pair' was calibrated",
            classifier.settings.encoder,
            encoder.fingerprint,
            "what it makes of parts of names is a guess",
        )
        return classifier

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        """Judge every candidate of every query in one batch; see ``ScopeClassifier.classify``.

        A prompt that asks several questions is judged question by question, each behind those
        before it ("What is the capital of Peru, and who leads it?"); see ``by_question``.
        """
        inputs = list(inputs)
        parts = [(row, part) for row, one in enumerate(inputs) for part in parts_of(one)]
        decisions = self._classify([*inputs, *(part for _, part in parts)])
        answers: dict[int, list[list[ScopeDecision]]] = {}
        for (row, _), judged in zip(parts, decisions[len(inputs) :], strict=True):
            answers.setdefault(row, []).append(judged)
        for row, several in answers.items():
            decisions[row] = list(map(by_question, decisions[row], *several))
        return decisions[: len(inputs)]

    def _classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        asked: list[list[Asked | None]] = []
        pairs: dict[tuple[str, Wording], int] = {}
        for one in inputs:
            texts = [_read(text) for text in search_texts(one.query)]
            follows = len(texts) > 1 and leans(one.query)
            turns = (standing(one.query.context), one.query.text.strip()) if follows else None
            row = [self._ask(texts, candidate, turns) for candidate in one.candidates]
            if follows and not points_back(one.query.text):
                known = [self._known(candidate.edit.request) for candidate in one.candidates]
                behind = left_behind(*texts[0][1:], known)
                row = [None if left else ask for ask, left in zip(row, behind, strict=True)]
            if any(ask is not None and ask.mention.mistyped for ask in row):
                row = [
                    None if ask is not None and any(map(ask.gives_way_to, row)) else ask
                    for ask in row
                ]
            asked.append(row)
            for question in filter(None, row):
                for pair in question.pairs:
                    pairs.setdefault(pair, len(pairs))
        judged = self.judge(list(pairs))
        decisions = [
            [
                self._decision(candidate, question, judged, pairs)
                for candidate, question in zip(one.candidates, row, strict=True)
            ]
            for one, row in zip(inputs, asked, strict=True)
        ]
        self._read_descriptions(asked, decisions)
        return decisions

    def judge(self, pairs: Sequence[tuple[str, Wording]]) -> Floats:
        """Return probabilities of direct, dependent and unrelated, float32 ``[n, 3]``.

        An edit is read by itself and with its new answer ("it belongs to" asks what nobody knows,
        "it belongs to Chile" for a country), and the logits of both readings are averaged.

        Args:
            pairs: a prompt, with ``HIDDEN`` in place of the subject, and a wording of an edit.

        """
        read: dict[tuple[str, str], int] = {}
        for prompt, wording in pairs:
            for text in wording:
                read.setdefault((prompt, text), len(read))
        logits = self._network.logits(list(read)) / self.settings.temperature
        means = np.empty((len(pairs), logits.shape[1]), np.float32)
        for row, (prompt, wording) in enumerate(pairs):
            means[row] = logits[[read[prompt, text] for text in wording]].mean(axis=0)
        grown = np.exp(means - means.max(axis=1, keepdims=True))
        judged: Floats = grown / grown.sum(axis=1, keepdims=True)
        return judged

    def _known(self, request: EditRequest) -> KnownBy | None:
        return self._known_by(request.subject, tuple(request.aliases), request.prompt)

    def _ask(
        self, texts: Sequence[_Text], candidate: Candidate, turns: tuple[str, str] | None
    ) -> Asked | None:
        """Say what to judge of a candidate, ``None`` where no text names its subject.

        ``turns``: the one before the last and the last, where the last of the texts is both.
        """
        request = candidate.edit.request
        known = self._known(request)
        if known is None:
            return None
        best: tuple[str, Words, Mention] | None = None
        for text, words, asked in texts:
            if not known.may_stand_in(asked):
                continue
            mention = find_mention(words, known.names)
            if mention is not None and (best is None or mention.coverage > best[2].coverage):
                best = (text, words, mention)
        if best is None:
            return None
        text, words, mention = best
        prompts: tuple[str, ...] = (text[: mention.start] + HIDDEN + text[mention.end :],)
        if turns is not None and text is texts[-1][0]:
            prompts = of_the_last(turns, prompts, text, mention)
        named = 1.0
        if mention.coverage < 1:
            beside = other_names(text, words, mention, known.names)
            named = self.settings.named(mention.coverage, candidate.similarity, *beside)
        return Asked(prompts, hidden_edits(request), named, text, mention)

    def _decision(
        self,
        candidate: Candidate,
        question: Asked | None,
        judged: Floats,
        places: Mapping[tuple[str, Wording], int],
    ) -> ScopeDecision:
        if question is None and self._known(candidate.edit.request) is None:
            direct = self._like(candidate.similarity)
            label = ScopeLabel.DIRECT if direct >= self.threshold else ScopeLabel.UNRELATED
            return ScopeDecision(candidate, label, direct, 0.0, 1.0 - direct)
        if question is None:
            return ScopeDecision(candidate, ScopeLabel.UNRELATED, 0.0, 0.0, 1.0)
        rows = judged[[places[pair] for pair in question.pairs]]
        if question.is_own:  # whatever the network makes of a wording of several hops, say
            return ScopeDecision(candidate, ScopeLabel.DIRECT, _CERTAIN, 0.0, 1.0 - _CERTAIN)
        # the wording that the prompt is nearest to: an edit is asked if any of its wordings is
        direct, dependent, _ = (
            float(value) * question.named for value in rows[int(rows[:, 2].argmin())]
        )
        return self._labelled(candidate, direct, dependent)

    def _labelled(self, candidate: Candidate, direct: float, dependent: float) -> ScopeDecision:
        label = ScopeLabel.DIRECT if direct >= dependent else ScopeLabel.DEPENDENT
        if direct + dependent < self.threshold:
            label = ScopeLabel.UNRELATED
        return ScopeDecision(
            candidate, label, direct, dependent, max(0.0, 1.0 - direct - dependent)
        )

    def _read_descriptions(
        self, asked: Sequence[Sequence[Asked | None]], decisions: list[list[ScopeDecision]]
    ) -> None:
        """Move to ``dependent`` what an edit answers about a description, in place.

        "The capital of the country that Ann leads is" reads like a question for the country that
        Ann leads, and is none.  Where the edit answers the description by itself, and no less
        surely than the whole, the prompt leans on it.  Prompts without one cost nothing here.
        """
        places = [
            (row, column, question.through)
            for row, questions in enumerate(asked)
            for column, question in enumerate(questions)
            if question is not None
            and not question.is_own
            and decisions[row][column].label is not ScopeLabel.DEPENDENT
        ]
        pairs = list(dict.fromkeys(pair for *_, through in places for pair in through))
        answered = dict(zip(pairs, self.judge(pairs)[:, 0].tolist(), strict=True)) if pairs else {}
        for row, column, through in places:
            old = decisions[row][column]
            if not through:
                continue
            sure = max(answered[pair] for pair in through)
            if sure < old.direct:
                continue  # "the government of X sits in" asks for no government
            direct = old.direct * (1.0 - sure)
            dependent = max(old.probability, sure) - direct
            decisions[row][column] = self._labelled(old.candidate, direct, dependent)

    def _like(self, similarity: float) -> float:
        """Return the probability by similarity, moved so that its threshold is the one here."""
        found = self._by_similarity.calibration.probability(similarity)
        theirs, ours = self._by_similarity.threshold, self.settings.threshold
        if found < theirs:
            return found / theirs * ours
        return ours + (found - theirs) / (1.0 - theirs) * (1.0 - ours)


def shipped_folder() -> Path:
    """Return the folder of the weights that come with memedit."""
    return Path(str(resources.files("memedit.scope").joinpath(SHIPPED)))


def _known_by(subject: str, aliases: Sequence[str], prompt: str) -> KnownBy | None:
    """Return what an edit is known by; none where nothing but its prompt says what it is about."""
    known = KnownBy.of(subject, aliases)
    if not known.names or words_of(subject).words == words_of(prompt).words:
        return None
    return known


def _read(text: str) -> _Text:
    words = words_of(text)
    return text, words, forms_asked(words)
