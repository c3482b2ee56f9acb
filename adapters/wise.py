"""WISE: a side memory beside the value matrix of one layer, and a router between both.

Every edit is learned as a shard of its own, in a random subspace of the side memory; a few shards
are merged into one side memory, and there are as many of these as it takes (the paper's
WISE-Retrieve).  A prompt goes through the side memory whose activation on it is furthest over its
threshold, or through the main one, the weights as they are.  The paper has several edits in a
shard; one edit in each is what makes it possible to take any out again: its memory is merged anew
without it, and the others do not change.

The router looks at the prompt's last token, once; the choice belongs to a row of a batch and lasts
while its answer is generated.  The published code decides for each run, also within an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from memedit.adapters.base import Adapter
from memedit.adapters.grading import grades, prompt_states
from memedit.adapters.key_space import distance_of, same_within
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
from memedit.adapters.neuron_memory import MemoryConfig, Written, write
from memedit.adapters.row_choice import RowChoice
from memedit.adapters.shard_training import ShardConfig, hardest, train_shards
from memedit.adapters.side_memories import Shard, SideMemories, beside, grouped, mask_of
from memedit.adapters.swapped_subjects import made_names, swapped
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Matrix, architecture
from memedit.modeling.tokens import Tokens, encode_prompt
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class WiseConfig(AdapterConfig):
    """Settings of WISE."""

    ratio: float = 0.2
    """Of the value matrix's entries that a shard may change; the paper's rho."""
    merged: int = 2
    """Shards that are merged into one side memory, at most; the paper's k."""
    threshold: float = 0.6
    """Of a memory, as a share of the least activation among its own edits.  The paper has 1, with
    which other wordings of an edit stay below it; other prompts are trained to ``outside``."""
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    training: ShardConfig = field(default_factory=ShardConfig)
    seed: int = 0
    """Of the first mask."""

    def __post_init__(self) -> None:
        if not (0 < self.ratio <= 1 and self.merged >= 1 and 0 < self.threshold <= 1):
            raise InvalidInputError(
                f"ratio {self.ratio}, merged {self.merged}, threshold {self.threshold}: expected "
                "shares above 0 and up to 1, and a number from 1"
            )


