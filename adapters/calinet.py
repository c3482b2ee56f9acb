"""CaliNET: calibration slots, a small MLP beside a layer's own, trained for all edits together.

The slots have no scope of their own: what they add is nowhere exactly nothing, and all edits share
them.  A later batch is trained together with the edits that are held, whose answers it would
otherwise take away; to take one out, the others are learned again from new slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from memedit.adapters.base import Adapter
from memedit.adapters.blocks import TrainingConfig
from memedit.adapters.learned import (
    AdapterConfig,
    Attachment,
    HeldEdit,
    Host,
    Learned,
    Progress,
    Saved,
)
from memedit.adapters.learned_together import learn_rest_anew, train_together
from memedit.adapters.lesson import Lesson
from memedit.adapters.neuron_memory import Seen, look_at
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.registry import register

VALUE_RATE = 0.1
"""Adam's step of all values together, as a share of what the MLP gives out."""
KEY_RATE = 0.05
"""Adam's step of keys, as a share of their size."""


@dataclass(frozen=True, slots=True)
class CalinetConfig(AdapterConfig):
    """Settings of CaliNET; its ``layer`` is the last one where none is named."""

    slots: int = 64
    """Neurons; as many as the paper has for a hundred facts."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    """Its ``rate`` is that of the values; ``None``: ``VALUE_RATE``."""

    def __post_init__(self) -> None:
        if self.slots < 1:
            raise InvalidInputError(f"slots {self.slots}: expected a number from 1")


@dataclass(frozen=True, slots=True)
class Slots:
    """What is added to what an MLP gives out: ``gelu(x K^T) V``."""

    keys: Tensor
    """float32 [s, k]"""
    values: Tensor
    """float32 [s, d]"""

    @classmethod
    def begun(cls, count: int, seen: Sequence[Seen], seed: int) -> Slots:
        """Draw keys whose heights are of size 1 where it was looked at; nothing is added yet."""
        queries = torch.cat([one.own for one in seen])
        size = float(queries.norm(dim=1).square().mean().sqrt().clamp(min=1e-6))
        draw = torch.Generator().manual_seed(seed)
        keys = torch.randn(count, queries.shape[1], generator=draw).to(queries.device) / size
        return cls(keys, queries.new_zeros(count, seen[0].given.shape[1]))

    def to(self, device: torch.device) -> Slots:
        """Return copies on a device."""
        return Slots(self.keys.detach().to(device).clone(), self.values.detach().to(device).clone())

    @contextmanager
    def at_work(self, mlp: nn.Module) -> Iterator[None]:
        """Have the slots add to what an MLP gives out for as long as the block lasts."""

        def add(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> Tensor:
            states: Tensor = args[0] if args else kwargs["hidden_states"]
            added = functional.gelu(states.float() @ self.keys.T) @ self.values
            return out + added.to(out.dtype)

        handle = mlp.register_forward_hook(add, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()


@register("calinet")
class Calinet(Adapter[CalinetConfig]):
    """CaliNET: FFN(x) + ΔFFN(x), the slots trained with the model frozen.

    The paper trains on several wordings of each fact; here it is the edit's own prompt, as with
    all methods.

    Source: Dong et al. 2022, "Calibrating Factual Knowledge in Pretrained Language Models",
    section 3.2.
    """

    config_type = CalinetConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS})
    scoped = False
    together = True
    slots: Slots | None = None
    """What was learned, on the CPU; ``None``: nothing yet."""

    def default_layer(self, layers: int) -> int:
        """Return the last layer, where the paper has its slots."""
        return layers - 1

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        config = self.config.training
        mlp = architecture(model).layer(self.layer).mlp
        lesson = Lesson(self, model, tokenizer, new, replaces, config.rows)
        rows = lesson.rows
        seen = look_at(model, tokenizer, mlp, rows, config.rows)
        device = seen[0].given.device
        begun = self.slots or Slots.begun(self.config.slots, seen, config.seed)
        now = begun.to(device)
        size = float(torch.cat([one.given for one in seen]).square().mean().sqrt())
        rate = (config.rate or VALUE_RATE) * max(size, 1e-6) / len(now.keys) ** 0.5
        steps_of_keys = KEY_RATE * float(now.keys.square().mean().sqrt())
        optimizer = torch.optim.Adam(
            [{"params": [now.values], "lr": rate}, {"params": [now.keys], "lr": steps_of_keys}]
        )
        together = [row for name, row in lesson.held.items() if name not in lesson.gone] + rows
        with now.at_work(mlp):
            steps = train_together(
                self.name, model, tokenizer, together, optimizer, config, progress
            )
        self.slots = now.to(torch.device("cpu"))
        return lesson.learned(steps)

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        if self.slots is None:
            yield Attachment()
            return
        layer, slots = architecture(model).layer(self.layer), self.slots
        out = layer.down.as_out_in().shape[0]
        if slots.values.shape[1] != out:
            raise InvalidInputError(
                f"the slots give {slots.values.shape[1]} numbers, this model's MLPs {out}; they "
                "were learned for another model"
            )
        with slots.to(layer.down.weight.device).at_work(layer.mlp):
            yield Attachment()

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        self.slots = None
        learn_rest_anew(self, edit_id, model, tokenizer)

    def to_saved(self) -> Saved:
        """Return the slots."""
        if self.slots is None:
            return Saved({}, {})
        return Saved({"keys": self.slots.keys, "values": self.slots.values}, {})

    def restore(self, saved: Saved) -> None:
        """Take slots; see ``Adapter.restore``."""
        shapes = {name: tuple(tensor.shape) for name, tensor in saved.tensors.items()}
        if not shapes and not self.held:
            return
        dimensions = {name: len(shape) for name, shape in shapes.items()}
        counts = {shape[0] for shape in shapes.values()}
        if dimensions != {"keys": 2, "values": 2} or counts != {self.config.slots}:
            raise InvalidInputError(
                f"the tensors are of shapes {shapes}; expected keys and values of "
                f"{self.config.slots} slots"
            )
        self.slots = Slots(saved.tensors["keys"].float(), saved.tensors["values"].float())
