"""Causal tracing: which states carry a fact from its subject to the answer.

Noise on the subject's embeddings makes the model forget; putting back one clean state at a time
shows which of them brings the answer back.  The corrupted and restored runs of many prompts are
rows of one batch.

Source: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", section 2.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from memedit.errors import InvalidInputError, SettingsError
from memedit.modeling.architecture import Architecture, architecture
from memedit.modeling.facts import TracedFact, TracePrompt, cut_facts
from memedit.modeling.fingerprint import model_fingerprint, texts_fingerprint
from memedit.modeling.forms import PromptForm
from memedit.modeling.hooks import Caught, Places, add, catch, replace
from memedit.modeling.tokens import Batch, PaddingSide, Tokens, pad
from memedit.modeling.trace import (
    Cell,
    Kind,
    Position,
    PromptProfile,
    Skipped,
    Trace,
    default_window,
    estimate,
    window_around,
)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class TraceConfig:
    """How to trace; the defaults are the paper's, where it names them."""

    noise: float = 3.0
    """In standard deviations of the subjects' embeddings."""
    samples: int = 3
    """Draws of noise per prompt, averaged (the paper: 10)."""
    window: int | None = None
    """Layers put back together for MLPs and attentions; ``None``: 1 up to 12 layers, else 5-10."""
    threshold: float = 0.5
    """Only answers at least so probable are known."""
    kinds: tuple[Kind, ...] = tuple(Kind)
    positions: tuple[Position, ...] = tuple(Position)
    rows: int = 256
    """Rows of one forward."""
    group: int = 8
    """Prompts whose clean states are held at once."""
    padding: PaddingSide = "left"
    """On the left, only the last position's logits need computing."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Run:
    """One row: a fact under one draw of noise, with something put back, or nothing."""

    fact: int
    sample: int
    kind: Kind | None = None
    layer: int = 0
    position: Position = Position.SUBJECT_LAST


_Where = tuple[Kind, int, Position]
_Restored = dict[_Where, float]


def trace(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[TracePrompt],
    config: TraceConfig | None = None,
    *,
    form: PromptForm | None = None,
    progress: Progress | None = None,
) -> Trace:
    """Trace the facts that the model knows; the model is left as it was.

    Args:
        model: a transformers causal language model, in any dtype.
        tokenizer: its fast tokenizer.
        prompts: facts to try; those it does not know are counted as skipped.
        config: how to trace.
        form: how a prompt is put to the model; left out, it is continued as it stands.
        progress: called with (prompts done, in all).

    Raises:
        InvalidInputError: no prompt could be traced, or the model's layout is not known.

    """
    chosen = config or TraceConfig()
    parts = architecture(model)
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            return _Tracer(model, tokenizer, parts, chosen, form).run(prompts, progress)
    finally:
        for module, training in modes:
            module.training = training


class _Tracer:
    def __init__(
        self,
        model: nn.Module,
        tokenizer: Any,
        parts: Architecture,
        config: TraceConfig,
        form: PromptForm | None,
    ) -> None:
        self.model, self.tokenizer, self.parts = model, tokenizer, parts
        self.config, self.form = config, form
        self.n_layers = len(parts.layers)
        self.window = default_window(self.n_layers) if config.window is None else config.window
        if not (1 <= self.window <= self.n_layers and config.samples >= 1 and config.noise > 0):
            raise SettingsError(
                f"window {self.window}, samples {config.samples}, noise {config.noise}: expected a "
                f"window of 1 to {self.n_layers} layers, at least one sample, and noise above 0"
            )
        known = inspect.signature(model.forward).parameters
        short = config.padding == "left" and "logits_to_keep" in known
        self.extra: dict[str, Any] = {"logits_to_keep": 1} if short else {}

    def run(self, prompts: Sequence[TracePrompt], progress: Progress | None) -> Trace:
        tell = progress or (lambda done, total: None)
        facts, skipped = cut_facts(self.tokenizer, prompts, self.config.positions, self.form)
        clean_p = [p for part in self._chunks(facts) for p in self._clean(part)[0].tolist()]
        known: list[tuple[int, TracedFact, float]] = []
        for (number, fact), p in zip(facts, clean_p, strict=True):
            if p >= self.config.threshold:
                known.append((number, fact, p))
            else:
                reason = f"not known: its answer has probability {p:.3f}"
                skipped.append(Skipped(number, reason))
        if not known:
            first = skipped[0].reason if skipped else "no prompts were given"
            raise InvalidInputError(
                f"none of {len(prompts)} prompts can be traced (the first: {first}); give prompts "
                f"whose answer the model knows, or a threshold under {self.config.threshold}"
            )
        sigma = self.config.noise * self._spread([fact for _, fact, _ in known])
        generator = torch.Generator().manual_seed(self.config.seed)
        traced: list[tuple[float, _Restored]] = []
        for start in range(0, len(known), self.config.group):
            group = [fact for _, fact, _ in known[start : start + self.config.group]]
            traced += self._trace_group(group, sigma, generator)
            tell(len(traced), len(known))
        return Trace(
            n_layers=self.n_layers,
            window=self.window,
            sigma=sigma,
            samples=self.config.samples,
            threshold=self.config.threshold,
            asked=len(prompts),
            known=len(known),
            skipped=tuple(sorted(skipped, key=lambda one: one.prompt)),
            clean=estimate([p for _, _, p in known]),
            corrupted=estimate([low for low, _ in traced]),
            cells=self._cells(traced),
            fingerprint=model_fingerprint(self.model),
            prompts_fingerprint=texts_fingerprint(
                *(text for one in prompts for text in (one.prompt, one.subject, one.answer))
            ),
            profiles=tuple(
                PromptProfile(number, p, low, self._profile(restored))
                for (number, _, p), (low, restored) in zip(known, traced, strict=True)
            ),
        )

    def _cells(self, traced: Sequence[tuple[float, _Restored]]) -> tuple[Cell, ...]:
        cells = []
        for kind, layer, at in product(self.config.kinds, range(self.n_layers), Position):
            pairs = [(r[kind, layer, at], low) for low, r in traced if (kind, layer, at) in r]
            if pairs:
                restored, effect = [p for p, _ in pairs], [p - low for p, low in pairs]
                cells.append(Cell(kind, layer, at, estimate(restored), estimate(effect)))
        return tuple(cells)

    def _profile(self, restored: _Restored) -> dict[Kind, tuple[float, ...]]:
        at = Position.SUBJECT_LAST
        if at not in self.config.positions:
            return {}
        return {
            kind: tuple(restored[kind, layer, at] for layer in range(self.n_layers))
            for kind in self.config.kinds
        }

    def _chunks(self, facts: Sequence[tuple[int, TracedFact]]) -> Iterator[list[TracedFact]]:
        for start in range(0, len(facts), self.config.rows):
            yield [fact for _, fact in facts[start : start + self.config.rows]]

    def _batch(self, facts: Sequence[TracedFact]) -> Batch:
        rows = [Tokens(fact.tokens.prompt, ()) for fact in facts]
        return pad(rows, self.tokenizer, self.config.padding)

    def _answers(self, facts: Sequence[TracedFact], batch: Batch) -> Tensor:
        """Run the model; return the probability of each row's answer: float32 [B] on the CPU."""
        logits = self.model(**batch.inputs(self.model), **self.extra).logits
        last = torch.zeros_like(batch.prompt_last) if self.extra else batch.prompt_last
        index = torch.arange(len(facts), device=logits.device)
        ends = torch.softmax(logits[index, last.to(logits.device)].float(), -1)
        answers = torch.tensor([fact.tokens.target[0] for fact in facts], device=logits.device)
        return ends[index, answers].cpu()

    def _module(self, kind: Kind, layer: int) -> nn.Module:
        block = self.parts.layers[layer]
        modules = {Kind.HIDDEN: block.block, Kind.MLP: block.mlp, Kind.ATTENTION: block.attention}
        return modules[kind]

    def _clean(
        self, facts: Sequence[TracedFact], keep: bool = False
    ) -> tuple[Tensor, dict[tuple[Kind, int], Caught], dict[tuple[int, Position], int]]:
        """Run without noise: probabilities, and with ``keep`` the states at all places."""
        batch = self._batch(facts)
        spots = [(row, at) for row, fact in enumerate(facts) for at in fact.places]
        pairs = [(row, facts[row].places[at] + int(batch.starts[row])) for row, at in spots]
        places = Places.of(pairs, len(facts))
        with ExitStack() as hooks:
            caught = {
                (kind, layer): hooks.enter_context(
                    catch(self._module(kind, layer), "output", places)
                )
                for kind in (self.config.kinds if keep else ())
                for layer in range(self.n_layers)
            }
            probabilities = self._answers(facts, batch)
        return probabilities, caught, {spot: number for number, spot in enumerate(spots)}

    def _spread(self, facts: Sequence[TracedFact]) -> float:
        """Return the standard deviation of the embeddings of all subjects' tokens."""
        device = next(self.parts.embedding.parameters()).device
        ids = [n for f in facts for n in f.tokens.prompt[f.span.first : f.span.last + 1]]
        states = self.parts.embedding(torch.tensor([ids], device=device))
        return float(states.float().std())

    def _trace_group(
        self,
        facts: Sequence[TracedFact],
        sigma: float,
        generator: torch.Generator,
    ) -> list[tuple[float, _Restored]]:
        """Trace facts together: per fact the corrupted probability, and the restored ones."""
        samples = self.config.samples
        width = int(self.parts.embedding(self._probe(facts[0])).shape[-1])
        # Drawn per fact and in order, so that the noise does not depend on how facts are grouped.
        noise = [
            sigma
            * torch.randn((samples, f.span.last - f.span.first + 1, width), generator=generator)
            for f in facts
        ]
        _, clean, numbers = self._clean(facts, keep=True)
        runs = [_Run(n, s) for n in range(len(facts)) for s in range(samples)]
        runs += [
            _Run(n, s, kind, layer, at)
            for n, fact in enumerate(facts)
            for kind in self.config.kinds
            for layer in range(self.n_layers)
            for at in fact.places
            for s in range(samples)
        ]
        low: list[list[float]] = [[] for _ in facts]
        restored: list[dict[_Where, list[float]]] = [{} for _ in facts]
        for start in range(0, len(runs), self.config.rows):
            part = runs[start : start + self.config.rows]
            found = self._corrupted(facts, part, noise, clean, numbers)
            for run, p in zip(part, found, strict=True):
                if run.kind is None:
                    low[run.fact].append(p)
                else:
                    where = (run.kind, run.layer, run.position)
                    restored[run.fact].setdefault(where, []).append(p)
        return [
            (float(np.mean(mine)), {where: float(np.mean(ps)) for where, ps in back.items()})
            for mine, back in zip(low, restored, strict=True)
        ]

    def _probe(self, fact: TracedFact) -> Tensor:
        device = next(self.parts.embedding.parameters()).device
        return torch.tensor([fact.tokens.prompt[:1]], device=device)

    def _corrupted(
        self,
        facts: Sequence[TracedFact],
        runs: Sequence[_Run],
        noise: Sequence[Tensor],
        clean: dict[tuple[Kind, int], Caught],
        numbers: dict[tuple[int, Position], int],
    ) -> list[float]:
        """Run rows with noise, each with its own state put back; the answers' probabilities."""
        mine = [facts[run.fact] for run in runs]
        batch = self._batch(mine)
        shaken = [
            (row, at + int(batch.starts[row]))
            for row, fact in enumerate(mine)
            for at in range(fact.span.first, fact.span.last + 1)
        ]
        values = torch.cat([noise[run.fact][run.sample] for run in runs])
        back: dict[tuple[Kind, int], list[tuple[int, int, int]]] = {}
        for row, run in enumerate(runs):
            if run.kind is None:
                continue
            width = 1 if run.kind is Kind.HIDDEN else self.window
            at = mine[row].places[run.position] + int(batch.starts[row])
            number = numbers[run.fact, run.position]
            for layer in window_around(run.layer, width, self.n_layers):
                back.setdefault((run.kind, layer), []).append((row, at, number))
        with ExitStack() as hooks:
            places = Places.of(shaken, len(runs))
            hooks.enter_context(add(self.parts.embedding, "output", places, values))
            for (kind, layer), spots in back.items():
                states = clean[kind, layer].last[[number for _, _, number in spots]]
                places = Places.of([(row, at) for row, at, _ in spots], len(runs))
                hooks.enter_context(replace(self._module(kind, layer), "output", places, states))
            probabilities: list[float] = self._answers(mine, batch).tolist()
        return probabilities
