"""What a baked method promises: requests in, a ``WeightDelta`` out, the model as it was."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from torch import nn

from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import WeightDelta
from memedit.modeling.forms import PromptForm, TargetForm
from memedit.modeling.frozen import left_as_found
from memedit.modeling.locate import Site, default_site
from memedit.modeling.tokens import Tokens, encode_taught
from memedit.types import EditRequest

Progress = Callable[[int, int], None]
"""Called with (done, in all)."""


@dataclass(frozen=True, slots=True)
class EditorConfig:
    """What every method's settings hold."""

    layer: int | None = None
    """The layer to edit; ``None``: where ``memedit locate`` found it, else a rule (see
    ``memedit.modeling.locate``)."""


C = TypeVar("C", bound=EditorConfig)


class Editor(ABC, Generic[C]):
    """A method that changes weights.  Computing a delta leaves the model as it was found."""

    config_type: ClassVar[type[EditorConfig]]
    """The dataclass of its settings."""

    def __init__(
        self,
        config: C | None = None,
        *,
        prompt_form: PromptForm | None = None,
        target_form: TargetForm | None = None,
        ends: bool = False,
        sites: Path | None = None,
    ) -> None:
        """Make an editor; it holds settings and nothing of any model.

        Args:
            config: its settings; left out, the defaults.
            prompt_form: how a prompt is put to the model that is edited, e.g. ``chat_form(...)``;
                left out, prompts are continued as they stand.
            target_form: how a target ends, e.g. ``lambda target: target + "."``; left out, the
                target is taught exactly as the request has it.
            ends: also teach the token that ends an answer: the tokenizer's EOS, or what the chat
                template closes an answer with.
            sites: folder of located sites that is looked into before the user's own.

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
        self.sites = sites
        self.after: tuple[WeightDelta, ...] = ()
        """Deltas that are in the model's weights already, during an ``edit``."""
        self.site: Site | None = None
        """Where it edits, once ``resolved``; ``None`` where the settings name the layer."""

    def resolved(
        self, model: nn.Module, tokenizer: Any = None, progress: Progress | None = None
    ) -> Self:
        """Return this editor with what depends on the unedited ``model`` settled: the layer.

        Edit after edit, call it once, before the first: located sites are found by the
        fingerprint of the unedited model.

        Args:
            model: the unedited model.
            tokenizer: its tokenizer, for methods that settle more than the layer.
            progress: called with (done, in all) where that takes long.

        Raises:
            InvalidInputError: the settings name a layer that the model does not have.

        """
        settled = copy.copy(self)
        if self.config.layer is None:
            settled.site = default_site(model, cache=self.sites)
            settled.config = replace(self.config, layer=settled.site.layer)
        architecture(model).layer(settled.layer)
        return settled

    def _settled(self) -> bool:
        """Tell whether all is settled that ``resolved`` settles."""
        return self.config.layer is not None

    @property
    def name(self) -> str:
        """The registry's name of the method."""
        return str(getattr(type(self), "registered_name", type(self).__name__))

    @property
    def layer(self) -> int:
        """The layer it edits, once that is settled."""
        if self.config.layer is None:
            raise InvalidInputError("the layer is not settled; call resolved(model)")
        return self.config.layer

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers it edits, ascending, once they are settled; empty: whichever it finds."""
        return (self.layer,)

    @property
    def layer_from(self) -> str:
        """Where the layers came from, once settled: ``settings``, ``located`` or ``rule``.

        ``located, not sure`` where tracing did not tell the layer from the others.
        """
        if self.site is None:
            return "settings"
        return self.site.source if self.site.sure else f"{self.site.source}, not sure"

    def edit(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress | None = None,
        *,
        after: Sequence[WeightDelta] = (),
    ) -> WeightDelta:
        """Compute what to add to the weights so that all ``requests`` hold together.

        Weights, gradients, ``requires_grad``, training mode and hooks of the model are afterwards
        what they were, whatever happens.

        Args:
            model: a transformers causal language model, in any dtype.
            tokenizer: its tokenizer.
            requests: the edits; their rephrases are not learned from.
            progress: called with (steps done, at most).
            after: the deltas that were applied to the model before, for methods that protect what
                earlier edits wrote (AlphaEdit).

        Raises:
            InvalidInputError: no requests, or one that cannot be used.
            DivergedError: the optimisation got worse; there is no delta.

        """
        if not requests:
            raise InvalidInputError("expected at least one edit request, got none")
        editor = copy.copy(self) if self._settled() else self.resolved(model, tokenizer)
        editor.after = tuple(after)
        architecture(model).layer(editor.layer)
        with left_as_found(model):
            return editor.compute(
                model, tokenizer, requests, progress or (lambda done, total: None)
            )

    @abstractmethod
    def compute(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress,
    ) -> WeightDelta:
        """Do the method's work; the model is frozen and in eval mode, the layer is settled."""

    def tokens(self, tokenizer: Any, request: EditRequest) -> Tokens:
        """Cut a request into its prompt's and its target's tokens, in the forms asked for."""
        return encode_taught(tokenizer, request, self.prompt_form, self.target_form, self.ends)

    def notes(self) -> dict[str, Any]:
        """Return the settings and where the layer came from, for the delta's notes."""
        settings: Any = self.config
        known = {f.name: getattr(settings, f.name) for f in fields(settings)}
        return {**known, "layer_from": self.layer_from}
