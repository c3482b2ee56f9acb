"""One suite over every registered adapter, on tiny random models of several families."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.adapters.catalog import ADAPTERS, open_adapter
from memedit.adapters.files import load_adapter
from memedit.adapters.learned import (
    Host,
)
from memedit.errors import InvalidInputError, NotFoundError
from memedit.modeling.delta import EditVersion
from memedit.modeling.tokens import Tokens, encode_pair, encode_prompt, pad
from tests.contract.learned_adapters import (
    EDITS,
    FAMILIES,
    FAR,
    REQUESTS,
    UNRELATED,
    bare,
    copied,
    generated,
    learned,
    logits,
    opened,
    prompts,
)
from tests.modeling.families import tiny_model, tiny_tokenizer


@pytest.fixture(params=ADAPTERS.names())
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_targets_are_said_and_every_bit_is_back_afterwards(kind: str, family: str) -> None:
    adapter, model, tokenizer = learned(kind, family)
    before = [logits(model, tokenizer, prompt) for prompt in (*prompts(), *UNRELATED)]
    wanted = [encode_pair(tokenizer, r.prompt, r.target_new).target[0] for r in REQUESTS]
    with adapter.attached(model):
        said = generated(model, tokenizer, (*prompts(), *UNRELATED), 3)
        alone = [generated(model, tokenizer, (p,), 3)[0] for p in (*prompts(), *UNRELATED)]
        now = [logits(model, tokenizer, prompt) for prompt in (*prompts(), *UNRELATED)]
    assert kind in FAR or [row[0] for row in said[:3]] == wanted
    assert said == alone
    after = [logits(model, tokenizer, prompt) for prompt in (*prompts(), *UNRELATED)]
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) and bare(model)
    if adapter.scoped:
        assert all(torch.equal(a, b) for a, b in zip(before[3:], now[3:], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(before[:3], now[:3], strict=True))


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_and_other_rows_change_nothing(kind: str, family: str, side: Any) -> None:
    adapter, model, tokenizer = learned(kind, family)
    mixed = (prompts()[1], UNRELATED[0], prompts()[0], UNRELATED[2], prompts()[2])
    rows = [Tokens(encode_prompt(tokenizer, prompt).ids, ()) for prompt in mixed]
    batch = pad(rows, tokenizer, side)
    with adapter.attached(model), torch.no_grad():
        together = model(**batch.inputs(model)).logits
        single = [logits(model, tokenizer, prompt)[-1] for prompt in mixed]
    last = together[torch.arange(len(mixed)), batch.prompt_last]
    assert torch.allclose(last, torch.stack(single), atol=2e-4)


def test_a_target_that_is_scored_is_what_is_generated(kind: str) -> None:
    adapter, model, tokenizer = learned(kind, "llama")
    rows = [encode_pair(tokenizer, r.prompt, r.target_new) for r in REQUESTS]
    batch = pad(rows, tokenizer)
    with adapter.attached(model) as attachment, torch.no_grad():
        with attachment.prompts_end(batch.prompt_last):
            scored = model(**batch.inputs(model)).logits
        asked = [logits(model, tokenizer, prompt)[-1] for prompt in prompts()]
    at = scored[torch.arange(3), batch.prompt_last]
    assert torch.allclose(at, torch.stack(asked), atol=2e-4)


def test_for_prompts_that_a_router_chose_it_takes_the_named_edits_part(kind: str) -> None:
    adapter, model, tokenizer = learned(kind, "llama")
    before = [logits(model, tokenizer, prompt) for prompt in UNRELATED]
    with adapter.attached(model):
        own = generated(model, tokenizer, prompts(), 3)[0]
        far = [logits(model, tokenizer, prompt) for prompt in UNRELATED]
    with adapter.attached_for(model, EDITS[0].id) as attachment:
        assert generated(model, tokenizer, prompts()[:1], 3)[0] == own
        rows = [encode_pair(tokenizer, prompt, "Rome lies") for prompt in UNRELATED]
        batch = pad(rows, tokenizer)
        with attachment.prompts_end(batch.prompt_last), torch.no_grad():
            scored = model(**batch.inputs(model)).logits
        now = [logits(model, tokenizer, prompt) for prompt in UNRELATED]
        at = scored[torch.arange(len(now)), batch.prompt_last]
        assert torch.allclose(at, torch.stack([one[-1] for one in now]), atol=2e-4)
        alone = [generated(model, tokenizer, (prompt,), 3)[0] for prompt in UNRELATED]
        assert generated(model, tokenizer, UNRELATED, 3) == alone
    if adapter.by_edit:  # what is far from every key gets it all the same
        assert not any(torch.equal(a[-1], b[-1]) for a, b in zip(before, now, strict=True))
        with adapter.attached_for(model, EDITS[1].id):
            other = [logits(model, tokenizer, prompt) for prompt in UNRELATED]
        assert not any(torch.equal(a[-1], b[-1]) for a, b in zip(other, now, strict=True))
    else:
        assert all(torch.equal(a, b) for a, b in zip(far, now, strict=True))
    assert bare(model)
    with (
        pytest.raises(NotFoundError, match="holds no edit 'e9'"),
        adapter.attached_for(model, "e9"),
    ):
        raise AssertionError("never reached")


def test_an_error_inside_the_block_detaches(kind: str) -> None:
    adapter, model, tokenizer = learned(kind, "llama")
    before = logits(model, tokenizer, prompts()[0])
    with pytest.raises(ZeroDivisionError), adapter.attached(model):
        _ = 1 / 0
    assert bare(model) and torch.equal(before, logits(model, tokenizer, prompts()[0]))


def test_any_edit_can_be_deleted_at_any_time(kind: str, tmp_path: Path) -> None:
    adapter, model, tokenizer = learned(kind, "llama")
    base = [logits(model, tokenizer, prompt) for prompt in prompts()]
    with adapter.attached(model):
        edited = [logits(model, tokenizer, prompt) for prompt in prompts()]
    again = copied(adapter, tmp_path)
    left = {0, 1, 2}
    for gone in (1, 0, 2):
        again.delete(f"e{gone}", model, tokenizer)
        left.discard(gone)
        assert {edit.id for edit in again.edits} == {f"e{n}" for n in left}
        with again.attached(model):
            now = [logits(model, tokenizer, prompt) for prompt in prompts()]
        for n in range(3):
            if again.scoped and (again.apart or kind in FAR or n not in left):
                assert torch.equal(now[n], edited[n] if n in left else base[n])
            elif n in left:
                assert int(now[n][-1].argmax()) == int(edited[n][-1].argmax())
    assert all(torch.equal(a, b) for a, b in zip(now, base, strict=True))
    with pytest.raises(NotFoundError, match="holds no edit 'e1'"):
        again.delete("e1")
    assert adapter.edits == EDITS  # the one that was saved knows nothing of it


def test_batches_add_up_and_a_new_version_takes_the_place_of_the_old(kind: str) -> None:
    _, model, tokenizer = learned(kind, "llama")
    adapter = opened(kind)
    adapter.learn(model, tokenizer, REQUESTS[:2], edits=EDITS[:2])
    newer = REQUESTS[0].model_copy(update={"target_new": "France"})
    done = adapter.learn(
        model, tokenizer, [newer, REQUESTS[2]], edits=[EditVersion("e0", 2), EDITS[2]]
    )
    assert done.replaced == (EDITS[0],) and (kind in FAR or all(done.said))
    assert adapter.edits == (EDITS[1], EditVersion("e0", 2), EDITS[2])
    asked = {r.prompt: r.target_new for r in (newer, *REQUESTS[1:])}
    with adapter.attached(model):
        said = generated(model, tokenizer, tuple(asked), 1)
    first = [encode_pair(tokenizer, p, t).target[0] for p, t in asked.items()]
    if adapter.scoped and kind not in FAR:  # a LoRA may forget an earlier batch
        assert [row[0] for row in said] == first


@pytest.mark.parametrize(("name", "module"), [("grace", "codebook"), ("melo", "clusters")])
def test_what_a_layer_cannot_tell_apart_is_held_once_the_later_one(
    name: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a low layer prompts of two subjects may have one key; what is held can be read again."""
    monkeypatch.setattr(f"memedit.adapters.{module}.same_within", lambda key: 1e9)
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    adapter = opened(name)
    for _ in range(2):  # the second time they are other versions of themselves, too
        done = adapter.learn(model, tokenizer, REQUESTS, edits=EDITS)
        assert adapter.edits == EDITS[2:]
        assert set(EDITS[:2]) <= set(done.replaced)
    again = load_adapter(adapter.save(tmp_path / "saved"))
    assert again.edits == EDITS[2:]


