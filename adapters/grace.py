"""GRACE: a codebook of keys with deferral radii; what is near a key gets the key's value.

The key is what the MLP of one layer takes in (after its norm) at the last token of an edit's
prompt; the value takes the place of what that MLP gives out.  Both are of the residual stream's
width and not split among GPUs, unlike what its value matrix takes in.

On which tokens the value is put: on every token whose own key is near enough, in prompts and in
what is generated alike.  The published code does it at one place, the last prompt token, which has
to be told where that is, runs without a cache, and changes with how a text is cut into prompt and
answer.  Deciding per token needs none of that: the same tokens give the same logits with the cache
on, in any batch, padded on either side, scored or generated, and inside a server that caches
prefixes.  At a prompt that is an edit's, the last token has the edit's own key (distance 0); a key
at this layer does not depend on values put at the same layer before it, so that edits do not set
one another off.  The price: a text that goes on after an edit's prompt has the value in it, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from memedit.adapters.base import Adapter
from memedit.adapters.codebook import Codebook, Table
from memedit.adapters.codebook_files import codebook_of, saved_codebook
from memedit.adapters.grace_values import SearchConfig, search_values
from memedit.adapters.grading import grades, parts
from memedit.adapters.key_space import RADIUS_SHARE
from memedit.adapters.learned import (
    AdapterConfig,
    Attachment,
    HeldEdit,
    Host,
    Learned,
    Progress,
    Saved,
)
from memedit.adapters.row_choice import RowChoice
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import Places, catch, replace
from memedit.modeling.tokens import Batch, Tokens, pad
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class GraceConfig(AdapterConfig):
    """Settings of GRACE."""

    radius: float | None = None
    """ε₀, the radius of a new entry; ``None``: ``share`` of the keys' norm."""
    share: float = RADIUS_SHARE
    """Of the mean norm of the first batch's keys: the radius, where none is named."""
    search: SearchConfig = field(
        default_factory=lambda: SearchConfig(steps=150, rate=0.6, restarts=4)
    )

    def __post_init__(self) -> None:
        if not ((self.radius is None or self.radius > 0) and self.share > 0):
            raise InvalidInputError(
                f"radius {self.radius}, share {self.share}: expected numbers above 0"
            )


