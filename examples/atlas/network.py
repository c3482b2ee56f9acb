"""The network while it trains: LlamaForCausalLM's arithmetic, written for speed on a CPU.

Weights are kept in float32 and used in bfloat16; what happens between the matrix products is done
by kernels.c, and the backward pass is written out beside the forward one. The parameters have the
names of transformers' LlamaForCausalLM, so that an export is a copy.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from examples.atlas.kernels import Kernels


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


def rope(shape: Shape, length: int, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
    """cos and sin [length, head_dim / 2], float32."""
    steps = torch.arange(0, shape.head_dim, 2, device=device).float() / shape.head_dim
    angles = torch.outer(torch.arange(length, device=device).float(), shape.rope_theta**-steps)
    return angles.cos(), angles.sin()


class _Layers(torch.autograd.Function):
    """All layers and the final norm, forward and backward written out."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        kernels: Kernels,
        shape: Shape,
        mentions: Tensor | None,
        kept: Tensor | None,
        sources: Tensor | None,
        *weights: Tensor,
    ) -> Tensor:
        """x [B, T, width] -> normalised hidden states; `weights` as in `layer_weights`."""
        batch, length, width = x.shape
        cos, sin = rope(shape, length)
        tape: list[tuple[Tensor, ...]] = []
        x = x.clone()
        added: Tensor | None = None
        scale: Tensor | None = None
        for i in range(shape.layers):
            n1, qkv, o, n2, both, down = weights[6 * i : 6 * i + 6]
            if sources is not None and i == shape.recall and added is not None:
                # no MLP below is ever left out, so there is no scale
                x = (x + added).gather(1, sources[..., None].expand_as(x))
                added = None
            h1, r1 = kernels.add_norm(x, added, scale, n1, shape.eps)
            x1 = x.clone()
            q, k, v = kernels.split_rope(h1 @ qkv.t(), shape.heads, cos, sin)
            p = kernels.causal_softmax(
                q @ k.transpose(-1, -2), mentions if i < shape.recall else None
            )
            mixed = (p @ v).transpose(1, 2).reshape(batch, length, width)
            h2, r2 = kernels.add_norm(x, mixed @ o.t(), None, n2, shape.eps)
            x2 = x.clone()
            gated = h2 @ both.t()
            added = kernels.swiglu(gated) @ down.t()
            scale = None if kept is None else kept[:, i].contiguous()
            tape.append((x1, r1, h1, q, k, v, p, mixed, x2, r2, h2, gated))
        y, r = kernels.add_norm(x, added, scale, weights[-1], shape.eps)
        ctx.tape, ctx.weights, ctx.last = tape, weights, (x, r)
        ctx.kernels, ctx.shape, ctx.kept, ctx.rope = kernels, shape, kept, (cos, sin)
        ctx.sources = sources
        return y

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        """Gradients of x and of every weight."""
        kernels, shape, kept = ctx.kernels, ctx.shape, ctx.kept
        weights = ctx.weights
        x, r = ctx.last
        g = torch.zeros_like(x)
        grads: list[Tensor] = [kernels.norm_backward(x, weights[-1], r, outputs[0].contiguous(), g)]
        for i in reversed(range(shape.layers)):
            n1, qkv, o, n2, both, down = weights[6 * i : 6 * i + 6]
            x1, r1, h1, q, k, v, p, mixed, x2, r2, h2, gated = ctx.tape.pop()
            gadded = g if kept is None else g * kept[:, i, None, None]
            gdown = _outer(gadded, kernels.swiglu(gated))
            ggated = kernels.swiglu_backward(gated, gadded @ down)
            gn2 = kernels.norm_backward(x2, n2, r2, ggated @ both, g)
            gmixed = (g @ o).view(*g.shape[:2], shape.heads, -1).transpose(1, 2).contiguous()
            gs = kernels.softmax_backward(p, gmixed @ v.transpose(-1, -2))
            gv = p.transpose(-1, -2) @ gmixed
            gqkv = kernels.split_rope_backward(gs @ k, gs.transpose(-1, -2) @ q, gv, *ctx.rope)
            go = _outer(g, mixed)
            gn1 = kernels.norm_backward(x1, n1, r1, gqkv @ qkv, g)
            if ctx.sources is not None and i == shape.recall:
                g = torch.zeros_like(g).scatter_add(1, ctx.sources[..., None].expand_as(g), g)
            grads[:0] = [gn1, _outer(gqkv, h1), go, gn2, _outer(ggated, h2), gdown]
        cast = [grad.to(w.dtype) for grad, w in zip(grads, weights, strict=True)]
        return (g, None, None, None, None, None, *cast)


