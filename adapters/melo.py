"""MELO: clusters of edits with radii, and LoRA blocks of which each prompt takes one or none.

The key is what a block of the model gives out at the prompt's last token; the LoRA blocks are in
layers above it, so that one run looks a prompt up and goes through what was found.  The choice
belongs to a row of a batch and lasts while its answer is generated.  Each LoRA block is an ordinary
LoRA: ``fold`` writes it as a PEFT adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from memedit.adapters.base import Adapter
from memedit.adapters.blocks import (
    Pair,
    TrainingConfig,
    applied,
    changes,
    joined,
    kept,
    train,
)
from memedit.adapters.clusters import NONE, Clusters
from memedit.adapters.clusters_files import clusters_of, saved_clusters
from memedit.adapters.grading import grades, prompt_states
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
from memedit.errors import InvalidInputError, NotFoundError, SettingsError
from memedit.modeling.architecture import Matrix, architecture
from memedit.modeling.delta import WeightDelta
from memedit.modeling.delta_lora import LoraExport, to_lora
from memedit.modeling.tokens import Tokens
from memedit.registry import register


@dataclass(frozen=True, slots=True)
class MeloConfig(AdapterConfig):
    """Settings of MELO."""

    radius: float | None = None
    """r₀, the radius of a new cluster; ``None``: ``share`` of the keys' norm."""
    share: float = RADIUS_SHARE
    """Of the mean norm of the first batch's keys: the radius, where none is named."""
    layers: tuple[int, ...] | None = None
    """Whose value matrices have LoRA blocks; ``None``: all above the one looked at."""
    rank: int = 4
    """Of a LoRA block."""
    training: TrainingConfig = field(default_factory=TrainingConfig)

    def __post_init__(self) -> None:
        if not ((self.radius is None or self.radius > 0) and self.share > 0 and self.rank >= 1):
            raise InvalidInputError(
                f"radius {self.radius}, share {self.share}, rank {self.rank}: expected numbers "
                "above 0"
            )


