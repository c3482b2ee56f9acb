"""Causal tracing against a few-line reference, one run at a time and without hooks of ours."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.facts import TracePrompt
from memedit.modeling.fingerprint import tensor_digest
from memedit.modeling.subject import subject_span
from memedit.modeling.tokens import encode_pair
from memedit.modeling.trace import (
    Kind,
    Position,
    default_window,
    estimate,
    trace_record,
    trace_table,
    window_around,
)
from memedit.modeling.tracing import TraceConfig, trace
from tests.modeling.families import LAYERS, tiny_model, tiny_tokenizer

PROMPTS = [
    TracePrompt("The mayor of Paris lives in", "Paris", "Rome"),
    TracePrompt("Lyon lies in", "Lyon", "France"),
    TracePrompt("Nobody knows", "Atlantis", "France"),
    TracePrompt("They all love Rome", "Rome", "too"),
]
SURE = TraceConfig(threshold=0.0, samples=2)


def reference(
    model: Any,
    tokenizer: Any,
    one: TracePrompt,
    noise: torch.Tensor,
    put_back: tuple[Any, int] | None,
) -> float:
    """Probability of the answer under noise [n, d], one module clean at one place."""
    encoded, span = subject_span(tokenizer, one.prompt, one.subject)
    ids = torch.tensor([encoded.ids])
    answer = encode_pair(tokenizer, one.prompt, one.answer).target[0]
    states: dict[str, torch.Tensor] = {}

    def tensor(output: Any) -> Any:
        return output[0] if isinstance(output, tuple) else output

    handles = []
    with torch.no_grad():
        if put_back is not None:
            keep = put_back[0].register_forward_hook(
                lambda m, a, o: states.update(clean=tensor(o).reshape(len(encoded.ids), -1).clone())
            )
            model(ids)
            keep.remove()

            def restore(module: Any, args: Any, output: Any) -> None:
                tensor(output).view(len(encoded.ids), -1)[put_back[1]] = states["clean"][
                    put_back[1]
                ]

            handles.append(put_back[0].register_forward_hook(restore))

        def shake(module: Any, args: Any, output: Any) -> None:
            output[0, span.first : span.last + 1] += noise

        handles.append(architecture(model).embedding.register_forward_hook(shake))
        logits = model(ids).logits
    for handle in handles:
        handle.remove()
    return float(torch.softmax(logits[0, -1].float(), -1)[answer])


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt_350m", "gpt_neox", "gemma2"])
def test_it_agrees_with_one_run_at_a_time(family: str) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    one = PROMPTS[0]
    found = trace(model, tokenizer, [one], SURE)
    encoded, span = subject_span(tokenizer, one.prompt, one.subject)
    width = architecture(model).embedding.weight.shape[1]
    generator = torch.Generator().manual_seed(SURE.seed)
    noise = found.sigma * torch.randn(
        (SURE.samples, span.last - span.first + 1, width), generator=generator
    )
    spots = {
        Position.SUBJECT_FIRST: span.first,
        Position.SUBJECT_LAST: span.last,
        Position.AFTER_SUBJECT: span.last + 1,
        Position.PROMPT_LAST: len(encoded.ids) - 1,
    }
    low = [reference(model, tokenizer, one, n, None) for n in noise]
    assert found.corrupted.mean == pytest.approx(sum(low) / 2, rel=1e-3, abs=1e-6)
    layer = architecture(model).layers[1]
    modules = {Kind.HIDDEN: layer.block, Kind.MLP: layer.mlp, Kind.ATTENTION: layer.attention}
    for kind, module in modules.items():
        for position in (Position.SUBJECT_LAST, Position.PROMPT_LAST):
            put_back = (module, spots[position])
            expected = [reference(model, tokenizer, one, n, put_back) for n in noise]
            cell = found.cell(kind, 1, position)
            assert cell.restored.mean == pytest.approx(sum(expected) / 2, rel=1e-3, abs=1e-6)
            assert cell.effect.mean == pytest.approx(cell.restored.mean - found.corrupted.mean)


def test_everything_put_back_at_the_end_is_the_clean_run() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    found = trace(model, tokenizer, PROMPTS, SURE)
    last = found.cell(Kind.HIDDEN, LAYERS - 1, Position.PROMPT_LAST)
    assert last.restored.mean == pytest.approx(found.clean.mean, rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batches_and_padding_do_not_change_what_is_found(dtype: torch.dtype) -> None:
    model, tokenizer = tiny_model("llama", dtype), tiny_tokenizer()
    whole = trace(model, tokenizer, PROMPTS, SURE)
    small = TraceConfig(threshold=0.0, samples=2, rows=7, group=1, padding="right")
    split = trace(model, tokenizer, PROMPTS, small)
    tolerance = 1e-4 if dtype == torch.float32 else 0.15
    for one, other in zip(trace_table(whole), trace_table(split), strict=True):
        assert one["restored"] == pytest.approx(other["restored"], rel=tolerance, abs=1e-3)
        assert (one["kind"], one["layer"], one["n"]) == (other["kind"], other["layer"], other["n"])


def test_what_is_not_traced_is_counted_and_named() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    found = trace(model, tokenizer, PROMPTS, SURE)
    assert (found.asked, found.known) == (4, 3)
    [skipped] = found.skipped
    assert skipped.prompt == 2 and "Atlantis" in skipped.reason
    # The subject of the last prompt ends it: nothing comes after it there.
    assert found.cell(Kind.MLP, 0, Position.AFTER_SUBJECT).effect.n == 2
    assert found.cell(Kind.MLP, 0, Position.SUBJECT_LAST).effect.n == 3
    assert [profile.prompt for profile in found.profiles] == [0, 1, 3]
    mean = sum(profile.restored[Kind.MLP][1] for profile in found.profiles) / 3
    assert mean == pytest.approx(found.cell("mlp", 1, "subject_last").restored.mean)
    assert len(trace_table(found)) == 3 * LAYERS * 4
    assert "profiles" not in trace_record(found)
    with pytest.raises(InvalidInputError, match="none of 4 prompts can be traced"):
        trace(model, tokenizer, PROMPTS, TraceConfig(threshold=0.999))
    with pytest.raises(InvalidInputError, match="was not traced"):
        found.cell("mlp", 9, "subject_last")


def test_the_same_seed_finds_the_same_and_the_model_is_left_as_it_was() -> None:
    model, tokenizer = tiny_model("gpt2").train(), tiny_tokenizer()
    digests = [tensor_digest(p) for p in model.parameters()]
    state = torch.random.get_rng_state()
    first = trace(model, tokenizer, PROMPTS, SURE)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert trace(model, tokenizer, PROMPTS, SURE) == first
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert digests == [tensor_digest(p) for p in model.parameters()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_windows() -> None:
    assert [default_window(n) for n in (3, 12, 24, 32, 48, 80)] == [1, 1, 5, 6, 9, 10]
    assert list(window_around(4, 1, 8)) == [4]
    assert list(window_around(4, 3, 8)) == [3, 4, 5]
    assert list(window_around(0, 3, 8)) == [0, 1]
    assert list(window_around(7, 4, 8)) == [5, 6, 7]
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    all_at_once = trace(model, tokenizer, PROMPTS[:1], TraceConfig(threshold=0.0, window=3))
    assert all_at_once.window == 3
    with pytest.raises(InvalidInputError, match="window 4"):
        trace(model, tokenizer, PROMPTS, TraceConfig(window=4))


def test_an_estimate_holds_its_mean() -> None:
    found = estimate([0.0, 1.0, 1.0, 0.0, 1.0])
    assert found.low < found.mean == 0.6 < found.high and found.n == 5
    assert estimate([0.0, 1.0]) == estimate([0.0, 1.0])
    assert estimate([]).n == 0