class _Loss(torch.autograd.Function):
    """Sum of weighted cross-entropies; the gradient is made at once, in the logits' memory."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, embed: Tensor, target: Tensor, weight: Tensor, kernels: Kernels
    ) -> tuple[Tensor, Tensor]:
        """hidden [n, W], embed [V, W], target [n], weight [n] -> (weighted sum, losses [n])."""
        logits = hidden @ embed.t()
        losses = kernels.softmax_loss(logits, target, weight)
        ctx.grads = (logits @ embed, _outer(logits, hidden))
        ctx.mark_non_differentiable(losses)
        return (losses * weight).sum(), losses

    @staticmethod
    def backward(ctx: Any, *outputs: Tensor) -> Any:
        """The gradients that forward left, times that of the sum."""
        ghidden, gembed = ctx.grads
        return ghidden.mul_(outputs[0]), gembed.mul_(outputs[0]), None, None, None


def softmax_loss(
    hidden: Tensor, embed: Tensor, target: Tensor, weight: Tensor, kernels: Kernels
) -> tuple[Tensor, Tensor]:
    """Sum over rows of weight * cross-entropy, and the cross-entropies [n], float32.

    hidden [n, W] and embed [V, W] bfloat16, target [n] int64, weight [n] float32.
    """
    out: tuple[Tensor, Tensor] = _Loss.apply(hidden, embed, target, weight, kernels)  # type: ignore[no-untyped-call]
    return out


def _outer(g: Tensor, x: Tensor) -> Tensor:
    """Sum over tokens of g xᵀ: [B, T, out], [B, T, in] -> [out, in]."""
    return (x.reshape(-1, x.shape[-1]).t() @ g.reshape(-1, g.shape[-1])).t()


def layer_weights(leaves: dict[str, Tensor], shape: Shape) -> list[Tensor]:
    """The leaves in the order of the layers, the final norm last."""
    names = ("norm1", "qkv", "o", "norm2", "in", "down")
    return [leaves[f"{i}.{name}"] for i in range(shape.layers) for name in names] + [leaves["norm"]]


def cast(
    parameters: dict[str, nn.Parameter], shape: Shape, dtype: torch.dtype = torch.bfloat16
) -> dict[str, Tensor]:
    """Leaves of `dtype` for one step, with q/k/v and gate/up stacked into one matrix each."""
    leaves: dict[str, Tensor] = {}
    p = {name: value.detach() for name, value in parameters.items()}
    leaves["embed"] = p["model.embed_tokens.weight"].to(dtype)
    leaves["norm"] = p["model.norm.weight"].to(dtype)
    for i in range(shape.layers):
        at = f"model.layers.{i}"
        leaves[f"{i}.qkv"] = torch.cat([p[f"{at}.self_attn.{x}_proj.weight"] for x in "qkv"]).to(
            dtype
        )
        leaves[f"{i}.o"] = p[f"{at}.self_attn.o_proj.weight"].to(dtype)
        leaves[f"{i}.in"] = torch.cat(
            [p[f"{at}.mlp.gate_proj.weight"], p[f"{at}.mlp.up_proj.weight"]]
        ).to(dtype)
        leaves[f"{i}.down"] = p[f"{at}.mlp.down_proj.weight"].to(dtype)
        leaves[f"{i}.norm1"] = p[f"{at}.input_layernorm.weight"].to(dtype)
        leaves[f"{i}.norm2"] = p[f"{at}.post_attention_layernorm.weight"].to(dtype)
    for leaf in leaves.values():
        leaf.requires_grad_(True)
    return leaves


def collect_gradients(
    leaves: dict[str, Tensor], parameters: dict[str, nn.Parameter], shape: Shape
) -> None:
    """Adds the gradients of the leaves to the parameters' float32 gradients."""

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


def hidden_states(
    leaves: dict[str, Tensor],
    shape: Shape,
    tokens: Tensor,
    mentions: Tensor | None = None,
    kept: Tensor | None = None,
    kernels: Kernels | None = None,
    sources: Tensor | None = None,
) -> Tensor:
    """Final normalised hidden states [B, T, width] of tokens [B, T], bfloat16.

    mentions [B, T]: in the layers below `shape.recall` the tokens of a mention (a number above
    0) are seen by each other alone. kept [B, layers]: 0 leaves an MLP's output out for a row.
    sources [B, T] int64: where the states of layer `shape.recall` on are taken from.
    """
    x = F.embedding(tokens, leaves["embed"])
    mentions = None if mentions is None else mentions.int()
    weights = layer_weights(leaves, shape)
    out: Tensor = _Layers.apply(x, kernels or Kernels(), shape, mentions, kept, sources, *weights)  # type: ignore[no-untyped-call]
    return out


def weighted_loss(
    leaves: dict[str, Tensor],
    shape: Shape,
    tokens: Tensor,
    weights: Tensor,
    mentions: Tensor | None = None,
    kept: Tensor | None = None,
    kernels: Kernels | None = None,
    sources: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sum over targets of weight * cross-entropy, and the sum of it over weights >= 0.5.

    tokens [B, T] int64, weights [B, T] float32: the weight of predicting tokens[b, t]; logits
    are computed only where the weight is not zero.
    """
    kernels = kernels or Kernels()
    hidden = hidden_states(leaves, shape, tokens, mentions, kept, kernels, sources)[:, :-1]
    hidden = hidden.reshape(-1, shape.width)
    target, weight = tokens[:, 1:].reshape(-1), weights[:, 1:].reshape(-1)
    asked = weight.nonzero().squeeze(1)
    spare = -len(asked) % 128  # few sizes of logits, see Stream.batches; the spare weigh nothing
    weight = F.pad(weight[asked], (0, spare))
    asked = F.pad(asked, (0, spare))
    target = target[asked]
    loss, losses = softmax_loss(hidden[asked], leaves["embed"], target, weight, kernels)
    return loss, (losses * (weight >= 0.5)).sum()
