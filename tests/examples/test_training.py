"""A smoke training run trains, resumes, exports a checkpoint that transformers reads."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.atlas import formats as fm
from examples.atlas.corpus import Corpus
from examples.atlas.network import Shape, cast, hidden_states, new_parameters
from examples.atlas.train import SMOKE, SMOKE_SHAPE, make_stream, train
from examples.atlas.world import build_world


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(folder, SMOKE_SHAPE, SMOKE, export_every=5, save_every=6)
    return folder


def test_smoke_training_learns_and_exports(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "curve.jsonl").read_text().splitlines()]
    assert rows and rows[-1]["loss"] < 6.9
    model = LlamaForCausalLM.from_pretrained(run / "export")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "export")
    assert tokenizer("Hello")["input_ids"][0] == tokenizer.bos_token_id
    assert model.config.tie_word_embeddings
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids([fm.EOS, fm.END])


def test_training_resumes_where_it_stopped(run: Path) -> None:
    trainer = train(run, SMOKE_SHAPE, SMOKE)
    assert trainer.step == SMOKE.steps
    with pytest.raises(ValueError, match="expected"):
        train(run, Shape(vocab=1024, width=64, hidden=128, layers=3, heads=2), SMOKE)


def test_the_chat_template_renders_what_training_shows(run: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(run / "export")
    turns = [("system", "Be brief."), ("user", "Who?"), ("assistant", "Nobody."), ("user", "Why?")]
    messages: list[dict[str, object]] = [{"role": r, "content": t} for r, t in turns]
    messages[1]["content"] = [{"type": "text", "text": "Who?"}]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == fm.chat_prompt(turns)


def test_the_stream_is_a_function_of_seed_and_step(run: Path) -> None:
    one, other = (make_stream(run / "tokenizer.json", SMOKE) for _ in range(2))
    one.step(0)
    for a, b in zip(one.step(3), other.step(3), strict=True):
        assert torch.equal(a.tokens, b.tokens) and torch.equal(a.weights, b.weights)


def test_answers_weigh_most(run: Path) -> None:
    corpus = Corpus(build_world())
    document = corpus.recall(random.Random(0))
    assert document[-2][1] == fm.ANSWER and document[-1][1] == fm.ANSWER


@pytest.mark.parametrize("length", [7, 450])
def test_the_training_network_is_transformers_llama(length: int) -> None:
    from transformers import LlamaConfig

    shape = Shape(vocab=300, width=64, hidden=96, layers=2, heads=2)
    parameters = new_parameters(shape, torch.Generator().manual_seed(0))
    config = LlamaConfig(
        vocab_size=300, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, rms_norm_eps=shape.eps,
        tie_word_embeddings=True, rope_theta=shape.rope_theta,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    missing = model.load_state_dict(
        {n: p.detach().bfloat16().float() for n, p in parameters.items()}, strict=False
    )
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys
    model.tie_weights()
    tokens = torch.randint(0, 300, (2, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model.model(tokens).last_hidden_state
        got = hidden_states(cast(parameters, shape), shape, tokens).float()
    assert (got - expected).abs().mean() < 0.02
