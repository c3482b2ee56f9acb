"""Prompts and targets as tokens: where BOS, the leading space and the chat template are settled.

Editing, scoring and tracing cut their texts here, so that all of them mean the same tokens.
"""

from __future__ import annotations

import inspect
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from memedit.errors import InvalidInputError
from memedit.modeling.forms import ChatForm, PromptForm, TargetForm, form_for
from memedit.types import EditRequest

PaddingSide = Literal["left", "right"]
IGNORED = -100
"""The label of tokens that no loss is taken of, as in PyTorch and transformers."""
_OPENERS = "([{\u00ab\u201c\u2018\u00bf\u00a1"


@dataclass(frozen=True, slots=True)
class Encoded:
    """A prompt as the model sees it, without padding."""

    text: str
    ids: tuple[int, ...]
    offsets: tuple[tuple[int, int], ...] | None
    """Per token the characters of ``text`` it stands for; ``None`` from slow tokenizers."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A prompt and a target that follows it."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Batch:
    """Padded rows; every tensor is int64 [B, S] unless it says otherwise."""

    input_ids: Tensor
    attention_mask: Tensor
    position_ids: Tensor
    labels: Tensor
    """The target's tokens where they stand; ``IGNORED`` elsewhere."""
    starts: Tensor
    """[B]: where each row's own tokens begin; what is found in a row is shifted by it."""
    prompt_last: Tensor
    """[B]: index of the last prompt token."""

    def to(self, device: torch.device) -> Batch:
        """Return the batch with all its tensors on a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))

    def inputs(self, model: nn.Module) -> dict[str, Any]:
        """Return the keyword arguments of the model's forward, on its device."""
        device = next(model.parameters()).device
        given: dict[str, Any] = {
            "input_ids": self.input_ids.to(device),
            "attention_mask": self.attention_mask.to(device),
        }
        known = inspect.signature(model.forward).parameters
        if "position_ids" in known:
            given["position_ids"] = self.position_ids.to(device)
        if "use_cache" in known:
            given["use_cache"] = False
        return given


def encode_prompt(tokenizer: Any, prompt: str, form: PromptForm | None = None) -> Encoded:
    """Cut a prompt into tokens: with BOS where the tokenizer adds one, never with a closing EOS."""
    form = form_for(form, prompt)
    text = prompt if form is None else form(prompt)
    plain = form is not None  # a rendered text has its special tokens written out
    fast = bool(getattr(tokenizer, "is_fast", False))
    extra = {"return_offsets_mapping": True} if fast else {}
    found: Any = tokenizer(text, add_special_tokens=not plain, **extra)
    ids = tuple(int(number) for number in found["input_ids"])
    if not ids:
        raise InvalidInputError(f"the prompt {prompt!r} has no tokens")
    if not plain:
        ids = ids[: len(ids) - _added_at_the_end(tokenizer, text, ids)]
    offsets = None
    if fast:
        offsets = tuple((int(a), int(b)) for a, b in found["offset_mapping"][: len(ids)])
    return Encoded(text, ids, offsets)


def encode_pair(tokenizer: Any, prompt: str, target: str, form: PromptForm | None = None) -> Tokens:
    """Cut a prompt and the target that follows it: the target has no BOS, and its leading space.

    The prompt's tokens are those of the prompt alone, because that is what a model is asked with.

    Raises:
        InvalidInputError: the target is empty.

    """
    if not target.strip():
        raise InvalidInputError(f"the target of {prompt!r} is empty; expected the new answer")
    form = form_for(form, prompt)
    asked = encode_prompt(tokenizer, prompt, form)
    joined = joint(tokenizer, asked, form, target) + target
    whole: Any = tokenizer(asked.text + joined, add_special_tokens=form is None)
    ids = tuple(int(number) for number in whole["input_ids"])
    if form is None:
        ids = ids[: len(ids) - _added_at_the_end(tokenizer, asked.text + joined, ids)]
    n = len(asked.ids)
    if ids[:n] == asked.ids and len(ids) > n:
        return Tokens(asked.ids, ids[n:])
    # The boundary was merged into one token: the model is asked with the prompt's own tokens.
    alone: Any = tokenizer(joined, add_special_tokens=False)
    return Tokens(asked.ids, tuple(int(number) for number in alone["input_ids"]))


def encode_taught(
    tokenizer: Any,
    request: EditRequest,
    form: PromptForm | None,
    target_form: TargetForm | None,
    ends: bool,
) -> Tokens:
    """Cut a request into the tokens that a method teaches.

    Args:
        tokenizer: of the model that is taught.
        request: its prompt and ``target_new`` are taken.
        form: how the prompt is put to the model.
        target_form: how the target ends; ``None``: exactly as the request has it.
        ends: also the token that ends an answer: the tokenizer's EOS, or what the chat template
            closes an answer with.

    """
    target = request.target_new if target_form is None else target_form(request.target_new)
    if ends:
        chosen = form_for(form, request.prompt)
        target += chosen.end if isinstance(chosen, ChatForm) else tokenizer.eos_token or ""
    return encode_pair(tokenizer, request.prompt, target, form)


def joint(tokenizer: Any, asked: Encoded, form: PromptForm | None, target: str) -> str:
    """Return what stands between a prompt and its answer: a space, nothing, or the chat's lead."""
    if isinstance(form, ChatForm):
        return "" if form.lead and target.startswith(form.lead) else form.lead
    last, first = asked.text[-1:], target[:1]
    if not last or last.isspace() or first.isspace() or last in _OPENERS:
        return ""
    if asked.ids[-1] in _special_ids(tokenizer):
        return ""
    wide = {unicodedata.east_asian_width(last), unicodedata.east_asian_width(first)}
    return "" if wide & {"W", "F"} else " "


def pad(rows: Sequence[Tokens], tokenizer: Any, side: PaddingSide = "right") -> Batch:
    """Put rows into one batch; positions count from each row's own first token."""
    if not rows:
        raise InvalidInputError("expected at least one row of tokens, got none")
    filler = next(
        (n for n in (tokenizer.pad_token_id, tokenizer.eos_token_id) if isinstance(n, int)), 0
    )
    length = max(len(row.prompt) + len(row.target) for row in rows)
    ids = torch.full((len(rows), length), filler, dtype=torch.long)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, IGNORED)
    starts = torch.zeros(len(rows), dtype=torch.long)
    for number, row in enumerate(rows):
        whole = torch.tensor(row.prompt + row.target, dtype=torch.long)
        start = length - len(whole) if side == "left" else 0
        answer = slice(start + len(row.prompt), start + len(whole))
        ids[number, start : start + len(whole)] = whole
        mask[number, start : start + len(whole)] = 1
        labels[number, answer] = ids[number, answer]
        starts[number] = start
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    lengths = torch.tensor([len(row.prompt) for row in rows])
    return Batch(ids, mask, positions, labels, starts, starts + lengths - 1)


def _added_at_the_end(tokenizer: Any, text: str, ids: tuple[int, ...]) -> int:
    """Count the special tokens that a tokenizer puts after a text on its own account."""
    if ids[-1] not in _special_ids(tokenizer):
        return 0
    bare = tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
    for extra in range(len(ids) - len(bare) + 1):
        if ids[: len(ids) - extra][len(ids) - extra - len(bare) :] == bare:
            return extra
    return 0


def _special_ids(tokenizer: Any) -> set[int]:
    added: Any = getattr(tokenizer, "added_tokens_decoder", {})
    return {*tokenizer.all_special_ids, *(n for n, token in added.items() if token.special)}
