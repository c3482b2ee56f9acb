"""Which block each row of a batch goes through: decided at its prompt, kept while it is generated.

The decision is made in the run that reads the prompt, from what a layer gives out at the prompt's
last token, and is remembered for the cache that the run fills: later runs with that cache go on
with it, also when rows are taken out of the cache, repeated or put into another order.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.learned import (
    Attachment,
)
from memedit.errors import InvalidInputError
from memedit.modeling.hooks import Side

_CACHES = ("past_key_values", "cache")  # transformers 5.24 began to rename argument and output


class RowChoice(Attachment):
    """The choice for one model, as long as it is attached.

    Args:
        choose: states of the layer at each row's last prompt token [B, d] -> int64 [B].

    """

    def __init__(self, choose: Callable[[Tensor], Tensor]) -> None:
        self._choose = choose
        self._ends: Tensor | None = None
        self._last: Tensor | None = None
        self._chosen: Tensor | None = None
        self._by_cache: weakref.WeakKeyDictionary[Any, tuple[Tensor, ...]] = (
            weakref.WeakKeyDictionary()
        )

    def chosen(self) -> Tensor | None:
        """Return each row's block in the present run; ``None``: no row has one."""
        chosen = self._chosen
        return None if chosen is None or not bool((chosen >= 0).any()) else chosen

    def ends(self) -> Tensor | None:
        """Return each row's last prompt token, int64 [B]; ``None``: the run reads no prompt."""
        return self._last

    @contextmanager
    def prompts_end(self, positions: Sequence[int] | Tensor) -> Iterator[None]:
        """Say where prompts end; see ``Attachment.prompts_end``."""
        self._ends = torch.as_tensor(positions, dtype=torch.long)
        try:
            yield
        finally:
            self._ends = None

    @contextmanager
    def watching(
        self, model: nn.Module, module: nn.Module, side: Side = "output"
    ) -> Iterator[None]:
        """Watch a model's runs and what one of its modules gives out, or takes in.

        Of what it takes in the choice is made before later hooks on the module's output are called.
        """

        def decide(_: nn.Module, args: Any, output: Any) -> None:
            self._decide(args if side == "input" else output)

        with ExitStack() as stack:
            for handle in (
                model.register_forward_pre_hook(self._before, with_kwargs=True),
                module.register_forward_hook(decide),
                model.register_forward_hook(self._after, with_kwargs=True),
            ):
                stack.callback(handle.remove)
            yield

    def _before(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given: Any = args[0] if args else kwargs.get("input_ids")
        if given is None:
            given = kwargs["inputs_embeds"]
        rows, width = given.shape[:2]
        self._last = self._chosen = None
        cache = next((kwargs[n] for n in _CACHES if kwargs.get(n) is not None), None)
        known = None if cache is None else self._by_cache.get(cache)
        if known is not None and cached_tokens(kwargs) > 0:
            if len(known[0]) != rows:
                raise InvalidInputError(
                    f"a cache of {len(known[0])} prompts is used with a batch of {rows}; the "
                    "choice of adapters does not fit it. Generate from the prompts"
                )
            self._recall(known)
            return
        if self._ends is not None:
            if len(self._ends) != rows:
                raise InvalidInputError(
                    f"the ends of {len(self._ends)} prompts were given for a batch of {rows}"
                )
            self._last = self._ends
            return
        mask: Any = kwargs.get("attention_mask")
        if not isinstance(mask, Tensor) or mask.ndim != 2:
            self._last = torch.full((rows,), width - 1)
            return
        places = torch.arange(width, device=mask.device)
        self._last = torch.where(mask[:, -width:].bool(), places, 0).amax(1)

    def _decide(self, found: Any) -> None:
        if self._last is None:
            return
        states: Tensor = found[0] if isinstance(found, tuple) else found
        rows = torch.arange(len(self._last), device=states.device)
        whole = states.reshape(len(self._last), -1, states.shape[-1])
        with torch.no_grad():
            self._chosen = self._choose(whole[rows, self._last.to(states.device)])

    def _after(self, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        cache = next((getattr(output, n, None) for n in _CACHES if hasattr(output, n)), None)
        if cache is not None and self._chosen is not None:
            new = cache not in self._by_cache
            self._by_cache[cache] = self._remembered()
            if new:
                self._follow(cache)
        self._last = self._chosen = None

    def _remembered(self) -> tuple[Tensor, ...]:
        """Return what is remembered of each row, along the first dimension."""
        assert self._chosen is not None
        return (self._chosen,)

    def _recall(self, kept: tuple[Tensor, ...]) -> None:
        """Take what was remembered."""
        self._chosen = kept[0]

    def _follow(self, cache: Any) -> None:
        """Let the remembered choice follow what is done with the rows of its cache."""
        seen, there = weakref.ref(self), weakref.ref(cache)

        def wrap(name: str, change: Callable[[Tensor, Any], Tensor]) -> None:
            plain = getattr(type(cache), name, None)
            if plain is None:
                return

            def changed(how: Any, *args: Any, **kwargs: Any) -> Any:
                own, target = seen(), there()
                if own is not None and target is not None and target in own._by_cache:
                    kept = own._by_cache[target]
                    own._by_cache[target] = tuple(change(one, how) for one in kept)
                return plain(target, how, *args, **kwargs)

            setattr(cache, name, changed)

        wrap("batch_select_indices", lambda rows, how: rows[how.to(rows.device)])
        wrap("reorder_cache", lambda rows, how: rows[how.to(rows.device)])
        wrap("batch_repeat_interleave", lambda rows, how: rows.repeat_interleave(how, 0))


def cached_tokens(kwargs: Mapping[str, Any]) -> int:
    """Return how many tokens are in the cache that a model is run with."""
    cache = next((kwargs[name] for name in _CACHES if kwargs.get(name) is not None), None)
    if cache is None:
        return 0
    return int(cache.get_seq_length()) if hasattr(cache, "get_seq_length") else 1
