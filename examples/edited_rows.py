"""Many edited models asked in one batch: every row is run with the weights of its own edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from memedit.errors import InvalidInputError
from memedit.modeling.delta import WeightDelta
from memedit.modeling.hooks import Places

Delta = WeightDelta | None


class Rows:
    """Prompts padded on the left; a row that has ended leaves them."""

    def __init__(self, prompts: Sequence[Sequence[int]], pad: int) -> None:
        self.width = max(map(len, prompts))
        self.ids = torch.full((len(prompts), self.width), pad)
        self.mask = torch.zeros_like(self.ids)
        for row, prompt in enumerate(prompts):
            self.ids[row, self.width - len(prompt) :] = torch.tensor(list(prompt))
            self.mask[row, self.width - len(prompt) :] = 1
        self.new: list[list[int]] = [[] for _ in prompts]
        """What each prompt was continued with, without the token that ends it."""
        self.running = list(range(len(prompts)))
        self.weights: dict[str, Tensor] = {}
        """Parameter -> each running row's own [rows, in, out]."""

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with these of the running rows."""
        self.running = [self.running[row] for row in rows]
        self.weights = {name: own[list(rows)] for name, own in self.weights.items()}


@contextmanager
def own_weights(
    model: Any, rows: Rows, deltas: Sequence[Delta], owners: Sequence[int]
) -> Iterator[None]:
    """Run row i with the weights that ``deltas[owners[i]]`` leaves, rounded as applying rounds.

    Raises:
        InvalidInputError: a changed parameter is not the weight of a linear layer without a bias.

    """
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    changed = {name for owner in set(owners) if (d := deltas[owner]) for name in d.names()}
    with ExitStack() as stack:
        for name in sorted(changed):
            module, old = modules[name.removesuffix(".weight")], parameters[name].detach()
            if not isinstance(module, nn.Linear) or module.bias is not None:
                raise InvalidInputError(f"{name}: only linear layers without a bias are known here")
            edited = {owner: _sum(old, deltas[owner], name).T for owner in set(owners)}
            rows.weights[name] = torch.stack([edited[owner] for owner in owners])
            stack.callback(module.register_forward_hook(_own(rows, name)).remove)
        yield


def _sum(old: Tensor, delta: Delta, name: str) -> Tensor:
    if delta is None or name not in delta.names():
        return old
    return (old.float() + delta.dense(name)).to(old.dtype)


def _own(rows: Rows, name: str) -> Callable[..., Tensor]:
    return lambda _, args, __: torch.bmm(args[0], rows.weights[name])


@contextmanager
def added_to_prompts(module: nn.Module, places: Places, values: Tensor) -> Iterator[None]:
    """Add values [n, d] to a module's output while prompts are read, not to what follows them."""
    runs: list[bool] = []

    def put(_: nn.Module, __: Any, out: Tensor) -> Tensor:
        runs.append(True)
        return places.put(out, values, add=True) if len(runs) == 1 else out

    handle = module.register_forward_hook(put)
    try:
        yield
    finally:
        handle.remove()


@torch.no_grad()
def continue_rows(model: Any, rows: Rows, most: int) -> None:
    """Continue every row greedily, by ``most`` tokens at most."""
    ends = model.generation_config.eos_token_id
    stop = set(ends if isinstance(ends, list) else [ends])
    cache: Any = None
    ids, mask = rows.ids, rows.mask
    for _ in range(most):
        places = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
        out = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=places,
            cache=cache,
            logits_to_keep=1,
            use_cache=True,
        )
        cache, best = out.cache, out.logits[:, -1].argmax(-1)
        going = [row for row, token in enumerate(best.tolist()) if token not in stop]
        for row in going:
            rows.new[rows.running[row]].append(int(best[row]))
        if not going:
            return
        if len(going) < len(best):
            cache.batch_select_indices(torch.tensor(going))
            rows.keep(going)
            best, mask = best[going], mask[going]
        ids = best[:, None]
        mask = torch.cat([mask, mask.new_ones((len(mask), 1))], -1)
