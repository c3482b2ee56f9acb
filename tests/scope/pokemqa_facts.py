"""Invented facts for PokeMQA's detector, and a detector made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from memedit.scope.base import Encoder
from memedit.scope.calibration import family
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.pair_weights import write_weights
from memedit.scope.pokemqa import DISAMBIGUATOR, SETTINGS, TOKENIZER, fingerprint
from memedit.scope.predetector import Predetector
from memedit.scope.training.facts import Asked, Fact
from memedit.types import EditRequest, ScopeLabel
from tests.scope.conftest import WIDTH, tiny_bert

WORDINGS = {
    "capital": ("The capital of {} is", "What is the capital of {}?", "Which city rules {}?"),
    "anthem": ("The anthem of {} is", "What is the anthem of {}?", "Which song is {} proud of?"),
    "currency": ("The currency of {} is", "What currency does {} use?", "How does one pay in {}?"),
    "population": ("The population of {} is", "What is the population of {}?",
                   "How many people live in {}?"),
}  # fmt: skip
LANDS = [
    f"{start}{end}"
    for start in ("Vell", "Osk", "Tarn", "Brim", "Quel", "Dras", "Humm", "Lorn", "Pask", "Wend")
    for end in ("mark", "ovia", "heim")
]
FILES = [{"format": "toy", "file": "toy.json", "sha256": "ab" * 32}]


def facts() -> list[Fact]:
    """Return a fact of each relation for each land, with the questions of the others beside it."""
    made = []
    for number, land in enumerate(LANDS):
        for relation, wordings in WORDINGS.items():
            own, *others = (text.format(land) for text in wordings)
            edit = EditRequest(prompt=own, subject=land, target_new=f"Answer{number}")
            asked = [Asked(text, ScopeLabel.DIRECT, "question") for text in others]
            asked += [
                Asked(text.format(land), ScopeLabel.UNRELATED, "locality")
                for other, texts in WORDINGS.items()
                if other != relation
                for text in texts[1:]
            ]
            made.append(Fact("toy", edit, relation, tuple(asked)))
    return made


def written(folder: Path, encoder: Encoder, **settings: float) -> Path:
    """Write a detector made by hand: stage one is cosine, stage two says the same of every pair."""
    base = tiny_bert(folder / "base")
    weights = dict(load_file(base / "model.safetensors"))
    weights |= {"head.weight": np.zeros((3, WIDTH), np.float32),
                "head.bias": np.zeros(3, np.float32)}  # fmt: skip
    checkpoint = find_checkpoint(str(base))
    write_weights(folder / DISAMBIGUATOR, checkpoint.config, weights)
    (folder / TOKENIZER).write_bytes(checkpoint.tokenizer.read_bytes())
    same = np.eye(encoder.dim, dtype=np.float32)
    Predetector(same, same, np.zeros(encoder.dim, np.float32)).write(folder)
    record = {"encoder": family(encoder.fingerprint), "fingerprint": fingerprint(folder)}
    chosen = {"stays": 0.5, "slope": 1.0, "intercept": 0.0, "threshold": 0.5} | settings
    (folder / SETTINGS).write_text(json.dumps(record | chosen), encoding="utf-8")
    return folder
