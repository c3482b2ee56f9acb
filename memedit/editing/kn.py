"""KN: find the neurons that express a fact, and rewrite what they add to the stream."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.editing.base import Editor, EditorConfig, Progress
from memedit.editing.matrices import factors_of
from memedit.editing.rows import sample_contexts
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import Architecture, architecture
from memedit.modeling.delta import WeightDelta
from memedit.modeling.hooks import Places, catch, replace
from memedit.modeling.losses import target_losses
from memedit.modeling.tokens import Tokens, encode_pair, encode_prompt, pad
from memedit.registry import register
from memedit.types import EditRequest

Neuron = tuple[int, int]
"""Layer, and index into the input of its value matrix."""


@dataclass(frozen=True, slots=True)
class KnConfig(EditorConfig):
    """Settings of KN; all layers are searched, so ``layer`` is not used."""

    steps: int = 20
    """Points of the integral (the paper's m)."""
    threshold: float = 0.2
    """A neuron counts for a prompt when its attribution is over this share of the largest."""
    shared: float = 0.5
    """It is kept when it counts for at least this share of the prompts."""
    neurons: int = 20
    """At most so many per edit, the most often shared and then the strongest first."""
    contexts: int = 4
    """Sampled texts that the prompt stands behind, beside standing alone."""
    add: float = 8.0
    """How much of the new answer's embedding is put into a value (the paper's λ₂)."""
    remove: float = 1.0
    """How much of the old answer's is taken out of it (the paper's λ₁)."""
    rows: int = 256
    """Rows of one forward."""
    seed: int = 0
    """Of the contexts."""

    def __post_init__(self) -> None:
        if not (self.steps >= 1 and 0 < self.threshold < 1 and 0 < self.shared <= 1):
            raise InvalidInputError(
                f"steps {self.steps}, threshold {self.threshold}, shared {self.shared}: expected "
                "at least one step, and shares between 0 and 1"
            )
        if not (self.neurons >= 1 and self.contexts >= 0 and self.rows >= 1):
            raise InvalidInputError(
                f"neurons {self.neurons}, contexts {self.contexts}, rows {self.rows}: expected "
                "at least one neuron and one row"
            )


@register("kn")
class Kn(Editor[KnConfig]):
    """Integrated gradients of the old answer; value slots get the new answer's embedding.

    An embedding is scaled to the mean size of the layer's value slots, and turned around where the
    neuron is negative when the fact is asked for, because gated and GELU neurons may be.  Only an
    answer's first token is looked at, as in the paper.

    Source: Dai et al. 2022, "Knowledge Neurons in Pretrained Transformers", sections 3 and 4.
    """

    config_type = KnConfig

    @property
    def layers(self) -> tuple[int, ...]:
        """No layers of its own: those of the neurons that it finds."""
        return ()

    def compute(
        self,
        model: nn.Module,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        progress: Progress,
    ) -> WeightDelta:
        """Attribute edit after edit, and sum up what they change."""
        parts, config = architecture(model), self.config
        words = parts.unembedding.weight
        assert isinstance(words, Tensor)
        if words.shape[1] != parts.hidden_size:
            raise InvalidInputError(
                f"KN writes output embeddings into values; here they have {words.shape[1]} "
                f"numbers and values {parts.hidden_size}"
            )
        contexts = sample_contexts(model, tokenizer, config.contexts, 8, config.seed)
        sizes = [
            float(layer.down.as_out_in().detach().float().norm(dim=0).mean())
            for layer in parts.layers
        ]
        slots: dict[int, list[tuple[int, Tensor]]] = {}
        taught, chosen = [], 0
        for number, request in enumerate(requests):
            progress(number, len(requests))
            tokens = self.tokens(tokenizer, request)
            prompts = [
                encode_prompt(tokenizer, c + request.prompt, self.prompt_form).ids for c in contexts
            ]
            old = self._old(model, tokenizer, request, prompts[0])
            neurons, activations = self._neurons(model, tokenizer, parts, prompts, old)
            chosen += len(neurons)
            change = config.add * _unit(words[tokens.target[0]])
            change = change - config.remove * _unit(words[old])
            for layer, neuron in neurons:
                sign = 1.0 if float(activations[layer, neuron]) >= 0 else -1.0
                slots.setdefault(layer, []).append((neuron, sign * sizes[layer] * change))
            taught.append(tokens)
        changes = {}
        for layer, made in sorted(slots.items()):
            down = parts.layers[layer].down
            left = torch.stack([change for _, change in made], 1)
            right = torch.zeros(len(made), down.as_out_in().shape[1], device=left.device)
            right[torch.arange(len(made)), torch.tensor([neuron for neuron, _ in made])] = 1.0
            changes[down.name] = factors_of(down, (left, right))
        progress(len(requests), len(requests))
        delta = WeightDelta(changes, self.name)
        notes = {
            **self.notes(),
            "edits": len(requests),
            "neurons": chosen,
            "loss_before": self._loss(model, tokenizer, taught),
            "layers": sorted(slots),
        }
        with delta.applied(model):
            notes["loss_after"] = self._loss(model, tokenizer, taught)
        return WeightDelta(changes, self.name, notes=notes)

    def _old(
        self, model: nn.Module, tokenizer: Any, request: EditRequest, prompt: tuple[int, ...]
    ) -> int:
        """Return the first token of the old answer: as given, else what the model says."""
        if request.ground_truth is not None:
            pair = encode_pair(tokenizer, request.prompt, request.ground_truth, self.prompt_form)
            return pair.target[0]
        batch = pad([Tokens(prompt, ())], tokenizer)
        with torch.no_grad():
            output: Any = model(**batch.inputs(model))
        return int(output.logits[0, -1].argmax())

    def _neurons(
        self,
        model: nn.Module,
        tokenizer: Any,
        parts: Architecture,
        prompts: Sequence[tuple[int, ...]],
        answer: int,
    ) -> tuple[list[Neuron], Tensor]:
        """Return the neurons to rewrite, and the activations [layers, in] at the bare prompt."""
        counts: Counter[Neuron] = Counter()
        strength: dict[Neuron, float] = {}
        bare: Tensor | None = None
        for prompt in prompts:
            found, states = self._attributions(model, tokenizer, parts, prompt, answer)
            bare = states if bare is None else bare
            strong = found > self.config.threshold * found.max()
            for layer, neuron in strong.nonzero().tolist():
                counts[layer, neuron] += 1
                key = (layer, neuron)
                strength[key] = strength.get(key, 0.0) + float(found[layer, neuron])
        assert bare is not None
        needed = self.config.shared * len(prompts)
        kept = [n for n, count in counts.items() if count >= needed] or list(counts)
        kept.sort(key=lambda n: (-counts[n], -strength[n]))
        return kept[: self.config.neurons], bare

    def _attributions(
        self,
        model: nn.Module,
        tokenizer: Any,
        parts: Architecture,
        prompt: tuple[int, ...],
        answer: int,
    ) -> tuple[Tensor, Tensor]:
        """Return w times the integral of P(answer)'s gradient on the way from 0 to w, and w.

        Both [layers, in]; one layer is scaled at a time.
        """
        downs = [layer.down.module for layer in parts.layers]
        one = pad([Tokens(prompt, ())], tokenizer)
        with ExitStack() as stack, torch.no_grad():
            last = Places.one_per_row(one.prompt_last)
            caught = [stack.enter_context(catch(down, "input", last)) for down in downs]
            model(**one.inputs(model))
        states = torch.stack([seen.last[0].float() for seen in caught])
        steps = self.config.steps
        runs = [(layer, step) for layer in range(len(downs)) for step in range(1, steps + 1)]
        total = torch.zeros_like(states)
        for first in range(0, len(runs), self.config.rows):
            part = runs[first : first + self.config.rows]
            batch = pad([Tokens(prompt, ())] * len(part), tokenizer)
            leaves: dict[int, Tensor] = {}
            with ExitStack() as stack:
                for layer in sorted({layer for layer, _ in part}):
                    mine = [(i, step) for i, (at, step) in enumerate(part) if at == layer]
                    shares = torch.tensor([step / steps for _, step in mine])
                    scaled = shares[:, None].to(states.device) * states[layer]
                    leaves[layer] = scaled.requires_grad_(True)
                    pairs = [(i, len(prompt) - 1) for i, _ in mine]
                    places = Places.of(pairs, len(part))
                    stack.enter_context(replace(downs[layer], "input", places, leaves[layer]))
                output: Any = model(**batch.inputs(model))
            chance = torch.softmax(output.logits[:, -1].float(), -1)[:, answer].sum()
            gradients = torch.autograd.grad(chance, list(leaves.values()))
            for layer, gradient in zip(leaves, gradients, strict=True):
                total[layer] += gradient.sum(0)
        return states * total / steps, states

    def _loss(self, model: nn.Module, tokenizer: Any, rows: Sequence[Tokens]) -> float:
        total = 0.0
        with torch.no_grad():
            for first in range(0, len(rows), self.config.rows):
                batch = pad(rows[first : first + self.config.rows], tokenizer)
                output: Any = model(**batch.inputs(model))
                logits: Tensor = output.logits
                total += float(target_losses(logits, batch.to(logits.device)).losses.sum())
        return total / len(rows)


def _unit(row: Tensor) -> Tensor:
    wide = row.detach().float()
    unit: Tensor = wide / wide.norm().clamp(min=1e-12)
    return unit
