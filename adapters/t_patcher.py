"""T-Patcher: a neuron of its own for every token that an edit changes, beside the last MLP's.

A neuron is keyed to what the MLP takes in where its token is to be predicted.  Its height there is
kept above zero, and under zero in a memory of other tokens: those of the edits' own prompts and
targets, of earlier edits, and of text that the model writes by itself.  It fires through a ReLU,
whatever the MLP's own activation, so that where it is silent not a bit is changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import nn

from memedit.adapters.base import Adapter
from memedit.adapters.learned import (
    AdapterConfig,
    Attachment,
    HeldEdit,
    Host,
    Learned,
    Progress,
    Saved,
)
from memedit.adapters.lesson import Lesson
from memedit.adapters.neuron_memory import (
    MemoryConfig,
    Seen,
    Written,
    look_at,
    out_of_context,
    write,
)
from memedit.adapters.neuron_training import NeuronConfig, at_work, train_neurons
from memedit.adapters.neurons import Neurons, joined
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.tokens import Tokens
from memedit.registry import register
from memedit.types import EditRequest


@dataclass(frozen=True, slots=True)
class TPatcherConfig(AdapterConfig):
    """Settings of T-Patcher; its ``layer`` is the last one where none is named."""

    memory: MemoryConfig = field(default_factory=MemoryConfig)
    search: NeuronConfig = field(default_factory=NeuronConfig)


@dataclass(frozen=True, slots=True)
class Patch:
    """The neurons of one prompt with its target."""

    edits: tuple[str, ...]
    """Ids of the edits that ask for just that."""
    neurons: Neurons
    """One for each token of the target."""


@register("t-patcher")
class TPatcher(Adapter[TPatcherConfig]):
    """T-Patcher; the neurons of a whole batch are trained at once.

    Source: Huang et al. 2023, "Transformer-Patcher: One Mistake Worth One Neuron", section 3: the
    edit loss, the activation loss, and the two memory losses.
    """

    config_type = TPatcherConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS})
    scoped = True
    patches: tuple[Patch, ...] = ()
    """What was learned."""
    written: Written | None = None
    """The model's own text; written when first needed, and not saved."""
    looked: Mapping[Tokens, Seen] = MappingProxyType({})
    """What was seen of the rows of patches; not saved, but looked at anew where it is needed."""

    def default_layer(self, layers: int) -> int:
        """Return the last layer."""
        return layers - 1

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        lesson = Lesson(self, model, tokenizer, new, replaces, self.config.search.rows)
        for name in lesson.gone:
            self._drop(name)
        there = {lesson.held[patch.edits[0]]: patch for patch in self.patches}
        wanted: dict[Tokens, tuple[str, ...]] = {}
        for one, row in zip(new, lesson.rows, strict=True):
            wanted[row] = (*wanted.get(row, ()), one.edit.id)
        fresh = [row for row in wanted if row not in there]
        steps = 0
        if fresh:
            there, steps = self._trained(model, tokenizer, fresh, there, progress)
        self.patches = tuple(
            replace(patch, edits=(*patch.edits, *wanted.get(row, ())))
            for row, patch in there.items()
        )
        return lesson.learned(steps)

    def _trained(
        self,
        model: nn.Module,
        tokenizer: Any,
        fresh: Sequence[Tokens],
        there: Mapping[Tokens, Patch],
        progress: Progress,
    ) -> tuple[dict[Tokens, Patch], int]:
        """Train patches of new rows beside those that are there, which fall silent on them."""
        mlp = architecture(model).layer(self.layer).mlp
        at_once = self.config.search.rows
        if self.written is None:
            self.written = write(model, tokenizer, mlp, self.config.memory, at_once)
        begun = self.written.beginnings
        rows = [*there, *fresh]
        missing = [row for row in rows if row not in self.looked]
        found_now = look_at(model, tokenizer, mlp, missing, at_once)
        known = {**self.looked, **dict(zip(missing, found_now, strict=True))}
        self.looked = {row: known[row] for row in rows}
        seen = list(self.looked.values())
        old, new = seen[: len(there)], seen[len(there) :]
        device = new[0].queries.device
        of_new = torch.cat([one.queries for one in new])
        quieted = {
            row: replace(patch, neurons=patch.neurons.to(device).quieted(one.own, of_new))
            for (row, patch), one in zip(there.items(), old, strict=True)
        }
        memory = [one.queries for one in seen]
        if len(self.written.queries):
            memory.append(self.written.queries.to(device))
        if begun:
            memory += out_of_context(model, tokenizer, mlp, fresh, begun, at_once)
        found, steps = train_neurons(
            model,
            tokenizer,
            mlp,
            fresh,
            new,
            torch.cat(memory),
            joined([patch.neurons for patch in quieted.values()]) if quieted else None,
            self.config.search,
            progress,
        )
        cpu = torch.device("cpu")
        patches = {r: replace(p, neurons=p.neurons.to(cpu)) for r, p in quieted.items()}
        return patches | {r: Patch((), n) for r, n in zip(fresh, found, strict=True)}, steps

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        if not self.patches:
            yield Attachment()
            return
        mlp = architecture(model).layer(self.layer).mlp
        neurons = joined([patch.neurons for patch in self.patches])
        with at_work(mlp, neurons.to(next(mlp.parameters()).device)):
            yield Attachment()

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        self._drop(edit_id)

    def _drop(self, edit_id: str) -> None:
        """Take an edit out of its patch, and the patch out with its last edit."""
        less = [
            replace(patch, edits=tuple(one for one in patch.edits if one != edit_id))
            for patch in self.patches
        ]
        self.patches = tuple(patch for patch in less if patch.edits)

    def tokens(self, tokenizer: Any, request: EditRequest) -> Tokens:
        """Cut a request; a prompt of one token is refused."""
        row = super().tokens(tokenizer, request)
        if len(row.prompt) < 2:
            raise InvalidInputError(
                f"the prompt {request.prompt!r} is a single token, with which every text that "
                "begins so has its neuron; give a longer prompt"
            )
        return row

    def to_saved(self) -> Saved:
        """Return the neurons, and whose they are."""
        state = [{"edits": list(p.edits), "neurons": len(p.neurons)} for p in self.patches]
        if not self.patches:
            return Saved({}, {"patches": state})
        whole = joined([patch.neurons for patch in self.patches])
        tensors = {"keys": whole.keys, "biases": whole.biases, "values": whole.values}
        return Saved(tensors, {"patches": state})

    def restore(self, saved: Saved) -> None:
        """Take neurons; see ``Adapter.restore``."""
        state: list[dict[str, Any]] = list(saved.state["patches"])
        counts = [int(one["neurons"]) for one in state]
        edits = [tuple(str(name) for name in one["edits"]) for one in state]
        if sorted(name for names in edits for name in names) != sorted(e.id for e in self.edits):
            raise InvalidInputError("the patches are of other edits than the manifest lists")
        if not state:
            return
        shapes = {name: tuple(tensor.shape) for name, tensor in saved.tensors.items()}
        dimensions = {name: len(shape) for name, shape in shapes.items()}
        if dimensions != {"keys": 2, "biases": 1, "values": 2} or any(
            shape[0] != sum(counts) for shape in shapes.values()
        ):
            raise InvalidInputError(
                f"the tensors are of shapes {shapes}; expected keys, biases and values of "
                f"{sum(counts)} neurons"
            )
        whole = Neurons(*(saved.tensors[name].float() for name in ("keys", "biases", "values")))
        self.patches = tuple(map(Patch, edits, whole.split(counts)))
