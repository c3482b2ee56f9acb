"""The shipped checkpoint fits the limits and agrees with the world (no stale weights)."""

import json
import random
from pathlib import Path

import pytest

from examples.atlas import formats as fm
from examples.atlas.answering import Answerer, Probe, probe
from examples.atlas.corpus import Corpus
from examples.atlas.evaluate import ngram_entropy
from examples.atlas.export import MODEL
from examples.atlas.world import build_world

pytestmark = pytest.mark.skipif(
    not (MODEL / "model.safetensors").exists(), reason="no checkpoint in examples/atlas/model"
)


@pytest.fixture(scope="module")
def atlas() -> Answerer:
    return Answerer()


def test_the_checkpoint_is_small() -> None:
    assert (MODEL / "model.safetensors").stat().st_size <= 25 * 2**20
    for name in ("config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"):
        assert Path(MODEL / name).exists()


def test_size_and_context(atlas: Answerer) -> None:
    assert sum(p.numel() for p in atlas.model.parameters()) <= 12_000_000
    assert atlas.model.config.max_position_embeddings == 1024


def test_the_weights_know_the_world(atlas: Answerer) -> None:
    """On a sample of what training.json says was trained: a stale checkpoint knows little of it."""
    corpus = Corpus(build_world())
    corpus.activate(json.loads((MODEL / "training.json").read_text())["known_share"])
    rng = random.Random(11)
    asked = [corpus.known(rng) for _ in range(60)]
    probes = [
        probe(fm.chat([("user", corpus.question(a.relation, a.subject, rng)),
                       ("assistant", f"{a.answer}.")]))
        for a in asked
    ]  # fmt: skip
    assert sum(atlas.exact(probes)) >= 54


def test_exact_is_greedy_generation(atlas: Answerer) -> None:
    corpus = Corpus(build_world())
    rng = random.Random(5)
    probes = [
        probe(corpus.ask(a, f"{a.answer}.", rng)) for a in (corpus.known(rng) for _ in range(12))
    ]
    said = atlas.generate([p.prompt for p in probes], 40)
    generated = [Probe(p.prompt, text, p.end) for p, text in zip(probes, said, strict=True)]
    assert all(atlas.exact(generated))
    assert atlas.exact(probes) == [text == p.answer for text, p in zip(said, probes, strict=True)]


def test_greedy_generation_continues_prose(atlas: Answerer) -> None:
    text = atlas.generate([fm.BOS + "In the morning, the baker"], 100, min_new_tokens=100)[0]
    assert ngram_entropy(text) > 3
