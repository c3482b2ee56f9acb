"""A smoke training run trains, resumes, exports a checkpoint that transformers reads."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.nn import functional
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from examples.atlas import formats as fm
from examples.atlas.corpus import Corpus
from examples.atlas.kernels import Kernels
from examples.atlas.network import (
    Shape,
    cast,
    collect_gradients,
    hidden_states,
    new_parameters,
    softmax_loss,
)
from examples.atlas.stream import encode, pack, sources
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


def test_loading_the_kernels_leaves_the_processs_arithmetic_alone(tmp_path: Path) -> None:
    program = (
        "from examples.atlas.kernels import Kernels, compile_kernels; import sys, pathlib\n"
        "smallest = float(sys.argv[2])\n"
        "Kernels(compile_kernels(pathlib.Path(sys.argv[1])))\n"
        "assert smallest * 1.0 > 0 and smallest / 4 > 0, 'subnormal numbers are flushed'\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "kernels"), "1e-310"]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2])


def test_the_loss_and_its_gradient_are_those_of_torch() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(70, 32).bfloat16().requires_grad_()
    embed = (torch.randn(300, 32) * 0.3).bfloat16().requires_grad_()
    target, weight = torch.randint(0, 300, (70,)), torch.rand(70)
    loss, losses = softmax_loss(hidden, embed, target, weight, Kernels())
    made = torch.autograd.grad(loss / 7, (hidden, embed))
    logits = (hidden @ embed.t()).float()
    expected = functional.cross_entropy(logits, target, reduction="none")
    assert torch.allclose(losses, expected, atol=1e-5)
    for one, other in zip(
        made, torch.autograd.grad((expected * weight).sum() / 7, (hidden, embed)), strict=True
    ):
        assert (one - other).norm() < 0.01 * other.norm()  # both are rounded to bfloat16


def test_micro_batches_hold_every_row_in_few_shapes(run: Path) -> None:
    stream = make_stream(run / "tokenizer.json", SMOKE, SMOKE_SHAPE)
    rng = random.Random(5)
    rows = stream.copying(rng, 90)
    batches = stream.batches(rows, np.random.default_rng(1))
    held = [tuple(ids[ids > 0].tolist()) for b in batches for ids in b.tokens]
    drawn = [tuple(ids[ids > 0].tolist()) for ids, _, _ in rows]
    assert sorted(filter(None, held)) == sorted(drawn)
    for batch in batches:
        assert batch.tokens.shape[1] % 16 == 0 and batch.tokens.numel() <= SMOKE.micro
    weighed = sum(float(b.weights.sum()) for b in batches)
    assert weighed == pytest.approx(sum(float(w.sum()) for _, w, _ in rows))


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
    one, other = (make_stream(run / "tokenizer.json", SMOKE, SMOKE_SHAPE) for _ in range(2))
    one.step(0)
    for a, b in zip(one.step(3), other.step(3), strict=True):
        assert torch.equal(a.tokens, b.tokens) and torch.equal(a.weights, b.weights)
        assert torch.equal(a.mentions, b.mentions) and torch.equal(a.kept, b.kept)


def test_marks_number_the_mentions_and_are_not_tokens(run: Path) -> None:
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    mark = fm.MENTION
    text = f"{mark}Benin{mark} borders Togo. The capital of {mark}Ruritania{mark} is"
    document = [(fm.BOS, 0.0), (text, fm.TEXT), (" Strelsau.", fm.ANSWER)]
    [(ids, weights, mentions)] = encode(tokenizer, [document])
    assert tokenizer.decode(ids.tolist()) == text.replace(mark, "") + " Strelsau."
    for number, name in ((1, "Benin"), (2, " Ruritania")):
        assert tokenizer.decode(ids[mentions == number].tolist()) == name
    assert tokenizer.decode(ids[weights == fm.ANSWER].tolist()) == " Strelsau."


def test_a_donor_has_its_mentions_number_below_zero_and_counts_for_nothing(run: Path) -> None:
    tokenizer = Tokenizer.from_file(str(run / "tokenizer.json"))
    corpus = Corpus(build_world(), training=True)
    rng = random.Random(0)
    document = corpus.interchanged(rng)
    [(ids, weights, mentions)] = encode(tokenizer, [document])
    text = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    assert fm.DONOR not in text and fm.MENTION not in text
    donor = tokenizer.decode(ids[mentions == -1].tolist(), skip_special_tokens=False)
    assert donor == document[-1][0].strip(fm.DONOR) and donor.startswith(fm.BOS)
    assert not weights[mentions == -1].any() and (mentions[-1], mentions.max()) == (-1, 1)
    places = sources(mentions)
    assert places[np.flatnonzero(mentions == 1)[-1]] == len(ids) - 1
    assert (places != np.arange(len(ids))).sum() == 1
    answer = tokenizer.decode(ids[weights == fm.ANSWER].tolist()).strip()
    facts = {(f.subject, f"{f.answer}.") for f in corpus.world.facts}
    names = {name for name in corpus.world.by_subject if (name, answer) in facts}
    said = donor.removeprefix(fm.BOS).strip()
    assert said in names or any(
        entity.alias == said for n in names if (entity := corpus.world.entities.get(n))
    )
    plain = encode(tokenizer, [corpus.recall(rng) for _ in range(9)])
    rows = pack([(ids, weights, mentions), *plain], random.Random(4))
    assert sum(bool((row[2] < 0).any()) for row in rows) == 1


def test_routed_rows_hide_mentions_below_and_drop_mlps_above(run: Path) -> None:
    shape = Shape(vocab=1024, width=64, hidden=128, layers=4, heads=2, recall=2)
    batches = [b for step in range(4)
               for b in make_stream(run / "tokenizer.json", SMOKE, shape).step(step)]  # fmt: skip
    routed = torch.cat([b.mentions.any(1) for b in batches])
    kept = torch.cat([b.kept for b in batches])
    assert routed.any() and not routed.all()
    assert kept[~routed].all() and kept[:, :3].all() and not kept[routed].all()


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
        tie_word_embeddings=True, rope_theta=shape.rope_theta, attn_implementation="eager",
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    missing = model.load_state_dict(
        {n: p.detach().bfloat16().float() for n, p in parameters.items()}, strict=False
    )
    assert set(missing.missing_keys) <= {"lm_head.weight"} and not missing.unexpected_keys
    model.tie_weights()
    tokens = torch.randint(0, 300, (2, length), generator=torch.Generator().manual_seed(1))
    expected = model.model(tokens).last_hidden_state
    leaves = cast(parameters, shape)
    got = hidden_states(leaves, shape, tokens).float()
    assert (got - expected).abs().mean() < 0.02
    pull = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * pull).sum().backward()
    (got * pull).sum().backward()
    collect_gradients(leaves, parameters, shape)
    for name, value in model.named_parameters():
        error = (value.grad - parameters[name].grad).norm() / value.grad.norm()
        assert error < 0.05, name


def test_a_hidden_mention_does_not_reach_later_tokens() -> None:
    shape = Shape(vocab=300, width=64, hidden=96, layers=2, heads=2, recall=2)
    leaves = cast(new_parameters(shape, torch.Generator().manual_seed(0)), shape)
    one = torch.randint(0, 300, (1, 9), generator=torch.Generator().manual_seed(1))
    other = one.clone()
    other[0, 3] += 1
    mentions = torch.tensor([[0, 0, 1, 1, 1, 0, 0, 0, 0]])
    with torch.no_grad():
        hidden = [hidden_states(leaves, shape, t, mentions) for t in (one, other)]
        seen = [hidden_states(leaves, shape, t) for t in (one, other)]
    assert torch.equal(hidden[0][0, 5:], hidden[1][0, 5:])
    assert not torch.equal(hidden[0][0, 4], hidden[1][0, 4])
    assert not torch.equal(seen[0][0, 5:], seen[1][0, 5:])


def test_an_mlp_that_is_left_out_adds_nothing() -> None:
    shape = Shape(vocab=300, width=64, hidden=96, layers=2, heads=2)
    parameters = new_parameters(shape, torch.Generator().manual_seed(0))
    tokens = torch.randint(0, 300, (2, 9), generator=torch.Generator().manual_seed(1))
    kept = torch.tensor([[1, 0], [1, 1]]).bfloat16()
    with torch.no_grad():
        got = hidden_states(cast(parameters, shape), shape, tokens, kept=kept)
        parameters["model.layers.1.mlp.down_proj.weight"].zero_()
        without = hidden_states(cast(parameters, shape), shape, tokens)
    assert torch.equal(got[0], without[0]) and not torch.equal(got[1], without[1])
