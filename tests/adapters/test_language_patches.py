"""Language Patches: where a patch is written, the mixture, and a gate that is trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from memedit.adapters.grace_values import SearchConfig
from memedit.adapters.language_patches import LanguagePatches, LanguagePatchesConfig
from memedit.adapters.part_training import Example, train_language_patches
from memedit.adapters.patch_gate import Gate, train_gate
from memedit.adapters.patched_rows import Patch, PatchedRows, written
from memedit.adapters.trained_parts import load_part, save_part
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import EditVersion
from memedit.modeling.tokens import Tokens, encode_prompt, pad
from memedit.types import EditRequest
from tests.modeling.families import tiny_model, tiny_tokenizer

FACT = EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France")
SHAPES = {"projection": 2, "mean": 1, "line": 1}


def patch(*tokens: int) -> Patch:
    return Patch("e", tokens, torch.zeros(2))


def test_a_patch_is_written_behind_the_longest_head_that_the_row_has() -> None:
    heads = [(0,), (0, 7, 7), ()]
    assert written([0, 5, 6], patch(9, 9), heads).ids == (0, 9, 9, 5, 6)
    assert written([0, 7, 7, 5], patch(9), heads).ids == (0, 7, 7, 9, 5)
    found = written([5, 6], patch(8, 9), heads)
    assert (found.ids, found.at, found.length) == ((8, 9, 5, 6), 0, 2)


@pytest.mark.parametrize("side", ["left", "right"])
def test_where_the_gate_is_open_both_answers_are_mixed(side: str) -> None:
    model, tokenizer = tiny_model("gptj"), tiny_tokenizer()
    parts = architecture(model)
    rows = [encode_prompt(tokenizer, text).ids for text in ("Lyon lies in", "Bread is made of")]
    with torch.no_grad():
        plain = [model(torch.tensor([row])).logits[0, -1] for row in rows]
        told = model(torch.tensor([[rows[0][0], 70, 71, *rows[0][1:]]])).logits[0, -1]
    open_by = 0.7
    gate = Gate(torch.zeros(0, 32), torch.zeros(32), torch.tensor([0.0, open_by]))
    never = Gate(torch.zeros(0, 32), torch.zeros(32), torch.tensor([0.0, -open_by]))
    held = [Patch("e", (70, 71), torch.ones(32))]
    batch = pad([Tokens(row, ()) for row in rows], tokenizer, side)  # type: ignore[arg-type]
    for chosen, weight in ((gate, torch.tensor(open_by).sigmoid()), (never, torch.tensor(0.0))):
        attached = PatchedRows(model, held, [(0,)], chosen, parts.embedding)
        with attached.watching(model, parts.layers[1].block), torch.no_grad():
            logits = model(**batch.inputs(model)).logits
        said = logits[0, batch.prompt_last[0]].softmax(-1)
        mixed = weight * told.softmax(-1) + (1 - weight) * plain[0].softmax(-1)
        assert torch.allclose(said, mixed, atol=1e-5)
    assert torch.allclose(logits[1, batch.prompt_last[1]], plain[1], atol=1e-4)


def test_beams_and_several_answers_keep_their_patches() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = LanguagePatches(LanguagePatchesConfig(layer=1, search=SearchConfig(steps=60)))
    done = adapter.learn(model, tokenizer, [FACT], edits=[EditVersion("e", 1)])
    assert done.said == (True,)
    other = encode_prompt(tokenizer, "Bread is made of").ids
    own = encode_prompt(tokenizer, FACT.prompt).ids
    batch = pad([Tokens(other, ()), Tokens(own, ())], tokenizer, "left")
    more = {"attention_mask": batch.attention_mask, "max_new_tokens": 4, "pad_token_id": 2}
    with adapter.attached(model):
        out = model.generate(
            batch.input_ids, num_beams=2, num_return_sequences=2, do_sample=False, **more
        )
        greedy = model.generate(batch.input_ids, do_sample=False, **more)
        # what was generated with the cache is what comes out when it is scored as a whole
        whole = pad([Tokens(own, tuple(greedy[1, -4:].tolist()))], tokenizer)
        attachment = adapter._attached(model)
    with attachment as at_work, at_work.prompts_end(whole.prompt_last), torch.no_grad():
        scored = model(**whole.inputs(model)).logits[0, len(own) - 1 : -1].argmax(-1)
    assert scored.tolist() == greedy[1, -4:].tolist()
    target = tokenizer(" France", add_special_tokens=False)["input_ids"][0]
    assert target in out[2:, -4].tolist() and out.shape[0] == 4


def test_a_gate_learns_which_wordings_belong_to_a_patch() -> None:
    draw = torch.Generator().manual_seed(4)
    own = torch.randn(40, 16, generator=draw)
    noise = torch.randn(40, 16, generator=draw) * 3  # of no meaning, in a half of its own
    own[:, 8:] = 0
    inside = own + torch.cat([torch.zeros(40, 8), noise[:, 8:]], 1)
    outside = own.roll(1, 0) + torch.cat([torch.zeros(40, 8), noise[:, 8:].flip(0)], 1)
    numbers = list(range(40))
    gate = train_gate(own, inside, numbers, outside, numbers, lambda done, total: None, steps=200)
    opened = gate.logits(inside, own) >= 0
    assert int(opened.diagonal().sum()) >= 36
    assert int((gate.logits(outside, own) >= 0).diagonal().sum()) <= 4
    untrained = Gate.untrained(16)
    assert int((untrained.logits(inside, own) >= 0).diagonal().sum()) < 10
    with pytest.raises(InvalidInputError, match="got 40 and 0"):
        train_gate(own, inside, numbers, outside[:0], [], lambda done, total: None)


def test_a_trained_gate_is_for_its_model_and_travels_with_the_adapter(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    examples = [
        Example(FACT, ("Where is Lyon?",), ("Rome lies in",)),
        Example(
            EditRequest(prompt="Paris has", subject="Paris", target_new="Rome"),
            ("Paris owns",),
            ("Rome has",),
        ),
        Example(FACT, ("Lyon is in",), ("Paris lies in",), held_out=True),
    ]
    part = train_language_patches(model, tokenizer, examples, [], lambda done, total: None, layer=2)
    assert part.record["held_out"]["inside"]["n"] == 1 and part.record["edits"] == 2
    folder = save_part(part, tmp_path / "gate")
    adapter = LanguagePatches(LanguagePatchesConfig(gate=str(folder)))
    adapter.learn(model, tokenizer, [FACT])
    assert adapter.layer == 2 and adapter.gate is not None
    assert torch.equal(adapter.gate.projection, part.tensors["projection"])
    with pytest.raises(InvalidInputError, match="trained at layer 2"):
        LanguagePatches(LanguagePatchesConfig(gate=str(folder), layer=1)).learn(
            model, tokenizer, [FACT]
        )
    with pytest.raises(InvalidInputError, match="trained for the model"):
        load_part(folder, "language-patches", "another", SHAPES)
    with pytest.raises(InvalidInputError, match="of 'language-patches', expected"):
        load_part(folder, "remedi", part.base, SHAPES)
    tensors = folder / "part.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\xff")
    with pytest.raises(InvalidInputError, match="damaged"):
        load_part(folder, "language-patches", part.base, SHAPES)
    with pytest.raises(MissingResourceError, match="memedit train language-patches"):
        load_part(tmp_path / "nowhere", "language-patches", part.base, SHAPES)
    with pytest.raises(InvalidInputError, match="statement"):
        LanguagePatchesConfig(text="Imagine")


def test_logits_of_some_columns_are_those_of_all() -> None:
    """Scoring asks for the columns in front of a target alone, which are not the last ones."""
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = LanguagePatches(LanguagePatchesConfig(layer=1, search=SearchConfig(steps=60)))
    adapter.learn(model, tokenizer, [FACT], edits=[EditVersion("e", 1)])
    own, other = (encode_prompt(tokenizer, one).ids for one in (FACT.prompt, "Bread is made of"))
    rows = pad([Tokens(own, (9, 10, 11)), Tokens(other, (9,))], tokenizer)
    with adapter._attached(model) as at_work, torch.no_grad():
        with at_work.prompts_end(rows.prompt_last):
            whole = model(**rows.inputs(model)).logits
        for columns in ([2, 3, 4], [len(own) - 1, len(own)], [0]):
            keep = torch.tensor(columns)
            with at_work.prompts_end(rows.prompt_last):
                some = model(**rows.inputs(model), logits_to_keep=keep).logits
            assert torch.allclose(some, whole[:, keep], atol=1e-5)
        with at_work.prompts_end(rows.prompt_last):
            last = model(**rows.inputs(model), logits_to_keep=2).logits
        assert torch.allclose(last, whole[:, -2:], atol=1e-5)
