"""What an adapter promises: edits in, something small beside the weights out, the model as it was.

An adapter holds what it learned and no model.  It does something only while it is attached, and
only where its edits are concerned; any edit can be taken out of it again.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from torch import nn

from memedit.adapters.bound import Bound
from memedit.adapters.learned import (
    AdapterConfig,
    Attachment,
    HeldEdit,
    Host,
    Learned,
    Progress,
    Saved,
    versions_of,
)
from memedit.errors import InvalidInputError, NotFoundError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import EditVersion
from memedit.modeling.forms import PromptForm, TargetForm
from memedit.modeling.frozen import left_as_found
from memedit.modeling.tokens import Tokens, encode_taught
from memedit.types import EditRequest

C = TypeVar("C", bound=AdapterConfig)


class Adapter(Bound, ABC, Generic[C]):
    """A method that adds something beside the weights.

    Its own state is replaced as a whole when something was learned or deleted, so that a failure
    leaves it, as the model, as it was.
    """

    config_type: ClassVar[type[AdapterConfig]]
    """The dataclass of its settings."""
    servable_by: ClassVar[frozenset[Host]]
    """Where it can be put to use."""
    scoped: ClassVar[bool]
    """Whether it tells prompts that concern its edits from others; one that does not (a LoRA) is
    to be attached only for prompts that a router chose."""

    apart: ClassVar[bool] = True
    """Of a scoped one: whether what an edit adds is the same, bit for bit, whatever edits are held
    beside it; where it is not, they keep their answers when it goes, and not every digit."""
    together: ClassVar[bool] = False
    """Whether its edits share what was learned: to take one out, the others are learned again."""
    by_edit: ClassVar[bool] = False
    """Whether ``attached_for`` takes the part of the edit that is named, and of no other."""

    def __init__(
        self,
        config: C | None = None,
        *,
        prompt_form: PromptForm | None = None,
        target_form: TargetForm | None = None,
        ends: bool = False,
    ) -> None:
        """Make an empty adapter.

        Args:
            config: its settings; left out, the defaults.
            prompt_form: how a prompt is put to the model, e.g. ``chat_form(...)``; left out,
                prompts are continued as they stand.
            target_form: how a target ends, e.g. ``lambda target: target + "."``; left out, the
                target is taught exactly as the request has it.
            ends: also teach the token that ends an answer: the tokenizer's EOS, or what the chat
                template closes an answer with.

        """
        given: Any = config if config is not None else self.config_type()
        if not isinstance(given, self.config_type):
            raise InvalidInputError(
                f"{type(self).__name__} takes a {self.config_type.__name__}, "
                f"got {type(given).__name__}"
            )
        self.config: C = cast(C, given)
        self.prompt_form = prompt_form
        self.target_form = target_form
        self.ends = ends
        self.layer = -1
        """The layer that is looked at, once something was learned."""
        self.held: tuple[HeldEdit, ...] = ()
        """The edits in it, in the order they were learned."""

    @property
    def edits(self) -> tuple[EditVersion, ...]:
        """The edits in it, in the order they were learned."""
        return tuple(one.edit for one in self.held)

    def learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress | None = None,
        *,
        edits: Sequence[EditVersion] | None = None,
    ) -> Learned:
        """Learn a batch of edits, all together, beside what is held already.

        Weights, gradients, ``requires_grad``, training mode and hooks of the model are afterwards
        what they were, whatever happens; on an error the adapter too is as it was.

        Args:
            model: a transformers causal language model, in any dtype, without this adapter.
            tokenizer: its tokenizer.
            requests: the edits; their rephrases are not learned from.
            progress: called with (steps done, at most).
            edits: for each request the stored edit that it is; a held edit of the same id is
                replaced.  Left out, ids are made of the requests.

        Raises:
            InvalidInputError: no requests, one that cannot be used, an id that occurs twice, or
                another model than before.
            DivergedError: the optimisation came to numbers that are none.

        """
        if not requests:
            raise InvalidInputError("expected at least one edit request, got none")
        new = [
            HeldEdit(edit, request)
            for edit, request in zip(versions_of(requests, edits), requests, strict=True)
        ]
        fresh = self.bound(model)
        if fresh.layer < 0:
            parts = architecture(model)
            chosen = self.config.layer
            fresh.layer = self.default_layer(len(parts.layers)) if chosen is None else chosen
            parts.layer(fresh.layer)
        ids = {one.edit.id for one in new}
        old = tuple(one.edit for one in self.held if one.edit.id in ids)
        with left_as_found(model):
            learned = fresh._learn(
                model, tokenizer, new, [one.id for one in old], progress or (lambda d, t: None)
            )
        told = Counter(edit.id for edit in learned.replaced)
        kept = tuple(one for one in self.held if one.edit.id not in ids | told.keys())
        told.subtract(
            one.id for one in old
        )  # what is left of the batch answers a later one's prompt
        fresh.held = kept + tuple(
            replace(one, said=said)
            for one, said in zip(new, learned.said, strict=True)
            if told[one.edit.id] <= 0
        )
        self.__dict__.update(fresh.__dict__)
        return learned

    @contextmanager
    def attached(self, model: nn.Module, *, any_base: bool = False) -> Iterator[Attachment]:
        """Put it to work on a model for as long as the block lasts; then every bit is as before.

        Args:
            model: the model it was learned for.
            any_base: do not refuse another one.

        Raises:
            InvalidInputError: it was learned for another model, or does not fit.

        """
        if not self.held:
            yield Attachment()
            return
        self.check_base(model, any_base=any_base)
        with self._attached(model) as attachment:
            yield attachment

    @contextmanager
    def attached_for(self, model: nn.Module, edit_id: str) -> Iterator[Attachment]:
        """Put it to work for prompts of which a router has decided that they concern an edit.

        A method of which each prompt takes one edit's part (``by_edit``: GRACE, MELO) takes this
        one's, however far the prompt's key is from it; any other does what it does attached.

        Args:
            model: the model it was learned for.
            edit_id: of an edit that is held.

        Raises:
            NotFoundError: no such edit is held.
            InvalidInputError: it was learned for another model, or does not fit.

        """
        self.check_held(edit_id)
        self.check_base(model)
        with self._attached_for(model, edit_id) as attachment:
            yield attachment

    def delete(self, edit_id: str, model: nn.Module | None = None, tokenizer: Any = None) -> None:
        """Take one edit out: its prompt has its base answer again, the other edits keep theirs.

        Args:
            edit_id: of an edit that is held.
            model: the model it is for; only methods whose edits share what was learned (LoRA,
                CaliNET) need it, to learn the others again.
            tokenizer: its tokenizer, with ``model``.

        Raises:
            NotFoundError: no such edit is held.
            InvalidInputError: the method needs the model.

        """
        self.check_held(edit_id)
        fresh = copy.copy(self)
        fresh.held = tuple(one for one in self.held if one.edit.id != edit_id)
        if model is not None:
            self.check_base(model)
        fresh._forget(edit_id, model, tokenizer)
        self.__dict__.update(fresh.__dict__)

    def check_held(self, edit_id: str) -> None:
        """Check that an edit is held.

        Raises:
            NotFoundError: it is not.

        """
        if edit_id not in {one.edit.id for one in self.held}:
            raise NotFoundError(
                f"this adapter holds no edit {edit_id!r}; it holds "
                f"{', '.join(str(edit) for edit in self.edits) or 'none'}"
            )

    def save(self, folder: Path) -> Path:
        """Write it into a new folder: safetensors and a manifest; see ``adapters.files``."""
        from memedit.adapters.files import save_adapter

        return save_adapter(self, folder)

    @abstractmethod
    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        """Do the method's work on a frozen model; ``self`` is a copy, whose parts are replaced.

        ``replaces`` are the held edits of which ``new`` has other versions.
        """

    @abstractmethod
    def _attached(self, model: nn.Module) -> Any:
        """Return the context manager of ``attached``; something is held, the base is checked."""

    def _attached_for(self, model: nn.Module, edit_id: str) -> Any:
        """Return the context manager of ``attached_for``; the edit is held, the base is checked."""
        return self._attached(model)

    @abstractmethod
    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        """Take an edit out; ``self`` is a copy, whose parts are replaced."""

    @abstractmethod
    def to_saved(self) -> Saved:
        """Return what of the method's own is to be saved."""

    @abstractmethod
    def restore(self, saved: Saved) -> None:
        """Take what ``to_saved`` returned; ``layer``, ``base`` and ``held`` are set.

        Raises:
            InvalidInputError: tensors are missing, or of shapes that do not fit.

        """

    def default_layer(self, layers: int) -> int:
        """Return the layer that is looked at in a model of so many, where none is named."""
        return layers // 2

    def tokens(self, tokenizer: Any, request: EditRequest) -> Tokens:
        """Cut a request into its prompt's and its target's tokens, in the forms asked for."""
        return encode_taught(tokenizer, request, self.prompt_form, self.target_form, self.ends)

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        settings: Any = self.config
        return {f.name: getattr(settings, f.name) for f in fields(settings)}

    def restored(self, base: str, layer: int, held: Sequence[HeldEdit], saved: Saved) -> Self:
        """Fill this empty adapter with what a file has."""
        self.base, self.layer, self.held = base, layer, tuple(held)
        self.restore(saved)
        return self
