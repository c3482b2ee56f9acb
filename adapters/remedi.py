"""REMEDI: an edit is a direction, added to the state of its subject wherever a prompt mentions it.

The direction is an affine map of what the new answer is encoded as.  The map is trained once for a
model (``memedit train remedi``) and then makes a direction of any edit, without optimisation.
Where the direction does not make the model say its target, and for all edits where there is no
map, it is searched on by gradient (``refine``; the paper stops at the map's).

Prompts that do not mention a subject are unchanged bit for bit.  One that does has the direction
in it whatever it asks about the subject: REMEDI changes what the model holds of an entity, and has
no other scope.  Several edits of one subject are added up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from memedit.adapters.base import Adapter
from memedit.adapters.grace_values import SearchConfig, search_values
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
from memedit.adapters.mentions import Direction, MentionedRows, spellings_of
from memedit.adapters.remedi_map import AffineMap, encode_edits, placed
from memedit.adapters.trained_parts import load_part
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.hooks import Places, add
from memedit.modeling.tokens import Batch
from memedit.registry import register

SHAPES = {"weight": 2, "bias": 1}
"""A map's tensors, and their dimensions."""


@dataclass(frozen=True, slots=True)
class RemediConfig(AdapterConfig):
    """Settings of REMEDI; its ``layer`` is the map's where there is one, else a quarter up."""

    map: str | None = None
    """Folder of a map that was trained for the model."""
    refine: bool = True
    """Search on where the map's direction does not do."""
    search: SearchConfig = field(default_factory=lambda: SearchConfig(rate=0.1))
    """Its rate is a share of the size of the subject's state."""

    def __post_init__(self) -> None:
        if self.map is None and not self.refine:
            raise InvalidInputError(
                "refine is off and there is no map: nothing would be learned; give the folder "
                "of a map, made with 'memedit train remedi'"
            )


@register("remedi")
class Remedi(Adapter[RemediConfig]):
    """REMEDI: h + W h_attr + b at the subject's last token.

    Source: Hernandez et al. 2023, "Inspecting and Editing Knowledge Representations in Language
    Models", eq. 3.
    """

    config_type = RemediConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS})
    scoped = True
    apart = False
    directions: tuple[Direction, ...] = ()
    """What was learned."""

    def default_layer(self, layers: int) -> int:
        """Return one a quarter up: what an entity is, is gathered in the lower layers."""
        return layers // 4

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        config, at_once = self.config, self.config.search.rows
        lesson = Lesson(self, model, tokenizer, new, replaces, at_once)
        rows, gone = lesson.rows, lesson.gone
        self.directions = tuple(one for one in self.directions if one.edit not in gone)
        trained = self._map(model)
        found = [
            placed(tokenizer, one.request, row, self.prompt_form)
            for one, row in zip(new, rows, strict=True)
        ]
        block = architecture(model).layer(self.layer).block
        encoded = encode_edits(model, tokenizer, block, found, at_once)
        starts = torch.zeros_like(encoded.entities)
        if trained is not None:
            device = starts.device
            starts = AffineMap(trained.weight.to(device), trained.bias.to(device)).directions(
                encoded.attributes
            )
        vectors, steps = starts.cpu(), 0
        if config.refine:

            def put(part: Sequence[int], batch: Batch, values: Tensor) -> Any:
                at = Places.one_per_row([found[n].subject for n in part])
                return add(block, "output", at, values)

            sizes = encoded.entities.square().mean(1).sqrt()
            searched = search_values(
                model, tokenizer, rows, starts, put, config.search, progress, sizes
            )
            vectors, steps = searched.values, searched.steps
        self.directions += tuple(
            Direction(
                one.edit.id, spellings_of(tokenizer, one.request.subject, where.spelled), vector
            )
            for one, where, vector in zip(new, found, vectors, strict=True)
        )
        return lesson.learned(steps)

    def _map(self, model: nn.Module) -> AffineMap | None:
        if self.config.map is None:
            return None
        part = load_part(Path(self.config.map), self.name, self.base, SHAPES)
        width = architecture(model).hidden_size
        if {tuple(part.tensors["weight"].shape), (width, width)} != {(width, width)}:
            raise InvalidInputError(f"the map in {self.config.map} is not of {width} numbers")
        if self.config.layer not in (None, part.layer) or (self.held and self.layer != part.layer):
            raise InvalidInputError(
                f"the map in {self.config.map} was trained at layer {part.layer}, and the "
                "directions are to be at another one; leave the layer out, or begin anew"
            )
        self.layer = part.layer
        return AffineMap(part.tensors["weight"], part.tensors["bias"])

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        if not self.directions:
            yield Attachment()
            return
        parts_of = architecture(model)
        block, width = parts_of.layer(self.layer).block, len(self.directions[0].vector)
        if width != parts_of.hidden_size:
            raise InvalidInputError(
                f"the directions have {width} numbers, the model's states {parts_of.hidden_size}; "
                "they were learned for another model"
            )
        rows = MentionedRows(self.directions, next(block.parameters()).device)
        with rows.watching(model, block):
            handle = block.register_forward_hook(rows.added)
            try:
                yield rows
            finally:
                handle.remove()

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        self.directions = tuple(one for one in self.directions if one.edit != edit_id)

    def to_saved(self) -> Saved:
        """Return the directions, and where they are added."""
        state = [
            {"edit": one.edit, "spellings": [list(s) for s in one.spellings]}
            for one in self.directions
        ]
        if not state:
            return Saved({}, {"directions": state})
        vectors = torch.stack([one.vector for one in self.directions])
        return Saved({"vectors": vectors}, {"directions": state})

    def restore(self, saved: Saved) -> None:
        """Take directions; see ``Adapter.restore``."""
        state: list[dict[str, Any]] = list(saved.state["directions"])
        names = [str(one["edit"]) for one in state]
        if sorted(names) != sorted(edit.id for edit in self.edits):
            raise InvalidInputError("the directions are of other edits than the manifest lists")
        shapes = {name: tuple(tensor.shape) for name, tensor in saved.tensors.items()}
        vectors = saved.tensors.get("vectors", torch.zeros(0, 0)).float()
        if vectors.ndim != 2 or len(vectors) != len(names) or set(shapes) - {"vectors"}:
            raise InvalidInputError(
                f"the tensors are of shapes {shapes}; expected {len(names)} vectors"
            )
        self.directions = tuple(
            Direction(name, tuple(tuple(int(n) for n in s) for s in one["spellings"]), vector)
            for name, one, vector in zip(names, state, vectors, strict=True)
        )
