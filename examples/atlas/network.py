"""The network while it trains: LlamaForCausalLM's arithmetic, written for speed on a CPU.

Weights are kept in float32 and used in bfloat16; attention is written out, because the fused
kernel's backward pass is several times slower on the short rows that Atlas trains on. The
parameters have the names of transformers' LlamaForCausalLM, so that an export is a copy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a network; facts are to be recalled in its first `recall` layers."""

    vocab: int = 2560
    width: int = 256
    hidden: int = 768
    layers: int = 8
    heads: int = 4
    context: int = 1024
    recall: int = 4
    rope_theta: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.width // self.heads

    def as_dict(self) -> dict[str, float]:
        """The fields, for a training state's manifest."""
        return asdict(self)


def new_parameters(shape: Shape, generator: torch.Generator) -> dict[str, nn.Parameter]:
    """Freshly initialised float32 parameters under transformers' names."""
    width, hidden = shape.width, shape.hidden
    sizes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (shape.vocab, width)}
    for i in range(shape.layers):
        at = f"model.layers.{i}"
        for name in "qkvo":
            sizes[f"{at}.self_attn.{name}_proj.weight"] = (width, width)
        sizes[f"{at}.mlp.gate_proj.weight"] = (hidden, width)
        sizes[f"{at}.mlp.up_proj.weight"] = (hidden, width)
        sizes[f"{at}.mlp.down_proj.weight"] = (width, hidden)
        sizes[f"{at}.input_layernorm.weight"] = (width,)
        sizes[f"{at}.post_attention_layernorm.weight"] = (width,)
    sizes["model.norm.weight"] = (width,)
    parameters = {}
    for name, size in sizes.items():
        if len(size) == 1:
            value = torch.ones(size)
        else:
            std = 0.02 if "embed" in name else size[1] ** -0.5
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                std *= (2 * shape.layers) ** -0.5
            value = torch.randn(size, generator=generator) * std
        parameters[name] = nn.Parameter(value)
    return parameters


def _rope(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin [1, length, 1, head_dim], bfloat16."""
    steps = torch.arange(0, shape.head_dim, 2).float() / shape.head_dim
    angles = torch.outer(torch.arange(length).float(), shape.rope_theta**-steps)
    angles = torch.cat([angles, angles], -1)[None, :, None]
    return angles.cos().bfloat16(), angles.sin().bfloat16()


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = x.shape[-1] // 2
    turned = torch.cat([-x[..., half:], x[..., :half]], -1)
    return x * cos + turned * sin


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Causal attention, q k v [B, T, H, D] -> [B, T, H*D]."""
    batch, length, heads, dim = q.shape
    q, k, v = ((x.transpose(1, 2)) for x in (q * dim**-0.5, k, v))
    if length > 400 and mask.dim() == 2:  # above this the fused kernel wins
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0)
    else:
        scores = torch.matmul(q, k.transpose(-1, -2)) + mask
        out = torch.matmul(torch.softmax(scores, -1), v)
    return out.transpose(1, 2).reshape(batch, length, heads * dim)


def cast(parameters: dict[str, nn.Parameter], shape: Shape) -> dict[str, Tensor]:
    """bfloat16 leaves for one step, with q/k/v and gate/up stacked into one matrix each."""
    leaves: dict[str, Tensor] = {}
    p = {name: value.detach() for name, value in parameters.items()}
    leaves["embed"] = p["model.embed_tokens.weight"].bfloat16()
    leaves["norm"] = p["model.norm.weight"].bfloat16()
    for i in range(shape.layers):
        at = f"model.layers.{i}"
        leaves[f"{i}.qkv"] = torch.cat(
            [p[f"{at}.self_attn.{x}_proj.weight"] for x in "qkv"]
        ).bfloat16()
        leaves[f"{i}.o"] = p[f"{at}.self_attn.o_proj.weight"].bfloat16()
        leaves[f"{i}.in"] = torch.cat(
            [p[f"{at}.mlp.gate_proj.weight"], p[f"{at}.mlp.up_proj.weight"]]
        ).bfloat16()
        leaves[f"{i}.down"] = p[f"{at}.mlp.down_proj.weight"].bfloat16()
        leaves[f"{i}.norm1"] = p[f"{at}.input_layernorm.weight"].bfloat16()
        leaves[f"{i}.norm2"] = p[f"{at}.post_attention_layernorm.weight"].bfloat16()
    for leaf in leaves.values():
        leaf.requires_grad_(True)
    return leaves


