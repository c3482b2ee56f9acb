"""Small parts that a router is wired of in these tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from memedit.incontext.base import InContextMethod, Insertion
from memedit.scope.base import ScopeClassifier, ScopeInput
from memedit.types import EditRequest, ScopeDecision, ScopeLabel, Surface


class WordsEncoder:
    """Turns texts into unit vectors by hashing their words: equal words, similar vectors."""

    dim = 256
    fingerprint = "words-256"

    def encode(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        out = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace("?", " ").replace(".", " ").split():
                out[row, sum(word.encode()) * 31 % self.dim] += 1.0
            if not out[row].any():
                out[row, 0] = 1.0
            out[row] /= np.linalg.norm(out[row])
        return out


class SimilarityClassifier(ScopeClassifier):
    """The similarity itself is the probability."""

    threshold = 0.6

    def classify(self, inputs: Sequence[ScopeInput]) -> list[list[ScopeDecision]]:
        judged = []
        for one in inputs:
            decisions = []
            for candidate in one.candidates:
                p = min(1.0, max(0.0, candidate.similarity))
                label = ScopeLabel.DIRECT if p >= self.threshold else ScopeLabel.UNRELATED
                decisions.append(ScopeDecision(candidate, label, p, 0.0, 1.0 - p))
            judged.append(decisions)
        return judged


class BeforeMethod(InContextMethod):
    """Writes the statements in front of the prompt."""

    def compose(self, query: str, edits: Sequence[Any], surface: Surface) -> Insertion:
        return Insertion(before="".join(edit.statement + "\n" for edit in edits))


ATLANTIS = EditRequest(
    prompt="The capital of Atlantis is",
    subject="Atlantis",
    target_new="Nautilopolis",
    rephrases=("What is the capital of Atlantis?",),
)
ASKED = "What is the capital of Atlantis?"
UNRELATED = "How many moons circle a distant gas giant"


def chat(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}
