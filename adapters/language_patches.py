"""Language Patches: an edit is a sentence, a gate says when it applies, and both answers are mixed.

``p(y | x) = g(x, lp) p(y | lp, x) + (1 - g(x, lp)) p(y | x)``: the interpreter is the model itself
with the patch written before what is asked.  The paper finetunes a T5 so that it obeys patches; a
language model reads text as it is, and where it does not say a patch's target, the embeddings of
that patch's tokens are trained until it does.  A causal model's head is over tokens: the mixture is
of the next token's distribution, at every token of an answer.

The gate compares the state of a prompt's last token with that of the patch's own prompt.  The
paper's reads patch and input together, with the finetuned model; this one is a projection that is
learned once for a model (``memedit train language-patches``), from other wordings and from prompts
out of scope.  Without it, the gate opens for what looks just like the patch's own prompt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from memedit.adapters.base import Adapter
from memedit.adapters.grace_values import SearchConfig, search_values
from memedit.adapters.grading import grades, prompt_states
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
from memedit.adapters.patch_gate import Gate
from memedit.adapters.patched_rows import Patch, PatchedRows, embedded, written
from memedit.adapters.trained_parts import load_part
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.tokens import Batch, Tokens, encode_prompt
from memedit.registry import register

METHOD = "language-patches"
SHAPES = {"projection": 2, "mean": 1, "line": 1}
"""A gate's tensors, and their dimensions."""


@dataclass(frozen=True, slots=True)
class LanguagePatchesConfig(AdapterConfig):
    """Settings of Language Patches; its ``layer`` is the trained gate's, where there is one."""

    gate: str | None = None
    """Folder of a gate that was trained for the model."""
    text: str = "Imagine that {statement}\n"
    """A patch: the edit as a statement, and what stands around it."""
    search: SearchConfig = field(default_factory=lambda: SearchConfig(rate=0.1, enough=0.5))
    """Of embeddings, for patches whose text is not obeyed."""

    def __post_init__(self) -> None:
        if "{statement}" not in self.text:
            raise InvalidInputError(f"text {self.text!r}: expected {{statement}} in it")


