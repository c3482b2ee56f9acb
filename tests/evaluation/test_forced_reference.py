"""Teacher-forced scores of a batch, against plain code that scores one row at a time."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from memedit.evaluation.forced import log_probability, token_accuracy
from memedit.evaluation.local import LocalModel
from memedit.evaluation.protocols import Forced

# Of many lengths, right and wrong, in words the model knows and others: a batch has to be padded.
PAIRS = [
    ("The capital of France is", "Paris"),
    ("The capital of France is", "Berlin"),
    ("The capital of the country whose official language is French is", "Paris"),
    ("Mongolia shares borders with", "Russia and China"),
    ("In Bolivia, people speak", "Spanish"),
    ("Paris", "is a city, and not a small one"),
    ("The person married to Quaeth Vaick is", "Daard Caeick"),
]


@dataclass
class Atlas:
    model: Any
    tokenizer: Any
    local: LocalModel


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    folder = Path(__file__).parents[2] / "examples" / "atlas" / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # In float64: the order in which a padded batch adds up is then no part of the comparison.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    return Atlas(model, tokenizer, LocalModel(model, tokenizer, name="atlas", form="completion"))


def reference(atlas: Atlas, prompt: str, target: str) -> tuple[float, float, list[int]]:
    """Return token accuracy (equation 10), log-probability and argmax of one target."""
    ids = atlas.tokenizer(f"{prompt} {target}")["input_ids"]
    start = len(atlas.tokenizer(prompt)["input_ids"])
    assert ids[:start] == atlas.tokenizer(prompt)["input_ids"]
    with torch.no_grad():
        logits = atlas.model(torch.tensor([ids])).logits[0].double()
    right, total, best = 0, 0.0, []
    for place in range(start, len(ids)):
        row = logits[place - 1]
        best.append(int(row.argmax()))
        right += best[-1] == ids[place]
        total += float(row[ids[place]] - row.logsumexp(0))
    return right / len(best), total, best


def test_a_batch_scores_as_one_row_at_a_time_does(atlas: Atlas) -> None:
    scored = atlas.local.score([prompt for prompt, _ in PAIRS], [target for _, target in PAIRS])
    expected = [reference(atlas, prompt, target) for prompt, target in PAIRS]
    for got, (accuracy, total, best) in zip(scored, expected, strict=True):
        assert got.accuracy == pytest.approx(accuracy, abs=1e-9)
        assert log_probability(got) == pytest.approx(total, abs=1e-6)
        assert list(got.predicted) == best
    mean = sum(accuracy for accuracy, _, _ in expected) / len(expected)
    assert token_accuracy(scored) == pytest.approx(mean, abs=1e-9)
    assert 0 < mean < 1, "the pairs no longer tell right from wrong"


def test_a_distribution_is_whole_and_agrees_with_the_score(atlas: Atlas) -> None:
    prompts, targets = [prompt for prompt, _ in PAIRS], [target for _, target in PAIRS]
    scored: list[Forced] = atlas.local.score(prompts, targets)
    rows = atlas.local.log_probabilities(prompts, targets)
    for got, logs in zip(scored, rows, strict=True):
        assert logs.shape == (len(got.predicted), atlas.model.config.vocab_size)
        assert np.exp(logs.astype(np.float64)).sum(axis=1) == pytest.approx(1, abs=1e-5)
        assert logs.argmax(axis=1).tolist() == list(got.predicted)
        said = [row[best] for row, best in zip(logs, got.predicted, strict=True)]
        for right, mine, of_target in zip(got.correct, said, got.log_probability, strict=True):
            assert of_target <= mine + 1e-5
            assert not right or of_target == pytest.approx(float(mine), abs=1e-5)
