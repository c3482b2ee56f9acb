"""What ROME, MEMIT and their kin share: an MLP's value matrix as a memory of keys and values.

An edit's key is what enters the value matrix at the subject's last token; its value is searched
(see `values`); closed forms (see `closed_forms`) say what to add so that the key gives the value.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from memedit.editing.base import Editor, EditorConfig, Progress
from memedit.editing.rows import Row, padded, place, sample_contexts
from memedit.editing.statistics import Statistics
from memedit.editing.values import Extra, Search, SearchConfig, Values
from memedit.errors import DivergedError, InvalidInputError
from memedit.modeling.delta import LowRank, WeightDelta
from memedit.modeling.frozen import left_as_found
from memedit.modeling.hooks import Side, catch
from memedit.modeling.tokens import Tokens, encode_prompt
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class KeyValueConfig(EditorConfig):
    """Settings of methods that write keys and values."""

    layers: tuple[int, ...] | None = None
    """The layers that share an edit, for methods that spread it; ``None``: as located."""
    contexts: int = 6
    """Sampled texts that an edit's prompt stands behind, beside standing alone."""
    context_tokens: int = 8
    """Tokens of each."""
    seed: int = 0
    """Of the contexts."""
    search: SearchConfig = field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        if self.contexts < 0 or self.context_tokens < 1:
            raise InvalidInputError(
                f"contexts {self.contexts}, context_tokens {self.context_tokens}: expected at "
                "least 0 contexts of at least 1 token"
            )
        if self.layers is not None and list(self.layers) != sorted(set(self.layers)):
            raise InvalidInputError(f"layers {self.layers}: expected ascending numbers")


K = TypeVar("K", bound=KeyValueConfig)


class KeyValueEditor(Editor[K]):
    """A method that writes keys and values; see the subclasses."""

    spreads = False
    """Whether an edit is shared out among several layers."""

    def __init__(
        self, config: K | None = None, *, statistics: Statistics | None = None, **forms: Any
    ) -> None:
        """Make an editor.

        Args:
            config: its settings.
            statistics: where second moments come from; left out, from text the model samples,
                kept in the user's cache.
            forms: as `Editor` takes them.

        """
        super().__init__(config, **forms)
        self.statistics = statistics or Statistics()
        self.contexts: tuple[str, ...] = ()
        """What may stand before a prompt; settled by ``resolved``."""
        self.moments: dict[int, Tensor] = {}
        """Layer -> C, float64 [in, in]; settled by ``resolved``."""
        self._cut: tuple[Sequence[EditRequest], list[list[Row]]] | None = None
        # The last requests that were cut into rows: one edit needs them several times.

    def resolved(
        self, model: nn.Module, tokenizer: Any = None, progress: Progress | None = None
    ) -> Self:
        """Settle the layers, the contexts and the statistics for the unedited ``model``.

        Edit after edit, call it once, before the first: statistics are the unedited model's.
        """
        settled = super().resolved(model)
        settled._cut = None
        config = settled.config
        if settled.spreads:
            if config.layers and self.site is None:  # the settings name them, not a site
                settled.site = None
            layers = config.layers or (settled.site.layers if settled.site else (settled.layer,))
            settled.config = replace(config, layers=layers, layer=layers[-1])
        if tokenizer is None:
            return settled
        settled = copy.copy(settled)
        with left_as_found(model):
            settled.contexts = sample_contexts(
                model, tokenizer, config.contexts, config.context_tokens, config.seed
            )
            settled.moments = settled.statistics.moments(model, tokenizer, settled.layers, progress)
        return settled

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are edited, ascending."""
        return (self.config.layers or (self.layer,)) if self.spreads else (self.layer,)

    def _settled(self) -> bool:
        return bool(self.moments)

    # --- rows ---

    def written(self, tokenizer: Any, requests: Sequence[EditRequest]) -> list[list[Row]]:
        """Return for every edit its prompt and target in every context, the bare one first."""
        if self._cut is not None and self._cut[0] is requests:
            return self._cut[1]
        rows = []
        for number, request in enumerate(requests):
            own = []
            for context in self.contexts:
                prompt = context + request.prompt
                asked = request.model_copy(update={"prompt": prompt})
                tokens = self.tokens(tokenizer, asked)
                own.append(place(tokenizer, request, tokens, prompt, number, self.prompt_form))
            rows.append(own)
        self._cut = (requests, rows)
        return rows

    def essences(self, tokenizer: Any, requests: Sequence[EditRequest]) -> list[Row]:
        """Return for every edit "{subject} is a", continued as it stands."""
        if not self.config.search.kl:
            return []
        rows = []
        for number, request in enumerate(requests):
            prompt = f"{request.subject} is a"
            tokens = Tokens(encode_prompt(tokenizer, prompt).ids, ())
            rows.append(place(tokenizer, request, tokens, prompt, number, None))
        return rows

    # --- values and keys ---

    def search(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        modules: Sequence[nn.Module],
        progress: Progress,
        extra: Extra | None = None,
    ) -> Values:
        """Search what to add to the modules' outputs; see `values.Search`."""
        written = self.written(tokenizer, requests)
        essences = self.essences(tokenizer, requests)
        found = Search(model, tokenizer, modules, written, essences, self.config.search, extra).run(
            progress
        )
        worse = found.losses.mean() >= found.losses_before.mean()
        if found.steps and bool(worse):
            raise DivergedError(
                f"{self.name} found no values at layer {self.layer}: the mean loss began at "
                f"{float(found.losses_before.mean()):.4f} and is {float(found.losses.mean()):.4f} "
                f"after {found.steps} steps; nothing was changed. Try a smaller rate, or another "
                "layer"
            )
        return found

    def states(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        wanted: Sequence[tuple[nn.Module, Side]],
    ) -> list[Tensor]:
        """Return what modules take in or give out at the subjects' last tokens, before the target.

        Args:
            model: as it is now, with earlier changes in place.
            tokenizer: its tokenizer.
            requests: B edits.
            wanted: (module, "input" or "output").

        Returns:
            For each of ``wanted`` float64 [B, contexts, d], the prompt alone first.

        """
        rows = [
            Row(Tokens(row.tokens.prompt, ()), row.subject, row.edit)
            for own in self.written(tokenizer, requests)
            for row in own
        ]
        found: list[list[Tensor]] = [[] for _ in wanted]
        for first in range(0, len(rows), self.config.search.rows):
            part = padded(rows[first : first + self.config.search.rows], tokenizer)
            with ExitStack() as stack, torch.no_grad():
                caught = [
                    stack.enter_context(catch(module, side, part.subjects))
                    for module, side in wanted
                ]
                model(**part.batch.inputs(model))
            for states, seen in zip(found, caught, strict=True):
                states.append(seen.last.double().cpu())
        return [torch.cat(s).reshape(len(requests), len(self.contexts), -1) for s in found]

    # --- results ---

    def delta(
        self, changes: dict[str, LowRank], found: Values, requests: Sequence[EditRequest]
    ) -> WeightDelta:
        """Wrap factors up, with what there is to say about them."""
        notes = {
            **{k: v for k, v in self.notes().items() if k != "search"},
            "layers": list(self.layers),
            "edits": len(requests),
            "steps": found.steps,
            "loss_before": float(found.losses_before.mean()),
            "loss_after": float(found.losses.mean()),
            "learned": int((found.losses < self.config.search.enough).sum()),
        }
        return WeightDelta(changes, self.name, notes=notes)
