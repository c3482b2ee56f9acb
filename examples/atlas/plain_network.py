"""The network of network.py with PyTorch's own operations: for a GPU, where those are fast.

The arithmetic and the roundings are the same; the gradient is autograd's.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from examples.atlas.network import Shape, layer_weights, rope
from examples.atlas.stream import Batch


class Piece(NamedTuple):
    """A micro-batch, with what is asked of it picked out beforehand.

    tokens [B, T] int64; asked [n] int64 are places in its [B, T - 1] predictions, target [n]
    int64 and weight [n] float32 what is to be predicted there. mentions [B, T] int64 and kept
    [B, layers] bfloat16 as in `Batch`, None where they change nothing.
    """

    tokens: Tensor
    asked: Tensor
    target: Tensor
    weight: Tensor
    mentions: Tensor | None
    kept: Tensor | None


def piece(batch: Batch) -> Piece:
    """Picks out what is asked, on the processor."""
    target, weight = batch.tokens[:, 1:].reshape(-1), batch.weights[:, 1:].reshape(-1)
    asked = weight.nonzero().squeeze(1)
    return Piece(
        batch.tokens,
        asked,
        target[asked],
        weight[asked],
        batch.mentions if bool(batch.mentions.any()) else None,
        None if bool(batch.kept.all()) else batch.kept,
    )


def _turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: x [..., T, d], cos and sin [T, d / 2] float32."""
    one, two = x.float().chunk(2, dim=-1)
    return torch.cat((one * cos - two * sin, two * cos + one * sin), dim=-1).to(x.dtype)


def _seen(mentions: Tensor) -> Tensor:
    """Which keys a query sees, bool [B, 1, T, T]: a mention's tokens see those of no other."""
    length = mentions.shape[1]
    past = torch.ones(length, length, dtype=torch.bool, device=mentions.device).tril()
    key, query = mentions[:, None, :], mentions[:, :, None]
    return (past & ((key == 0) | (key == query)))[:, None]


def hidden_states(
    leaves: dict[str, Tensor],
    shape: Shape,
    tokens: Tensor,
    mentions: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """What `network.hidden_states` computes, on the device of `tokens`."""
    batch, length = tokens.shape
    cos, sin = rope(shape, length, tokens.device)
    seen = None if mentions is None else _seen(mentions)
    weights = layer_weights(leaves, shape)
    size = (shape.width,)
    x = F.embedding(tokens, leaves["embed"])
    for i in range(shape.layers):
        n1, qkv, o, n2, both, down = weights[6 * i : 6 * i + 6]
        h = F.rms_norm(x, size, n1, shape.eps)
        parts = (h @ qkv.t()).view(batch, length, 3, shape.heads, shape.head_dim)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        q, k = _turned(q, cos, sin), _turned(k, cos, sin)
        routed = seen if i < shape.recall else None
        mixed = F.scaled_dot_product_attention(q, k, v, routed, is_causal=routed is None)
        x = x + mixed.transpose(1, 2).reshape(batch, length, shape.width) @ o.t()
        gate, up = (F.rms_norm(x, size, n2, shape.eps) @ both.t()).chunk(2, dim=-1)
        added = (F.silu(gate) * up) @ down.t()
        x = x + (added if kept is None else added * kept[:, i, None, None])
    return F.rms_norm(x, size, weights[-1], shape.eps)


def weighted_loss(leaves: dict[str, Tensor], shape: Shape, part: Piece) -> tuple[Tensor, Tensor]:
    """What `network.weighted_loss` computes of the same micro-batch."""
    hidden = hidden_states(leaves, shape, part.tokens, part.mentions, part.kept)[:, :-1]
    logits = hidden.reshape(-1, shape.width)[part.asked] @ leaves["embed"].t()
    losses = F.cross_entropy(logits.float(), part.target, reduction="none")
    return (losses * part.weight).sum(), (losses.detach() * (part.weight >= 0.5)).sum()