@register("grace")
class Grace(Adapter[GraceConfig]):
    """GRACE, with values of a whole batch searched at once and look-ups for all tokens at once.

    Source: Hartvigsen et al. 2023, "Aging with GRACE: Lifelong Model Editing with Discrete
    Key-Value Adaptors".
    """

    config_type = GraceConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS, Host.VLLM_PLUGIN})
    scoped = True
    by_edit = True
    codebook: Codebook | None = None
    """What was learned; ``None``: nothing yet."""

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        rows = [self._row(tokenizer, one) for one in new]
        mlp = architecture(model).layer(self.layer).mlp
        keys, starts = self._states(model, tokenizer, mlp, rows)

        def put(part: Sequence[int], batch: Batch, values: Tensor) -> Any:
            return replace(mlp, "output", Places.one_per_row(batch.prompt_last), values)

        found = search_values(model, tokenizer, rows, starts, put, self.config.search, progress)
        book = self._begun(keys).copy()
        for gone in replaces:
            book.delete(gone, hole=False)
        replaced: list[str] = []
        for one, key, value in zip(new, keys.cpu(), found.values, strict=True):
            replaced += book.place(one.edit.id, key, value, one.request.target_new)
        book.hold()
        self.codebook = book
        at_once = self.config.search.rows
        with self._attached(model):
            losses, said = grades(model, tokenizer, rows, at_once)
        alone = [
            one for one, ok in zip(new, said, strict=True) if not ok and book.promote(one.edit.id)
        ]
        if alone:  # the entry's value says it at its own key and not at theirs
            book.hold()
            with self._attached(model):
                losses, said = grades(model, tokenizer, rows, at_once)
        versions = {one.edit.id: one.edit for one in (*new, *self.held)}
        old = [versions[one] for one in (*replaces, *replaced) if one in versions]
        return Learned(found.before, tuple(losses), tuple(said), found.steps, tuple(old))

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        mlp = architecture(model).layer(self.layer).mlp
        with ExitStack() as stack:
            if self.codebook is not None and any(not e.is_hole for e in self.codebook.entries):
                table = self.codebook.table().to(next(mlp.parameters()).device)
                handle = mlp.register_forward_hook(_looking_up(table), with_kwargs=True)
                stack.callback(handle.remove)
            yield Attachment()

    @contextmanager
    def _attached_for(self, model: nn.Module, edit_id: str) -> Iterator[Attachment]:
        """Put an edit's value where each prompt ends, as the published code does.

        Near or far is no question any more, so that which tokens are meant has to be.
        """
        assert self.codebook is not None  # the edit is held
        value = self.codebook.value_of(edit_id)
        mlp = architecture(model).layer(self.layer).mlp
        choice = RowChoice(lambda states: torch.zeros(len(states), dtype=torch.long))

        def put(_: nn.Module, args: Any, out: Tensor) -> Tensor:
            ends = choice.ends()
            return out if ends is None else Places.one_per_row(ends).put(out, value, add=False)

        with choice.watching(model, mlp):
            handle = mlp.register_forward_hook(put)
            try:
                yield choice
            finally:
                handle.remove()

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        if self.codebook is not None:
            book = self.codebook.copy()
            book.delete(edit_id)
            self.codebook = book

    def to_saved(self) -> Saved:
        """Return the codebook."""
        return saved_codebook(self.codebook)

    def restore(self, saved: Saved) -> None:
        """Take a codebook; see ``Adapter.restore``."""
        self.codebook = codebook_of(saved, [one.edit.id for one in self.held])

    def _begun(self, keys: Tensor) -> Codebook:
        if self.codebook is not None:
            return self.codebook
        radius = self.config.radius
        if radius is None:
            radius = self.config.share * float(keys.norm(dim=1).mean())
        return Codebook(radius)

    def _row(self, tokenizer: Any, one: HeldEdit) -> Tokens:
        row = self.tokens(tokenizer, one.request)
        if len(row.prompt) < 2:
            raise InvalidInputError(
                f"the prompt {one.request.prompt!r} is a single token, whose key is that of every "
                "text that begins with it; give a longer prompt"
            )
        return row

    def _states(
        self, model: nn.Module, tokenizer: Any, mlp: nn.Module, rows: Sequence[Tokens]
    ) -> tuple[Tensor, Tensor]:
        """Return what the MLP takes in and gives out at the last prompt tokens: float32 [B, .]."""
        keys: list[Tensor] = []
        values: list[Tensor] = []
        for part in parts(range(len(rows)), self.config.search.rows):
            batch = pad([Tokens(rows[n].prompt, ()) for n in part], tokenizer)
            places = Places.one_per_row(batch.prompt_last)
            with (
                torch.no_grad(),
                catch(mlp, "input", places) as taken,
                catch(mlp, "output", places) as given,
            ):
                model(**batch.inputs(model))
            keys.append(taken.last.float())
            values.append(given.last.float())
        return torch.cat(keys), torch.cat(values)


def _looking_up(table: Table) -> Any:
    """Return a forward hook that puts values where keys are near."""

    def look_up(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Tensor:
        states: Tensor = args[0] if args else kwargs["hidden_states"]
        if states.shape[-1] != table.keys.shape[1] or out.shape[-1] != table.values.shape[1]:
            raise InvalidInputError(
                f"the codebook has keys of {table.keys.shape[1]} and values of "
                f"{table.values.shape[1]} numbers, this MLP takes {states.shape[-1]} and gives "
                f"{out.shape[-1]}; it was learned for another model"
            )
        with torch.no_grad():
            found, near = table.nearest(states.reshape(-1, states.shape[-1]))
            values = table.values[found].to(out.dtype).reshape(out.shape)
            here = near.reshape(out.shape[:-1])[..., None]
        return torch.where(here, values, out)

    return look_up
