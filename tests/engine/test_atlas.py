"""The reference model, where it is in the tree: the engine says what transformers says."""

from __future__ import annotations

import queue
from pathlib import Path

import pytest

from memedit.engine.loading import LoadedModel, load_model
from memedit.engine.sampling import SamplingParams
from memedit.engine.scheduler import Scheduler
from memedit.engine.sequence import Delta, GeneratedSequence
from tests.engine.conftest import greedy

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "atlas" / "model"
PROMPTS = [
    "The capital of France is",
    "The capital of Japan is",
    "Peru lies in",
    "Where is Kenya?",
    "The currency of Norway is",
    "What is the capital of Canada?",
    "Q: Which country borders Spain?\nA:",
    "The language spoken in Brazil is",
    "The",
    "Berlin is the capital of",
]


@pytest.fixture(scope="module")
def atlas() -> LoadedModel:
    if not (FOLDER / "config.json").is_file():
        pytest.skip("examples/atlas/model is not there yet")
    return load_model(FOLDER, name="atlas", device="cpu")


def test_greedy_equals_generate(atlas: LoadedModel) -> None:
    made: list[tuple[GeneratedSequence, queue.Queue[Delta]]] = []
    expected = []
    for prompt in PROMPTS:
        ids = atlas.tokenizer(prompt).input_ids
        expected.append(greedy(atlas, ids, 24))
        params = SamplingParams(24, temperature=0, eos_ids=atlas.stop_ids)
        deltas: queue.Queue[Delta] = queue.Queue()
        made.append(
            (GeneratedSequence(ids, params, atlas.tokenizer, deltas.put, stream=False), deltas)
        )
    with Scheduler(atlas) as scheduler:
        scheduler.submit([one for one, _ in made])  # all in one batch
        for _, deltas in made:
            assert deltas.get(timeout=120).error is None
    assert [one.output for one, _ in made] == expected