def test_two_models_and_two_adapters_know_nothing_of_one_another(kind: str) -> None:
    adapter, model, tokenizer = learned(kind, "llama")
    other = tiny_model("llama")
    before = logits(other, tokenizer, prompts()[0])
    with adapter.attached(model):
        assert torch.equal(logits(other, tokenizer, prompts()[0]), before)
    assert opened(kind).edits == ()
    with opened(kind).attached(model):
        assert torch.equal(logits(model, tokenizer, prompts()[0]), before)


def test_misuse_is_said_and_changes_nothing(kind: str) -> None:
    adapter, model, tokenizer = learned(kind, "llama")
    with pytest.raises(InvalidInputError, match="at least one"):
        adapter.learn(model, tokenizer, [])
    with pytest.raises(InvalidInputError, match="twice in one batch"):
        adapter.learn(model, tokenizer, [REQUESTS[0]] * 2)
    other = REQUESTS[0].model_copy(update={"target_new": "Lyon"})
    with pytest.raises(InvalidInputError, match="two answers"):
        adapter.learn(model, tokenizer, [REQUESTS[0], other])
    with pytest.raises(InvalidInputError, match="3 requests and 2 edits"):
        adapter.learn(model, tokenizer, REQUESTS, edits=EDITS[:2])
    assert adapter.edits == EDITS and Host.PROCESS in adapter.servable_by and bare(model)
    with pytest.raises(InvalidInputError, match=r"has no setting 'stepz'; it has .*, ends"):
        open_adapter(kind, {"stepz": 1})
    assert replace(adapter.config) == adapter.config