@register("melo")
class Melo(Adapter[MeloConfig]):
    """MELO, with the blocks of a whole batch trained at once.

    Edits that are learned in one batch and lie in one cluster share a LoRA block; an edit that
    joins a cluster later has a block of its own there, and the nearest point says which is taken.

    Source: Yu et al. 2024, "MELO: Enhancing Model Editing with Neuron-Indexed Dynamic LoRA".
    """

    config_type = MeloConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS, Host.VLLM_LORA})
    scoped = True
    by_edit = True
    clusters: Clusters | None = None
    """What was learned; ``None``: nothing yet."""
    blocks: dict[str, Pair] | None = None
    """Parameter name -> its blocks, in the numbers that the clusters' points have."""

    def _learn(
        self,
        model: nn.Module,
        tokenizer: Any,
        new: Sequence[HeldEdit],
        replaces: Sequence[str],
        progress: Progress,
    ) -> Learned:
        config = self.config
        rows = [self.tokens(tokenizer, one.request) for one in new]
        keys = self._keys(model, tokenizer, rows)
        clusters = self._begun(keys).copy()
        for gone in replaces:
            clusters.delete(gone, hole=False)
        replaced: list[str] = []
        for one, key in zip(new, keys.cpu(), strict=True):
            # any number that is none of a hole; ``assign`` gives the one that counts
            replaced += clusters.place(one.edit.id, key, one.request.target_new, 0)
        there = [point.edit for point in clusters.points()]
        old_blocks = self.blocks or {}
        first = next((len(pair.up) for pair in old_blocks.values()), 0)
        given = clusters.assign([one.edit.id for one in new if one.edit.id in there], first)
        clusters.hold()
        learning = [n for n, one in enumerate(new) if one.edit.id in given]
        trained, before, steps = train(
            model,
            tokenizer,
            self._matrices(model),
            [rows[n] for n in learning],
            [given[new[n].edit.id] - first for n in learning],
            config.rank,
            config.training,
            progress,
        )
        self.blocks = joined(old_blocks, trained)
        self.clusters = clusters
        self._tidy()
        with self._attached(model) as attachment:
            losses, said = grades(model, tokenizer, rows, config.training.rows, attachment)
        versions = {one.edit.id: one.edit for one in (*new, *self.held)}
        old = [versions[one] for one in (*replaces, *replaced) if one in versions]
        return Learned(tuple(before), tuple(losses), tuple(said), steps, tuple(old))

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        clusters = self.clusters
        if clusters is None or not clusters.points():
            yield Attachment()
            return
        block = architecture(model).layer(self.layer).block
        table = clusters.table().to(next(block.parameters()).device)
        if table.centres.shape[1] != architecture(model).hidden_size:
            raise InvalidInputError(
                f"the keys have {table.centres.shape[1]} numbers, the model's states "
                f"{architecture(model).hidden_size}; the adapter was learned for another model"
            )
        with self._chosen(model, table.blocks_of) as choice:
            yield choice

    def _attached_for(self, model: nn.Module, edit_id: str) -> Any:
        number = self.block_of(edit_id)
        return self._chosen(model, lambda states: torch.full((len(states),), number))

    @contextmanager
    def _chosen(self, model: nn.Module, choose: Callable[[Tensor], Tensor]) -> Iterator[RowChoice]:
        """Have each row go through the block that ``choose`` says; see ``RowChoice``."""
        blocks = self.blocks or {}
        matrices = self._matrices(model)
        for matrix in matrices:
            out, width = matrix.as_out_in().shape
            pair = blocks.get(matrix.name)
            if pair is None or (pair.up.shape[1], pair.down.shape[2]) != (out, width):
                raise InvalidInputError(
                    f"there are no LoRA blocks of shape {(out, width)} for {matrix.name}; the "
                    "adapter was learned for another model"
                )
        block = architecture(model).layer(self.layer).block
        choice = RowChoice(choose)
        here = {
            matrix.name: Pair(
                blocks[matrix.name].down.to(matrix.weight.device),
                blocks[matrix.name].up.to(matrix.weight.device),
            )
            for matrix in matrices
        }
        with choice.watching(model, block), applied(matrices, here, choice.chosen):
            yield choice

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        if self.clusters is not None:
            self.clusters = self.clusters.copy()
            self.clusters.delete(edit_id)
            self._tidy()

    def block_of(self, edit_id: str) -> int:
        """Return the number of the LoRA block that an edit's prompt goes through.

        Raises:
            NotFoundError: no such edit is held.

        """
        points = self.clusters.points() if self.clusters is not None else []
        for point in points:
            if point.edit == edit_id:
                return point.block
        raise NotFoundError(f"this adapter holds no edit {edit_id!r}")

    def fold(
        self, edit_id: str, folder: Path, model: nn.Module, *, base_model: str = ""
    ) -> LoraExport:
        """Write the LoRA block of an edit as a PEFT adapter: what is chosen per request in vLLM.

        Args:
            edit_id: of a held edit; all edits of its block have the same adapter.
            folder: must not exist.
            model: the model it is for; asked only for its modules.
            base_model: what adapter_config.json names as the model.

        """
        number = self.block_of(edit_id)
        points = self.clusters.points() if self.clusters is not None else []
        ids = {point.edit for point in points if point.block == number}
        delta = WeightDelta(
            changes(self._matrices(model), self.blocks or {}, number),
            method=self.name,
            base=self.base,
            notes={"block": number},
            edits=tuple(edit for edit in self.edits if edit.id in ids),
        )
        return to_lora(delta, folder, model, base_model=base_model)

    def to_saved(self) -> Saved:
        """Return clusters and blocks."""
        found = saved_clusters(self.clusters)
        tensors = dict(found.tensors)
        for name, pair in (self.blocks or {}).items():
            tensors |= {f"{name}:down": pair.down, f"{name}:up": pair.up}
        return Saved(tensors, found.state)

    def restore(self, saved: Saved) -> None:
        """Take clusters and blocks; see ``Adapter.restore``."""
        names = sorted(n.removesuffix(":down") for n in saved.tensors if n.endswith(":down"))
        blocks: dict[str, Pair] = {}
        for name in names:
            down, up = saved.tensors[f"{name}:down"], saved.tensors.get(f"{name}:up")
            if up is None or down.ndim != 3 or up.ndim != 3 or len(up) != len(down):
                raise InvalidInputError(f"the factors of {name} do not fit one another")
            if up.shape[2] != down.shape[1]:
                raise InvalidInputError(f"the factors of {name} are of different ranks")
            blocks[name] = Pair(down.float(), up.float())
        counts = {len(pair.up) for pair in blocks.values()}
        if len(counts) > 1:
            raise InvalidInputError("the matrices have different numbers of LoRA blocks")
        self.clusters = clusters_of(
            saved, [one.edit.id for one in self.held], max(counts, default=0)
        )
        self.blocks = blocks or None

    def _begun(self, keys: Tensor) -> Clusters:
        if self.clusters is not None:
            return self.clusters
        radius = self.config.radius
        if radius is None:
            radius = self.config.share * float(keys.norm(dim=1).mean())
        return Clusters(radius)

    def _tidy(self) -> None:
        """Drop blocks that no edit has any more, and number the others anew."""
        if self.clusters is None or self.blocks is None:
            return
        used = sorted({point.block for point in self.clusters.points()})
        self.clusters.renumber({block: n for n, block in enumerate(used)} | {NONE: NONE})
        self.blocks = kept(self.blocks, used) if used else None

    def _matrices(self, model: nn.Module) -> list[Matrix]:
        parts_of = architecture(model)
        chosen = self.config.layers
        if chosen is None:
            chosen = tuple(range(self.layer + 1, len(parts_of.layers)))
        if not chosen or min(chosen) <= self.layer:
            raise SettingsError(
                f"LoRA blocks in layers {list(chosen)} with keys of layer {self.layer}: expected "
                "layers above it, so that a prompt is looked up before it goes through them"
            )
        return [parts_of.layer(number).down for number in chosen]

    def _keys(self, model: nn.Module, tokenizer: Any, rows: Sequence[Tokens]) -> Tensor:
        """Return what the layer gives out at the last prompt tokens: float32 [B, d]."""
        block = architecture(model).layer(self.layer).block
        asked, at_once = [row.prompt for row in rows], self.config.training.rows
        return prompt_states(model, tokenizer, block, "output", asked, at_once)
