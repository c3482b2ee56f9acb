"""REMEDI's map: from what an attribute is encoded as to a direction of the entity's state."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from memedit.adapters.grading import parts
from memedit.adapters.learned import Progress
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.forms import PromptForm
from memedit.modeling.frozen import left_as_found
from memedit.modeling.hooks import Places, add, catch
from memedit.modeling.losses import target_losses
from memedit.modeling.subject import subject_span
from memedit.modeling.tokens import Tokens, encode_pair, pad
from memedit.types import EditRequest

RATE_SHARE = 0.005
"""What a step moves a direction by, about, as a share of the entities' states' size, times the
square root of their width."""


@dataclass(frozen=True, slots=True)
class MapRecipe:
    """How the map is trained."""

    steps: int = 300
    """Batches."""
    rows: int = 32
    """Edits of a batch."""
    prior: float = 1.0
    """The weight of the loss that lowers the old answer; the paper's lambda 1."""
    kept: float = 10.0
    """The weight of the divergence at other tokens of the prompt; the paper's lambda 2."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not (min(self.steps, self.rows) > 0 and min(self.prior, self.kept) >= 0):
            raise InvalidInputError(
                f"steps {self.steps}, rows {self.rows}, prior {self.prior}, kept {self.kept}: "
                "expected numbers above 0, and weights not under it"
            )


@dataclass(frozen=True, slots=True)
class AffineMap:
    """``W h + b``: directions of encodings."""

    weight: Tensor
    """float32 [d, d]"""
    bias: Tensor
    """float32 [d]"""

    def directions(self, attributes: Tensor) -> Tensor:
        """Return directions for encodings [B, d]."""
        return attributes @ self.weight.T + self.bias


@dataclass(frozen=True, slots=True)
class Placed:
    """An edit cut into tokens, with the place of its subject."""

    tokens: Tokens
    subject: int
    """Of the prompt's tokens the last one of the subject."""
    spelled: tuple[int, ...]
    """The subject's tokens."""
    prior: tuple[int, ...] = ()
    """The old answer's tokens, where it is known."""


def placed(tokenizer: Any, request: EditRequest, tokens: Tokens, form: PromptForm | None) -> Placed:
    """Find an edit's subject in its prompt.

    Raises:
        InvalidInputError: it is not there.

    """
    encoded, span = subject_span(tokenizer, request.prompt, request.subject, form)
    prior: tuple[int, ...] = ()
    if request.ground_truth:
        prior = encode_pair(tokenizer, request.prompt, request.ground_truth, form).target
    return Placed(tokens, span.last, encoded.ids[span.first : span.last + 1], prior)


@dataclass(frozen=True, slots=True)
class EncodedEdits:
    """What a layer gives out over edits that nothing was done to."""

    attributes: Tensor
    """float32 [B, d]: the mean over the new answer's tokens, read behind the prompt."""
    entities: Tensor
    """float32 [B, d]: at the subject's last token."""


def encode_edits(
    model: nn.Module, tokenizer: Any, block: nn.Module, edits: Sequence[Placed], at_once: int
) -> EncodedEdits:
    """Read edits with a model, as they are to be: prompt and new answer."""
    attributes: list[Tensor] = []
    entities: list[Tensor] = []
    for part in parts(range(len(edits)), at_once):
        batch = pad([edits[n].tokens for n in part], tokenizer)
        with torch.no_grad(), catch(block, "output") as states:
            model(**batch.inputs(model))
        found = states.last.float()
        answer = (batch.labels >= 0).to(found.device)[..., None]
        attributes.append((found * answer).sum(1) / answer.sum(1))
        at = Places.one_per_row([edits[n].subject for n in part])
        entities.append(at.take(found))
    return EncodedEdits(torch.cat(attributes), torch.cat(entities))


def train_map(
    model: nn.Module,
    tokenizer: Any,
    layer: int,
    edits: Sequence[Placed],
    recipe: MapRecipe,
    progress: Progress,
) -> AffineMap:
    """Train the map, the model frozen.

    The loss is that of the new answer, plus ``-log(1 - p(old answer))``, plus the divergence from
    the model as it was at the prompt's tokens behind the subject but for the last one.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        layer: to whose output directions are added.
        edits: what is learned from.
        recipe: how.
        progress: called with (steps done, in all).

    Raises:
        InvalidInputError: there are no edits.
        DivergedError: a loss was no number.

    Source: Hernandez et al. 2023, "Inspecting and Editing Knowledge Representations in Language
    Models", section 3.

    """
    if not edits:
        raise InvalidInputError("expected edits to train the map on, got none")
    block = architecture(model).layer(layer).block
    draw = random.Random(recipe.seed)
    with left_as_found(model):
        encoded = encode_edits(model, tokenizer, block, edits, recipe.rows)
        width = encoded.entities.shape[1]
        large, small = (
            float(t.square().mean().sqrt()) for t in (encoded.entities, encoded.attributes)
        )
        weight = encoded.entities.new_zeros(width, width).requires_grad_(True)
        bias = encoded.entities.new_zeros(width).requires_grad_(True)
        rate = RATE_SHARE * large * width**0.5
        optimizer = torch.optim.Adam(
            [
                {"params": [weight], "lr": rate / (width * max(small, 1e-6))},
                {"params": [bias], "lr": rate},
            ]
        )
        for step in range(recipe.steps):
            progress(step, recipe.steps)
            part = [draw.randrange(len(edits)) for _ in range(min(recipe.rows, len(edits)))]
            vectors = AffineMap(weight, bias).directions(encoded.attributes[part])
            loss = _loss(model, tokenizer, block, [edits[n] for n in part], vectors, recipe)
            if not bool(torch.isfinite(loss)):
                raise DivergedError(f"the map diverged after {step} steps: a loss is no number")
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    progress(recipe.steps, recipe.steps)
    return AffineMap(weight.detach().cpu(), bias.detach().cpu())


def _loss(
    model: nn.Module,
    tokenizer: Any,
    block: nn.Module,
    edits: Sequence[Placed],
    vectors: Tensor,
    recipe: MapRecipe,
) -> Tensor:
    at = Places.one_per_row([one.subject for one in edits])
    batch = pad([one.tokens for one in edits], tokenizer)
    inputs = batch.inputs(model)
    with add(block, "output", at, vectors):
        logits: Tensor = model(**inputs).logits.float()
    loss = target_losses(logits, batch.to(logits.device)).losses.mean()
    if recipe.kept:
        with torch.no_grad():
            before: Tensor = model(**inputs).logits.float().log_softmax(-1)
        places = torch.arange(logits.shape[1])
        subjects = torch.tensor([one.subject for one in edits])
        between = (places >= subjects[:, None]) & (places < batch.prompt_last[:, None])
        kept = between.to(logits.device)
        if bool(kept.any()):
            now = logits.log_softmax(-1)[kept]
            divergence = functional.kl_div(
                now, before[kept], log_target=True, reduction="batchmean"
            )
            loss = loss + recipe.kept * divergence
    known = [n for n, one in enumerate(edits) if one.prior and one.prior != one.tokens.target]
    if recipe.prior and known:
        old = pad([Tokens(edits[n].tokens.prompt, edits[n].prior) for n in known], tokenizer)
        there = Places.one_per_row([edits[n].subject for n in known])
        with add(block, "output", there, vectors[known]):
            said: Tensor = model(**old.inputs(model)).logits.float()
        losses = target_losses(said, old.to(said.device)).losses  # -log p, a token's mean
        loss = loss + recipe.prior * -torch.log1p(-torch.exp(-losses).clamp(max=1 - 1e-6)).mean()
    return loss
