"""What neurons are keyed to, and what they are to be silent on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.grading import parts
from memedit.errors import InvalidInputError
from memedit.modeling.hooks import catch
from memedit.modeling.sampling import sample_texts
from memedit.modeling.tokens import Tokens, encode_prompt, pad

ENDINGS = 3
"""The longest end of a prompt that is put after other words."""
BEGINNING = 8
"""Tokens of these other words."""


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """How much is in the memory, beside the edits' own tokens."""

    texts: int = 32
    """Texts that the model writes by itself."""
    tokens: int = 32
    """Of each of them."""
    contexts: int = 8
    """After so many of these texts' beginnings the last tokens of each prompt are put: what an
    edit's tokens look like where they mean something else."""
    seed: int = 0
    """Of what is drawn."""

    def __post_init__(self) -> None:
        if min(self.texts, self.contexts) < 0 or self.tokens < 1:
            raise InvalidInputError(
                f"texts {self.texts}, contexts {self.contexts}, tokens {self.tokens}: expected no "
                "negative numbers, and one token at least"
            )


@dataclass(frozen=True, slots=True)
class Written:
    """A model's own text."""

    queries: Tensor
    """float32 [N, k]: what an MLP takes in over it."""
    beginnings: tuple[tuple[int, ...], ...]
    """The first tokens of its texts."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What an MLP takes in and gives out over one prompt with its target."""

    queries: Tensor
    """float32 [S, k], of all its tokens."""
    first: int
    """Where the target's first token is to be predicted: the prompt's last token."""
    given: Tensor
    """float32 [n, d], what is given out where the target's n tokens are to be predicted."""

    @property
    def own(self) -> Tensor:
        """The queries there: float32 [n, k]."""
        return self.queries[self.first : self.first + len(self.given)]


def look_at(
    model: nn.Module, tokenizer: Any, mlp: nn.Module, rows: Sequence[Tokens], at_once: int
) -> list[Seen]:
    """Run rows through a model that nothing is attached to."""
    found: list[Seen] = []
    for part in parts(range(len(rows)), at_once):
        batch = pad([rows[n] for n in part], tokenizer)
        with torch.no_grad(), catch(mlp, "input") as taken, catch(mlp, "output") as given:
            model(**batch.inputs(model))
        shape = (len(part), batch.input_ids.shape[1], -1)  # OPT's are flat: [B * S, k]
        queries, outs = taken.last.float().reshape(shape), given.last.float().reshape(shape)
        for place, n in enumerate(part):
            row = rows[n]
            first, length = len(row.prompt) - 1, len(row.prompt) + len(row.target)
            there = outs[place, first : first + len(row.target)]
            found.append(Seen(queries[place, :length].clone(), first, there.clone()))
    return found


def write(
    model: nn.Module, tokenizer: Any, mlp: nn.Module, config: MemoryConfig, at_once: int
) -> Written:
    """Have a model write, and look at what an MLP takes in over that."""
    starts = [""] * config.texts
    texts = sample_texts(model, tokenizer, starts, config.tokens, seed=config.seed)
    rows = [Tokens(encode_prompt(tokenizer, text).ids, ()) for text in texts if text]
    seen = look_at(model, tokenizer, mlp, rows, at_once)
    beginnings = tuple(row.prompt[: BEGINNING + 1] for row in rows)  # and what begins a document
    if not seen:
        return Written(torch.zeros(0), ())
    return Written(torch.cat([one.queries for one in seen]), beginnings[: config.contexts])


def out_of_context(
    model: nn.Module,
    tokenizer: Any,
    mlp: nn.Module,
    rows: Sequence[Tokens],
    beginnings: Sequence[tuple[int, ...]],
    at_once: int,
) -> list[Tensor]:
    """Look at the ends of prompts, and of targets begun, behind beginnings of other texts.

    Returns:
        Queries of the tokens of these ends: float32 [., k], some in each tensor.

    """
    ends: dict[tuple[int, ...], None] = {}
    for row in rows:
        whole = row.prompt + row.target
        for upto in range(len(row.prompt), len(whole)):
            for length in range(1, ENDINGS + 1):
                ends[whole[max(1, upto - length) : upto]] = None
    put = [(begin, end) for end in ends for begin in beginnings]
    seen = look_at(model, tokenizer, mlp, [Tokens(b + e, ()) for b, e in put], at_once)
    return [one.queries[-len(end) :] for one, (_, end) in zip(seen, put, strict=True)]
