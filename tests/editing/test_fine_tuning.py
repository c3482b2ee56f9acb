"""FT-M, FT-L and FT-Constrained: they teach, on every family, and leave the model as it was."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import memedit.editing
from memedit.editing.base import Editor
from memedit.editing.catalog import EDITORS, open_editor
from memedit.editing.ft_constrained import FtConstrained, FtConstrainedConfig
from memedit.editing.ft_l import FtL, FtLConfig
from memedit.editing.ft_m import FtM, FtMConfig
from memedit.errors import DivergedError, InvalidInputError, UnknownNameError
from memedit.modeling.fingerprint import model_fingerprint, tensor_digest
from memedit.modeling.forms import chat_form
from memedit.modeling.locate import Site, save_site
from memedit.modeling.losses import Graded
from memedit.modeling.tokens import Batch, PaddingSide, encode_pair, pad
from memedit.types import EditRequest
from tests.modeling.families import FAMILIES, tiny_model, tiny_tokenizer
from tests.modeling.test_tokens import TEMPLATE

REQUESTS = [
    EditRequest(prompt="The mayor of Paris lives in", subject="Paris", target_new="Rome"),
    EditRequest(prompt="Lyon lies in", subject="Lyon", target_new="France"),
    EditRequest(prompt="Who runs Rome?", subject="Rome", target_new="Paris Ly"),
]
SIDES: tuple[PaddingSide, ...] = ("left", "right")
# The last norm bounds a tiny model's logits, and so how small a loss can get.
QUICK = FtMConfig(layer=1, rate=0.05, steps=80, enough=1.0)


def loss(model: Any, tokenizer: Any, prompt: str, target: str) -> float:
    """Cross-entropy of the target in a few lines of its own, one row, no padding."""
    tokens = encode_pair(tokenizer, prompt, target)
    ids = torch.tensor([tokens.prompt + tokens.target])
    with torch.no_grad():
        scores = torch.log_softmax(model(ids).logits[0].float(), -1)
    at = range(len(tokens.prompt) - 1, ids.shape[1] - 1)
    return -sum(float(scores[i, ids[0, i + 1]]) for i in at) / len(tokens.target)


def padded_loss(
    model: Any, tokenizer: Any, requests: list[EditRequest], side: PaddingSide
) -> float:
    """Cross-entropy of all targets, the prompts in one batch padded on that side."""
    rows = [encode_pair(tokenizer, r.prompt, r.target_new) for r in requests]
    batch = pad(rows, tokenizer, side)
    assert not bool(batch.attention_mask.all()), "no row is padded"
    with torch.no_grad():
        scores = torch.log_softmax(model(**batch.inputs(model)).logits.float(), -1)[:, :-1]
    labels = batch.labels[:, 1:]
    own = scores.gather(2, labels.clamp(min=0)[..., None])[..., 0]
    return -float(own[labels >= 0].mean())


def said(model: Any, tokenizer: Any, prompt: str, n: int) -> str:
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        for _ in range(n):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], 1)
    text: str = tokenizer.decode(ids[0, -n:])
    return text


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_learns_and_is_left_as_it_was(family: str) -> None:
    model, tokenizer = tiny_model(family).train(), tiny_tokenizer()
    digests = {name: tensor_digest(p) for name, p in model.named_parameters()}
    model.get_input_embeddings().weight.requires_grad_(False)
    flags = [p.requires_grad for p in model.parameters()]
    delta = FtM(QUICK).edit(model, tokenizer, REQUESTS[:2])
    assert digests == {name: tensor_digest(p) for name, p in model.named_parameters()}
    assert flags == [p.requires_grad for p in model.parameters()]
    assert model.training and all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    model.eval()
    before = [loss(model, tokenizer, r.prompt, r.target_new) for r in REQUESTS[:2]]
    with delta.applied(model):
        after = [loss(model, tokenizer, r.prompt, r.target_new) for r in REQUESTS[:2]]
    assert all(new < old for new, old in zip(after, before, strict=True))
    assert delta.notes["loss_after"] == pytest.approx(sum(after) / 2, rel=1e-2, abs=1e-4)
    assert delta.notes["learned"] == 2 and len(delta.names()) == 1


@pytest.mark.parametrize("bos", [True, False])
def test_in_bfloat16_what_was_optimised_is_what_is_applied(bos: bool) -> None:
    model, tokenizer = tiny_model("llama", torch.bfloat16), tiny_tokenizer(bos=bos)
    delta = FtM(replace(QUICK, enough=0.6)).edit(model, tokenizer, REQUESTS)
    assert delta.notes["learned"] == 3
    with delta.applied(model):
        for request in REQUESTS:
            wanted = f" {request.target_new}"
            n = len(encode_pair(tokenizer, request.prompt, request.target_new).target)
            assert said(model, tokenizer, request.prompt, n) == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", ["ft-m", "ft-l", "ft-constrained"])
def test_on_every_family_in_both_dtypes_and_paddings_the_loss_falls(
    name: str, family: str, dtype: torch.dtype
) -> None:
    turn = FAMILIES.index(family) + len(name) + (dtype == torch.bfloat16)
    model, tokenizer = tiny_model(family, dtype), tiny_tokenizer(bos=turn % 2 == 0)
    bound = {"bound": 0.05} if name == "ft-constrained" else {}
    editor = open_editor(name, {"layer": 1, "rate": 0.02, "steps": 12, **bound})
    requests = REQUESTS[:2]  # of one token each: FT-L teaches no order
    before = {side: padded_loss(model, tokenizer, requests, side) for side in SIDES}
    with editor.edit(model, tokenizer, requests).applied(model):
        for side, loss_before in before.items():
            assert padded_loss(model, tokenizer, requests, side) < loss_before, side


def test_many_edits_go_through_mini_batches_and_all_are_learned() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    seen: list[tuple[int, int]] = []
    small = replace(QUICK, rows=2)
    delta = FtM(small).edit(
        model, tokenizer, REQUESTS, progress=lambda done, total: seen.append((done, total))
    )
    assert delta.notes["learned"] == delta.notes["edits"] == 3
    assert seen[0] == (0, small.steps) and seen[-1] == (small.steps, small.steps)
    again = FtM(small).edit(model, tokenizer, REQUESTS)
    assert torch.equal(again.dense(again.names()[0]), delta.dense(delta.names()[0]))


def test_it_stops_when_all_is_learned_and_does_nothing_when_it_was_before() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    delta = FtM(QUICK).edit(model, tokenizer, REQUESTS[:1])
    assert 0 < delta.notes["optimizer_steps"] < QUICK.steps
    assert delta.notes["loss_after"] < QUICK.enough
    with delta.applied(model):
        nothing = FtM(QUICK).edit(model, tokenizer, REQUESTS[:1])
    assert nothing.notes["optimizer_steps"] == 0
    assert not nothing.dense(nothing.names()[0]).any()


def test_without_a_rate_the_step_is_a_share_of_the_weights_size() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    delta = FtM(FtMConfig(layer=1, steps=1)).edit(model, tokenizer, REQUESTS)
    weight = model.get_parameter(delta.names()[0]).detach()
    assert delta.notes["rate"] == pytest.approx(0.03 * float(weight.square().mean().sqrt()))
    assert float(delta.dense(delta.names()[0]).abs().max()) <= delta.notes["rate"] * 1.001


def test_padding_and_other_rows_do_not_change_a_rows_loss() -> None:
    model, tokenizer = tiny_model("gpt2"), tiny_tokenizer()
    editor = FtM(QUICK)
    rows = [editor.tokens(tokenizer, request) for request in REQUESTS]
    for side in SIDES:
        batch = pad(rows, tokenizer, side)
        with torch.no_grad():
            graded = editor.grade(model(**batch.inputs(model)).logits, batch)
        for request, value in zip(REQUESTS, graded.losses.tolist(), strict=True):
            expected = loss(model, tokenizer, request.prompt, request.target_new)
            assert value == pytest.approx(expected, rel=1e-4)


class Rising(FtM):
    """Its loss is larger each time, whatever the optimiser does."""

    graded = 0

    def grade(self, logits: torch.Tensor, batch: Batch) -> Graded:
        self.graded += 1
        found = super().grade(logits, batch)
        return Graded(found.losses + 100 * self.graded, found.learned)


def test_divergence_is_an_error_that_changes_nothing() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    before = model_fingerprint(model)
    with pytest.raises(DivergedError, match="nothing was changed"):
        FtM(FtMConfig(layer=1, rate=1e30, steps=5)).edit(model, tokenizer, REQUESTS)
    with pytest.raises(DivergedError, match="layer 1"):
        Rising(FtMConfig(layer=1, steps=2)).edit(model, tokenizer, REQUESTS)
    assert model_fingerprint(model) == before
    assert all(p.grad is None and p.requires_grad for p in model.parameters())


def test_ft_l_teaches_the_last_prompt_token_all_target_tokens() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    request = EditRequest(prompt="Rome lies in", subject="Rome", target_new="Paris Rome")
    config = FtLConfig(layer=1, rate=0.05, steps=80, enough=1.0)
    delta = FtL(config).edit(model, tokenizer, [request])
    tokens = encode_pair(tokenizer, request.prompt, request.target_new)
    with delta.applied(model), torch.no_grad():
        last = torch.softmax(model(torch.tensor([tokens.prompt])).logits[0, -1], -1)
    assert len(tokens.target) == 2
    mean = -sum(math.log(float(last[n])) for n in tokens.target) / 2
    assert mean - math.log(2) == pytest.approx(delta.notes["loss_after"], abs=1e-4)
    assert mean - math.log(2) < delta.notes["loss_before"]
    one = FtL(config).edit(model, tokenizer, REQUESTS[:1])
    assert one.notes["learned"] == 1 and one.notes["loss_after"] < config.enough


@pytest.mark.parametrize(
    "editor",
    [
        FtConstrained(FtConstrainedConfig(layer=1, rate=0.02, bound=0.01, steps=10)),
        FtL(FtLConfig(layer=1, rate=0.02, bound=0.01, steps=10)),
    ],
)
def test_the_projection_is_exact(editor: Editor[Any]) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    delta = editor.edit(model, tokenizer, REQUESTS)
    change = delta.dense(delta.names()[0])
    assert float(change.abs().max()) == float(torch.tensor(0.01))
    assert delta.notes["loss_after"] < delta.notes["loss_before"]


def test_forms_say_how_prompt_and_target_are_written() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = TEMPLATE
    request = REQUESTS[1]
    plain = FtM(QUICK, target_form=lambda target: target + ".", ends=True)
    assert tokenizer.decode(plain.tokens(tokenizer, request).target) == " France.</s>"
    chat = FtM(QUICK, prompt_form=chat_form(tokenizer), ends=True).tokens(tokenizer, request)
    assert tokenizer.decode(chat.prompt).endswith("Lyon lies in</s><|turn|>assistant:")
    assert tokenizer.decode(chat.target) == " France</s>"


def test_the_layer_is_the_located_one_else_the_rules(tmp_path: Path) -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    open_layer = replace(QUICK, layer=None)
    by_rule = FtM(open_layer, sites=tmp_path).edit(model, tokenizer, REQUESTS[:1])
    assert (by_rule.notes["layer"], by_rule.notes["layer_from"]) == (0, "rule")
    save_site(Site(2, (1, 2), "located", model_fingerprint(model)), tmp_path)
    editor = FtM(open_layer, sites=tmp_path).resolved(model)
    delta = editor.edit(model, tokenizer, REQUESTS[:1])
    assert (delta.notes["layer"], delta.notes["layer_from"]) == (2, "located")
    with delta.applied(model):
        later = editor.edit(model, tokenizer, REQUESTS[1:2])
    assert later.names() == delta.names() == ("model.layers.2.mlp.down_proj.weight",)
    with pytest.raises(InvalidInputError, match="0 to 2"):
        FtM(FtMConfig(layer=7)).edit(model, tokenizer, REQUESTS)


def test_misuse_is_said() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    with pytest.raises(InvalidInputError, match="at least one"):
        FtM(QUICK).edit(model, tokenizer, [])
    with pytest.raises(InvalidInputError, match="takes a FtLConfig, got FtMConfig"):
        FtL(QUICK)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="above 0"):
        FtMConfig(rate=0)
    with pytest.raises(InvalidInputError, match="bound"):
        FtConstrainedConfig(bound=0)


def test_methods_are_found_by_name() -> None:
    assert {"ft-m", "ft-l", "ft-constrained"} <= set(EDITORS.names())
    for name in EDITORS.names():
        assert vars(EDITORS.get(name))["registered_name"] == name
    editor = open_editor("ft-m", {"layer": 1, "steps": 3}, ends=True)
    assert isinstance(editor, FtM) and editor.config.steps == 3 and editor.ends
    with pytest.raises(InvalidInputError, match="no setting 'stepz'; it has layer, rate, steps"):
        open_editor("ft-m", {"stepz": 3})
    with pytest.raises(UnknownNameError, match="Did you mean 'ft-m'"):
        open_editor("ft_m")


def test_the_package_names_its_methods() -> None:
    assert memedit.editing.FtM is FtM
    assert dir(memedit.editing) == sorted(memedit.editing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        memedit.editing.nothing  # noqa: B018