@register("wise")
class Wise(Adapter[WiseConfig]):
    """WISE, with the shards of a batch trained together.

    A shard that says its target alone and not once it is merged has a side memory of its own.

    Source: Wang et al. 2024, "WISE: Rethinking the Knowledge Memory for Lifelong Model Editing of
    Large Language Models", section 2.3.
    """

    config_type = WiseConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS})
    scoped = True
    apart = False
    shape: tuple[int, int] = (0, 0)
    """(k, d) of the value matrix."""
    shards: Mapping[str, Shard] = MappingProxyType({})
    """By edit."""
    memories: tuple[tuple[str, ...], ...] = ()
    """The edits of each side memory; one with room for more takes the next ones."""
    holes: tuple[Tensor, ...] = ()
    """Keys of prompts whose edits were deleted."""
    written: Written | None = None
    """The model's own text; written when first needed, and not saved."""

    def default_layer(self, layers: int) -> int:
        """Return one three quarters up, where the paper has it (26 of 32 layers)."""
        return layers * 3 // 4

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        at_once = self.config.training.rows
        matrix = architecture(model).layer(self.layer).down
        out, width = matrix.as_out_in().shape
        self.shape = (width, out)
        lesson = Lesson(self, model, tokenizer, new, replaces, at_once)
        rows = lesson.rows
        for name in lesson.gone:
            self._drop(name)
        keys = self._keys(model, tokenizer, matrix, [row.prompt for row in rows])
        self.holes = tuple(h for h in self.holes if all(_differ(h, key) for key in keys.cpu()))
        first = 1 + max((one.seed for one in self.shards.values()), default=self.config.seed - 1)
        masks = [mask_of(first + n, self.shape, self.config.ratio) for n in range(len(rows))]
        others = self._others(model, tokenizer, matrix, new, keys)
        values, steps = train_shards(
            model, tokenizer, matrix, rows, keys, others, masks, self.config.training, progress
        )
        made = {
            one.edit.id: Shard(one.edit.id, first + n, keys[n].cpu(), values[n])
            for n, one in enumerate(new)
        }
        self.shards = MappingProxyType({**self.shards, **made})
        rows_of = {**lesson.held, **{one.edit.id: row for one, row in zip(new, rows, strict=True)}}
        self._place(model, tokenizer, list(made), rows_of)
        return lesson.learned(steps)

    def _place(
        self, model: nn.Module, tokenizer: Any, ids: Sequence[str], rows: Mapping[str, Tokens]
    ) -> None:
        """Put new shards into side memories; those that merging silences have one of their own."""
        memories = [list(one) for one in self.memories]
        for name in ids:
            if not memories or len(memories[-1]) >= self.config.merged:
                memories.append([])
            memories[-1].append(name)
        self.memories = tuple(map(tuple, memories))
        touched = [name for one in self.memories if set(one) & set(ids) for name in one]
        with self._attached(model) as attachment:
            wanted = [rows[name] for name in touched]
            at_once = self.config.training.rows
            _, said = grades(model, tokenizer, wanted, at_once, attachment)
        lost = [name for name, ok in zip(touched, said, strict=True) if not ok]
        kept = (tuple(n for n in one if n not in lost) for one in self.memories)
        self.memories = (*((n,) for n in lost), *(one for one in kept if one))

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        if not self.shards:
            yield Attachment()
            return
        matrix = architecture(model).layer(self.layer).down
        out, width = matrix.as_out_in().shape
        if self.shape != (width, out):
            raise InvalidInputError(
                f"the side memories are of shape {self.shape}, {matrix.name} is of "
                f"{(width, out)}; they were learned for another model"
            )
        config = self.config
        found = SideMemories.of(
            grouped(self.memories, self.shards),
            self.holes,
            self.shape,
            config.ratio,
            config.threshold,
        ).to(matrix.weight.device)
        choice = RowChoice(found.chosen)
        with (
            choice.watching(model, matrix.module, "input"),
            beside(matrix, found.changes, choice.chosen),
        ):
            yield choice

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        key = self.shards[edit_id].key
        self._drop(edit_id)
        if not self.shards:
            self.holes = ()
        elif all(_differ(one.key, key) for one in self.shards.values()):
            self.holes = (*self.holes, key)

    def _drop(self, edit_id: str) -> None:
        self.shards = MappingProxyType({n: s for n, s in self.shards.items() if n != edit_id})
        kept = (tuple(n for n in one if n != edit_id) for one in self.memories)
        self.memories = tuple(one for one in kept if one)

    def _keys(
        self, model: nn.Module, tokenizer: Any, matrix: Matrix, prompts: Sequence[tuple[int, ...]]
    ) -> Tensor:
        """Return what the value matrix takes in at the prompts' last tokens: float32 [B, k]."""
        at_once = self.config.training.rows
        return prompt_states(model, tokenizer, matrix.module, "input", prompts, at_once)

    def _others(
        self,
        model: nn.Module,
        tokenizer: Any,
        matrix: Matrix,
        new: Sequence[HeldEdit],
        keys: Tensor,
    ) -> Tensor:
        """Return for each new edit the keys that its shard is to leave alone: [B, n, k]."""
        config = self.config.memory
        if self.written is None:
            at_once = self.config.training.rows
            self.written = write(model, tokenizer, matrix.module, config, at_once)
        names = [one.request.subject for one in (*self.held, *new)][-config.contexts :]
        names += made_names(tokenizer, self.written.beginnings, config.contexts)
        texts = [swapped(one.request, names) for one in new]
        cut = [encode_prompt(tokenizer, t, self.prompt_form).ids for one in texts for t in one]
        away = self._keys(model, tokenizer, matrix, cut) if cut else keys[:0]
        pool = [self.written.queries.to(keys.device)] if len(self.written.queries) else []
        pool += [one.key.to(keys.device)[None] for one in self.shards.values()]
        found: list[Tensor] = []
        for n, (key, own) in enumerate(
            zip(keys, torch.split(away, [len(t) for t in texts]), strict=True)
        ):
            rest = torch.cat([keys[:n], keys[n + 1 :], own, *pool])
            apart = [float((one - key).norm()) > same_within(key.cpu()) for one in rest]
            rest = rest[torch.tensor(apart, dtype=torch.bool, device=rest.device)]
            found.append(hardest(key, rest, self.config.training.hardest))
        return torch.stack(found)

    def to_saved(self) -> Saved:
        """Return shards, side memories and holes."""
        shards = list(self.shards.values())
        state = {
            "shape": list(self.shape),
            "shards": [{"edit": s.edit, "seed": s.seed, "values": len(s.values)} for s in shards],
            "memories": [list(one) for one in self.memories],
        }
        if not shards:
            return Saved({}, state)
        tensors = {
            "keys": torch.stack([one.key for one in shards]),
            "values": torch.cat([one.values for one in shards]),
        }
        return Saved(tensors | ({"holes": torch.stack(self.holes)} if self.holes else {}), state)

    def restore(self, saved: Saved) -> None:
        """Take shards and side memories; see ``Adapter.restore``."""
        state, tensors = saved.state, saved.tensors
        listed: list[dict[str, Any]] = list(state["shards"])
        names = [str(one["edit"]) for one in listed]
        self.memories = tuple(tuple(str(n) for n in one) for one in state["memories"])
        placed = sorted(name for one in self.memories for name in one)
        if not sorted(names) == placed == sorted(edit.id for edit in self.edits):
            raise InvalidInputError("the shards are of other edits than the manifest lists")
        width, out = (int(n) for n in state["shape"])
        self.shape = (width, out)
        if not listed:
            return
        counts = [int(one["values"]) for one in listed]
        expected = {"keys": (len(listed), width), "values": (sum(counts),)}
        holes = tensors.get("holes", torch.zeros(0, width))
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items() if name != "holes"}
        if shapes != expected or holes.shape[1:] != (width,):
            raise InvalidInputError(f"the tensors are of shapes {shapes}; expected {expected}")
        seeds = [int(one["seed"]) for one in listed]
        values, keys = torch.split(tensors["values"].float(), counts), tensors["keys"].float()
        made = map(Shard, names, seeds, keys, values)
        self.shards = MappingProxyType(dict(zip(names, made, strict=True)))
        self.holes = tuple(holes.float())


def _differ(one: Tensor, other: Tensor) -> bool:
    """Tell whether two keys [k] are of different prompts."""
    return distance_of(one, other) > same_within(other)