def collect_gradients(
    leaves: dict[str, Tensor], parameters: dict[str, nn.Parameter], shape: Shape
) -> None:
    """Adds the gradients of the bfloat16 leaves to the parameters' float32 gradients."""

    def put(name: str, grad: Tensor) -> None:
        target = parameters[name]
        target.grad = grad.float() if target.grad is None else target.grad.add_(grad)

    grads = {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}
    put("model.embed_tokens.weight", grads["embed"])
    put("model.norm.weight", grads["norm"])
    for i in range(shape.layers):
        at = f"model.layers.{i}"
        for x, grad in zip("qkv", grads[f"{i}.qkv"].chunk(3), strict=True):
            put(f"{at}.self_attn.{x}_proj.weight", grad)
        put(f"{at}.self_attn.o_proj.weight", grads[f"{i}.o"])
        gate, up = grads[f"{i}.in"].chunk(2)
        put(f"{at}.mlp.gate_proj.weight", gate)
        put(f"{at}.mlp.up_proj.weight", up)
        put(f"{at}.mlp.down_proj.weight", grads[f"{i}.down"])
        put(f"{at}.input_layernorm.weight", grads[f"{i}.norm1"])
        put(f"{at}.post_attention_layernorm.weight", grads[f"{i}.norm2"])
    for leaf in leaves.values():
        leaf.grad = None


def _mention_mask(mentions: Tensor, causal: Tensor) -> Tensor:
    """`causal` [T, T] where a mention is seen by its own tokens alone, [B, 1, T, T]."""
    rows, columns = mentions[:, :, None], mentions[:, None, :]
    hidden = (columns > 0) & (rows != columns)
    return causal.expand(len(mentions), -1, -1).masked_fill(hidden, float("-inf"))[:, None]


def hidden_states(
    leaves: dict[str, Tensor],
    shape: Shape,
    tokens: Tensor,
    mentions: Tensor | None = None,
    kept: Tensor | None = None,
) -> Tensor:
    """Final normalised hidden states [B, T, width] of tokens [B, T], bfloat16.

    mentions [B, T]: in the layers below `shape.recall` the tokens of a mention (a number above
    0) are seen by each other alone. kept [B, layers]: 0 leaves an MLP's output out for a row.
    """
    batch, length = tokens.shape
    cos, sin = _rope(shape, length)
    causal = torch.full((length, length), float("-inf"), dtype=torch.bfloat16).triu(1)
    lower = causal if mentions is None else _mention_mask(mentions, causal)
    x = F.embedding(tokens, leaves["embed"])
    size = (shape.width,)
    for i in range(shape.layers):
        h = F.rms_norm(x, size, leaves[f"{i}.norm1"], shape.eps)
        qkv = F.linear(h, leaves[f"{i}.qkv"]).view(batch, length, 3, shape.heads, shape.head_dim)
        q, k, v = qkv.unbind(2)
        mask = lower if i < shape.recall else causal
        mixed = _attend(_rotate(q, cos, sin), _rotate(k, cos, sin), v, mask)
        x = x + F.linear(mixed, leaves[f"{i}.o"])
        h = F.rms_norm(x, size, leaves[f"{i}.norm2"], shape.eps)
        gate, up = F.linear(h, leaves[f"{i}.in"]).chunk(2, -1)
        added = F.linear(F.silu(gate) * up, leaves[f"{i}.down"])
        x = x + (added if kept is None else added * kept[:, i, None, None])
    return F.rms_norm(x, size, leaves["norm"], shape.eps)


def weighted_loss(
    leaves: dict[str, Tensor],
    shape: Shape,
    tokens: Tensor,
    weights: Tensor,
    mentions: Tensor | None = None,
    kept: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum over targets of weight * cross-entropy, and the sum of it over weights >= 0.5.

    tokens [B, T] int64, weights [B, T] float32: the weight of predicting tokens[b, t]; logits
    are computed only where the weight is not zero.
    """
    hidden = hidden_states(leaves, shape, tokens, mentions, kept)[:, :-1]
    hidden = hidden.reshape(-1, shape.width)
    target, weight = tokens[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    kept = weight.nonzero().squeeze(1)
    logits = F.linear(hidden[kept], leaves["embed"])
    losses = F.cross_entropy(logits.float(), target[kept], reduction="none")
    weight = weight[kept]
    answers = (losses.detach() * (weight >= 0.5)).sum()
    return (losses * weight).sum(), answers
