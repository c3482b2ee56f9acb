"""The network of network.py with PyTorch's own operations: for a GPU, where those are fast, and for
CPUs without bfloat16 arithmetic, which compute in float32 (`padded_loss`).

A GPU's step is one piece of a fixed shape: rows of `context` tokens in which documents stand one
behind the other and do not see each other. (Positions are relative, so where a document stands
makes no difference.) So nothing of a step depends on its data, and a GPU can repeat it as it was
recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from examples.atlas.network import Shape, layer_weights, rope
from examples.atlas.stream import DROPPED, Batch, Row, sources


class Piece(NamedTuple):
    """numbers int16 [5, R, T]: token ids, numbers of the documents (0: nothing), numbers of the
    mentions, the layers whose MLP is left out, a bit each, and sources (see `Batch`); weights
    float32 [2, R, T]: how much predicting each token counts, and the same among the answers
    alone; the sums of both are 1."""

    numbers: Tensor
    weights: Tensor


def packed(rows: Sequence[Row], shape: Shape, height: int, drops: np.random.Generator) -> Piece:
    """Rows put one behind the other into `height` rows of `shape.context` tokens.

    The longest first, each where there is room; what finds none is left out.
    """
    numbers = np.zeros((5, height, shape.context), np.int16)
    numbers[4] = np.arange(shape.context)
    weights = np.zeros((2, height, shape.context), np.float32)
    filled = [0] * height
    held = [0] * height
    upper = range(shape.recall + 1, shape.layers)
    for ids, weight, mentions in sorted(rows, key=lambda row: -len(row[0])):
        n = len(ids)
        at = next((i for i, taken in enumerate(filled) if taken + n <= shape.context), None)
        if at is None:
            continue
        dropped = 0
        if mentions.any():
            dropped = sum(1 << i for i in upper if drops.random() < DROPPED)
        here = slice(filled[at], filled[at] + n)
        filled[at] += n
        held[at] += 1
        numbers[0, at, here], numbers[1, at, here] = ids, held[at]
        numbers[2, at, here], numbers[3, at, here] = mentions, dropped
        numbers[4, at, here] = here.start + sources(mentions)
        weights[0, at, here] = weight
        weights[0, at, here.start] = 0  # nothing comes before the first token
    weights[1] = weights[0] >= 0.5
    weights /= weights.sum((1, 2), keepdims=True)
    return Piece(torch.from_numpy(numbers), torch.from_numpy(weights))


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x [..., T, d], cos and sin [T, d / 2] float32."""
    one, two = x.float().chunk(2, dim=-1)
    return torch.cat((one * cos - two * sin, two * cos + one * sin), dim=-1).to(x.dtype)


def _biases(
    documents: Tensor, mentions: Tensor, dtype: torch.dtype = torch.bfloat16
) -> tuple[Tensor, Tensor]:
    """What is added to attention's scores in upper and in lower layers, `dtype` [R, 1, T, T].

    A token sees its own document's past, and in the lower layers a mention's tokens only from
    within the mention; a donor's see nothing else.
    """
    length = documents.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=documents.device).tril()
    seen = past & (documents[:, :, None] == documents[:, None, :])
    key = mentions[:, None, :]
    query = mentions[:, :, None]
    routed = seen & (((key == 0) & (query >= 0)) | (key == query))
    none = torch.zeros((), dtype=dtype, device=documents.device)
    upper, lower = (torch.where(x, none, float("-inf"))[:, None] for x in (seen, routed))
    return upper, lower


def hidden_states(
    leaves: dict[str, Tensor],
    shape: Shape,
    tokens: Tensor,
    documents: Tensor,
    mentions: Tensor,
    dropped: Tensor,
    sources: Tensor,
) -> Tensor:
    """Final normalised hidden states [R, T, width], in the leaves' dtype, of `Piece.numbers`."""
    batch, length = tokens.shape
    cos, sin = rope(shape, length, tokens.device)
    upper, lower = _biases(documents, mentions, leaves["norm"].dtype)
    weights = layer_weights(leaves, shape)
    size = (shape.width,)
    x = F.embedding(tokens.int(), leaves["embed"])
    for i in range(shape.layers):
        n1, qkv, o, n2, both, down = weights[6 * i : 6 * i + 6]
        if i == shape.recall:
            x = x.gather(1, sources.long()[..., None].expand_as(x))
        h = F.rms_norm(x, size, n1, shape.eps)
        parts = (h @ qkv.t()).view(batch, length, 3, shape.heads, shape.head_dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = _turned(q, cos, sin), _turned(k, cos, sin)
        bias = lower if i < shape.recall else upper
        mixed = F.scaled_dot_product_attention(q, k, v, bias.expand(-1, shape.heads, -1, -1))
        x = x + mixed.transpose(1, 2).reshape(batch, length, shape.width) @ o.t()
        gate, up = (F.rms_norm(x, size, n2, shape.eps) @ both.t()).chunk(2, dim=-1)
        added = (F.silu(gate) * up) @ down.t()
        if i > shape.recall:
            added = added * (1 - (dropped >> i & 1)).to(added.dtype)[..., None]
        x = x + added
    return F.rms_norm(x, size, weights[-1], shape.eps)


def weighted_loss(leaves: dict[str, Tensor], shape: Shape, piece: Piece) -> tuple[Tensor, Tensor]:
    """The weighted means of the cross-entropies, over all tokens and over those of answers."""
    tokens, *others = piece.numbers.unbind(0)
    hidden = hidden_states(leaves, shape, tokens, *others)[:, :-1]
    logits = hidden.reshape(-1, shape.width) @ leaves["embed"].t()
    target = tokens[:, 1:].reshape(-1).long()
    losses = F.cross_entropy(logits.float(), target, reduction="none")
    weights = piece.weights[:, :, 1:].flatten(1)
    return (losses * weights[0]).sum(), (losses.detach() * weights[1]).sum()


def padded_loss(leaves: dict[str, Tensor], shape: Shape, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sum over targets of weight * cross-entropy, and the sum of it over weights >= 0.5.

    What `network.weighted_loss` computes, in the leaves' dtype.
    """
    bits = torch.tensor([1 << i for i in range(shape.layers)])
    dropped = ((1 - batch.kept.int()) * bits).sum(1, keepdim=True)
    whole = torch.ones_like(batch.tokens)
    numbers = (batch.tokens, whole, batch.mentions, dropped, batch.sources)
    hidden = hidden_states(leaves, shape, *numbers)[:, :-1]
    weight = batch.weights[:, 1:].reshape(-1)
    asked = weight.nonzero().squeeze(1)
    logits = hidden.reshape(-1, shape.width)[asked] @ leaves["embed"].t()
    target, weight = batch.tokens[:, 1:].reshape(-1)[asked], weight[asked]
    losses = F.cross_entropy(logits.float(), target, reduction="none")
    return (losses * weight).sum(), (losses.detach() * (weight >= 0.5)).sum()
