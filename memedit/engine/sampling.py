"""From a step's logits to the next token and its log-probabilities."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

GREEDY_BELOW = 1e-5
"""Temperatures below it choose the most probable token (as vLLM does)."""


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How one sequence is continued; validated by the wire, see ``parameters``."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    """0 switches it off."""
    min_p: float = 0.0
    seed: int | None = None
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    """How many alternatives to score at each new token; ``None`` scores nothing."""
    prompt_logprobs: int | None = None
    """The same for the prompt's own tokens."""
    stop: tuple[str, ...] = ()
    stop_ids: frozenset[int] = frozenset()
    """Tokens that end the sequence on request."""
    eos_ids: frozenset[int] = frozenset()
    """Tokens that end the sequence because the model says so; empty to ignore them."""
    min_tokens: int = 0
    include_stop: bool = False
    skip_special_tokens: bool = True

    @property
    def greedy(self) -> bool:
        """Whether the most probable token is always chosen."""
        return self.temperature < GREEDY_BELOW

    @property
    def plain(self) -> bool:
        """Whether the logits are used as they are, up to the choice itself."""
        return (
            self.presence_penalty == 0.0
            and self.frequency_penalty == 0.0
            and self.repetition_penalty == 1.0
            and not self.logit_bias
            and self.min_tokens == 0
        )


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token's natural log-probability under the model itself, and the best alternatives."""

    token: int
    logprob: float | None
    """``None`` for a prompt's first token, which nothing precedes."""
    top: tuple[tuple[int, float], ...] = ()
    """(token, log-probability), most probable first."""


def scores(logits: torch.Tensor, tokens: Sequence[int], top: int) -> list[TokenScore]:
    """Score ``tokens`` under ``logits``, before temperature and penalties.

    Args:
        logits: [n, vocab].
        tokens: n token ids.
        top: how many alternatives to name for each.

    """
    logprobs = torch.log_softmax(logits.float(), dim=-1)  # [n, vocab]
    chosen = logprobs.gather(1, torch.tensor([tokens], device=logits.device).T)[:, 0].tolist()
    values, ids = logprobs.topk(min(top, logprobs.shape[-1]), dim=-1)  # [n, top]
    rows = zip(ids.tolist(), values.tolist(), strict=True)
    return [
        TokenScore(token, logprob, tuple(zip(*row, strict=True)))
        for token, logprob, row in zip(tokens, chosen, rows, strict=True)
    ]


def adjusted(
    logits: torch.Tensor, params: SamplingParams, prompt: Sequence[int], output: Sequence[int]
) -> torch.Tensor:
    """Return a row of logits with bias and penalties applied; the row given stays as it is.

    Args:
        logits: [vocab], float32.
        params: what to apply.
        prompt: the sequence's prompt; the repetition penalty counts it.
        output: the tokens generated so far; all penalties count them.

    """
    if params.plain:
        return logits
    row = logits.clone()
    for token, bias in params.logit_bias.items():
        row[token] += bias
    if len(output) < params.min_tokens:
        ends = [token for token in params.eos_ids | params.stop_ids if token < len(row)]
        row[ends] = -math.inf
    if params.repetition_penalty != 1.0:
        seen = torch.tensor(sorted({*prompt, *output}), device=row.device)
        if len(seen):
            there = row[seen]
            penalty = params.repetition_penalty
            row[seen] = torch.where(there > 0, there / penalty, there * penalty)
    if output and (params.presence_penalty or params.frequency_penalty):
        for token, count in Counter(output).items():
            row[token] -= params.presence_penalty + params.frequency_penalty * count
    return row


def choose(row: torch.Tensor, params: SamplingParams, generator: torch.Generator) -> int:
    """Choose the next token from a row of adjusted logits, [vocab] float32.

    In vLLM's order: temperature, min_p, top_k, top_p.
    """
    if params.greedy:
        return int(row.argmax())
    row = row / params.temperature
    if params.min_p > 0:
        row = row.masked_fill(row < row.max() + math.log(params.min_p), -math.inf)
    if 0 < params.top_k < len(row):
        row = row.masked_fill(row < row.topk(params.top_k).values[-1], -math.inf)
    probabilities = torch.softmax(row, dim=-1)
    if params.top_p < 1:
        ordered, ids = probabilities.sort(descending=True, stable=True)
        before = ordered.cumsum(0) - ordered  # mass in front of each: the first is always kept
        probabilities[ids[before >= params.top_p]] = 0
    return int(torch.multinomial(probabilities, 1, generator=generator))