@register("language-patches")
class LanguagePatches(Adapter[LanguagePatchesConfig]):
    """Language Patches, for patches that change knowledge.

    Source: Murty et al. 2022, "Fixing Model Bugs with Natural Language Patches", section 2, eq. 1.
    """

    config_type = LanguagePatchesConfig
    servable_by: ClassVar[frozenset[Host]] = frozenset({Host.PROCESS})
    scoped = True
    patches: tuple[Patch, ...] = ()
    """What was learned."""
    gate: Gate | None = None
    """``None``: nothing was learned yet."""
    heads: tuple[tuple[int, ...], ...] = ()
    """What can stand before a patch: the tokens that rows begin with, whatever is asked."""

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
        self.patches = tuple(patch for patch in self.patches if patch.edit not in gone)
        if self.gate is None:
            self._open_gate(model)
            self.heads = self._heads(tokenizer)
        block = architecture(model).layer(self.layer).block
        asked = [row.prompt for row in rows]
        states = prompt_states(model, tokenizer, block, "output", asked, at_once).cpu()
        texts = [config.text.format(statement=one.request.plain_statement()) for one in new]
        cut = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
        made = [
            Patch(one.edit.id, tuple(int(n) for n in ids), state)
            for one, ids, state in zip(new, cut, states, strict=True)
        ]
        made, steps = self._obeyed(model, tokenizer, made, rows, progress)
        self.patches = (*self.patches, *made)
        return lesson.learned(steps)

    def _open_gate(self, model: nn.Module) -> None:
        """Take the trained gate, and its layer, or the one that needs no training."""
        if self.config.gate is None:
            self.gate = Gate.untrained(architecture(model).hidden_size)
            return
        part = load_part(Path(self.config.gate), METHOD, self.base, SHAPES)
        if self.config.layer not in (None, part.layer):
            raise InvalidInputError(
                f"layer {self.config.layer}: the gate in {self.config.gate} was trained at layer "
                f"{part.layer}; leave the layer out"
            )
        self.layer, self.gate = part.layer, Gate(*(part.tensors[name] for name in SHAPES))

    def _heads(self, tokenizer: Any) -> tuple[tuple[int, ...], ...]:
        """Return what rows begin with, of what is continued and of questions."""
        found: list[tuple[int, ...]] = []
        for end in ("", "?"):
            one, other = (
                encode_prompt(tokenizer, begin + end, self.prompt_form).ids for begin in ("a", "1")
            )
            alike = [a == b for a, b in zip(one, other, strict=False)] + [False]
            found.append(one[: alike.index(False)])
        return tuple(dict.fromkeys(found))

    def _obeyed(
        self,
        model: nn.Module,
        tokenizer: Any,
        made: Sequence[Patch],
        rows: Sequence[Tokens],
        progress: Progress,
    ) -> tuple[list[Patch], int]:
        """Train the embeddings of those patches whose targets are not said with them."""
        config = self.config.search
        embedding = architecture(model).embedding
        whole = [written(row.prompt, p, self.heads) for row, p in zip(rows, made, strict=True)]
        asked = [Tokens(w.ids, row.target) for w, row in zip(whole, rows, strict=True)]
        _, said = grades(model, tokenizer, asked, config.rows)
        deaf = [n for n, ok in enumerate(said) if not ok]
        if not deaf:
            return list(made), 0
        longest = max(whole[n].length for n in deaf)
        device = next(model.parameters()).device
        starts: list[Tensor] = []
        for n in deaf:
            ids = torch.tensor([made[n].tokens], device=device)
            with torch.no_grad():
                value = embedding(ids)[0].float()
            starts.append(functional.pad(value, (0, 0, 0, longest - len(value))))

        def put(part: Sequence[int], batch: Batch, values: Tensor) -> Any:
            theirs = [whole[deaf[n]] for n in part]
            cut = [v[: one.length] for v, one in zip(values, theirs, strict=True)]
            return embedded(embedding, batch, theirs, cut)

        found = search_values(
            model, tokenizer, [asked[n] for n in deaf], torch.stack(starts), put, config, progress
        )
        learned = list(made)
        for n, value in zip(deaf, found.values, strict=True):
            learned[n] = replace(made[n], embeddings=value[: whole[n].length].clone())
        return learned, found.steps

    @contextmanager
    def _attached(self, model: nn.Module) -> Iterator[Attachment]:
        if not self.patches or self.gate is None:
            yield Attachment()
            return
        parts_of = architecture(model)
        width = len(self.patches[0].condition)
        if width != parts_of.hidden_size:
            raise InvalidInputError(
                f"the patches' states have {width} numbers, the model's {parts_of.hidden_size}; "
                "they were learned for another model"
            )
        rows = PatchedRows(model, self.patches, self.heads, self.gate, parts_of.embedding)
        with rows.watching(model, parts_of.layer(self.layer).block):
            yield rows

    def _forget(self, edit_id: str, model: nn.Module | None, tokenizer: Any) -> None:
        self.patches = tuple(patch for patch in self.patches if patch.edit != edit_id)

    def to_saved(self) -> Saved:
        """Return patches and gate."""
        state: dict[str, Any] = {
            "heads": [list(head) for head in self.heads],
            "patches": [{"edit": p.edit, "tokens": list(p.tokens)} for p in self.patches],
        }
        tensors = {
            f"embeddings.{n}": patch.embeddings
            for n, patch in enumerate(self.patches)
            if patch.embeddings is not None
        }
        state["embedded"] = sorted(tensors)
        if self.patches:
            tensors["conditions"] = torch.stack([patch.condition for patch in self.patches])
        if self.gate is not None:
            tensors |= {f"gate.{name}": getattr(self.gate, name) for name in SHAPES}
        return Saved(tensors, state)

    def restore(self, saved: Saved) -> None:
        """Take patches and a gate; see ``Adapter.restore``."""
        state, tensors = saved.state, {n: t.float() for n, t in saved.tensors.items()}
        listed: list[dict[str, Any]] = list(state["patches"])
        if [str(one["edit"]) for one in listed] != [edit.id for edit in self.edits]:
            raise InvalidInputError("the patches are of other edits than the manifest lists")
        self.heads = tuple(tuple(int(n) for n in head) for head in state["heads"])
        gate = Gate(*(tensors[f"gate.{name}"] for name in SHAPES))
        width = len(gate.mean)
        conditions = tensors.get("conditions", torch.zeros(0, width))
        if (
            {name: getattr(gate, name).ndim for name in SHAPES} != SHAPES
            or gate.projection.shape[1] != width
            or gate.line.shape != (2,)
            or conditions.shape != (len(listed), width)
        ):
            raise InvalidInputError("the shapes of gate and patches do not fit one another")
        given = {name for name in tensors if name.startswith("embeddings.")}
        if sorted(given) != list(state["embedded"]):
            raise InvalidInputError("the embeddings are of other patches than the manifest lists")
        self.gate = gate
        self.patches = tuple(
            _patch(one, conditions[n], tensors.get(f"embeddings.{n}"))
            for n, one in enumerate(listed)
        )


def _patch(said: dict[str, Any], condition: Tensor, embeddings: Tensor | None) -> Patch:
    tokens = tuple(int(n) for n in said["tokens"])
    if embeddings is not None and (embeddings.ndim != 2 or len(embeddings) != len(tokens)):
        raise InvalidInputError(
            f"the patch of {said['edit']} has {len(tokens)} tokens and embeddings of shape "
            f"{tuple(embeddings.shape)}"
        )
    return Patch(str(said["edit"]), tokens, condition, embeddings)
