from __future__ import annotations

import queue
import time
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from memedit.engine.loading import LoadedModel
from memedit.engine.sampling import SamplingParams
from memedit.engine.scheduler import EngineStopped, Scheduler
from memedit.engine.sequence import Delta, GeneratedSequence
from tests.engine.conftest import greedy

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}
SMALL = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 256}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {**SHAPE, **SMALL},
    "mistral": {**SHAPE, **SMALL, "sliding_window": 8},
    "qwen2": {**SHAPE, **SMALL},
    "qwen3": {**SHAPE, **SMALL, "head_dim": 8},
    "gemma2": {**SHAPE, **SMALL, "head_dim": 8, "sliding_window": 8},
    "gemma3_text": {**SHAPE, **SMALL, "head_dim": 8, "sliding_window": 8},
    "phi": {**SHAPE, **SMALL},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400, "n_positions": 256},
    "gptj": {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400, "rotary_dim": 4},
    "gpt_neox": {**SHAPE, "intermediate_size": 48},
    "opt": {**SHAPE, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 256},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400},
}


def sequence(
    loaded: LoadedModel, prompt: list[int], tokens: int, *, stream: bool = False
) -> tuple[GeneratedSequence, queue.Queue[Delta]]:
    deltas: queue.Queue[Delta] = queue.Queue()
    params = SamplingParams(tokens, temperature=0)
    made = GeneratedSequence(prompt, params, loaded.tokenizer, deltas.put, stream=stream)
    return made, deltas


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_in_any_batch_is_what_generate_says(loaded: LoadedModel, family: str) -> None:
    config = transformers.AutoConfig.for_model(
        family, **FAMILIES[family], initializer_range=0.3, bos_token_id=0, eos_token_id=1
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    other = replace(loaded, model=model)
    prompts = [[7] * 3, list(range(20, 45)), [9, 8, 7], [300], list(range(60, 71))]
    lengths = [16, 3, 8, 12, 10]
    expected = [
        greedy(other, p, n, eos_token_id=None) for p, n in zip(prompts, lengths, strict=True)
    ]
    made = [sequence(other, p, n) for p, n in zip(prompts, lengths, strict=True)]
    with Scheduler(other, max_batch=4) as scheduler:
        for one, _ in made:  # one by one: they join while others are decoding, and leave early
            scheduler.submit([one])
        for _, deltas in made:
            assert deltas.get(timeout=120).error is None
    assert [one.output for one, _ in made] == expected
    assert other.can_be_padded == (family != "bloom")


def test_a_cancelled_sequence_is_dropped(loaded: LoadedModel) -> None:
    with Scheduler(loaded) as scheduler:
        gone, deltas = sequence(loaded, [7, 8, 9], 100_000, stream=True)
        stays, kept = sequence(loaded, [9, 9], 20)
        scheduler.submit([gone, stays])
        deltas.get(timeout=120)
        gone.cancel()
        assert kept.get(timeout=120).finish_reason == "length"
        time.sleep(0.05)
        length = len(gone.output)
        time.sleep(0.1)
        assert len(gone.output) == length
        assert scheduler._batches == []


def test_more_than_fits_waits_its_turn(loaded: LoadedModel) -> None:
    with Scheduler(loaded, max_batch=2, max_cached_tokens=40) as scheduler:
        made = [sequence(loaded, [number + 5, 6], 15) for number in range(7)]
        scheduler.submit([one for one, _ in made])
        assert [deltas.get(timeout=120).finish_reason for _, deltas in made] == ["length"] * 7


def test_a_failing_step_ends_its_sequences_only(
    loaded: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    with Scheduler(loaded) as scheduler:
        broken, failed = sequence(loaded, [10**6], 3)  # no such row of the embedding
        scheduler.submit([broken])
        assert failed.get(timeout=120).error is not None
        fine, deltas = sequence(loaded, [5], 3)
        scheduler.submit([fine])
        assert deltas.get(timeout=120).error is None
    assert "failed" in caplog.text


def test_closing_fails_what_is_left(loaded: LoadedModel) -> None:
    scheduler = Scheduler(loaded)
    assert not scheduler.alive
    with scheduler:
        assert scheduler.alive
        endless, deltas = sequence(loaded, [5], 100_000, stream=True)
        scheduler.submit([endless])
        deltas.get(timeout=120)
    assert not scheduler.alive
    while (delta := deltas.get(timeout=120)).error is None:
        pass
    assert isinstance(delta.error, EngineStopped)
    with pytest.raises(EngineStopped):
        scheduler.submit([endless])
