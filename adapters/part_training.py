"""Training what REMEDI and Language Patches have for all edits: a map, and a gate.

Both learn from edits with prompts; what is kept out is tried afterwards, and stands in the part's
record.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from memedit.adapters.grading import grade, parts, prompt_states
from memedit.adapters.language_patches import METHOD as LANGUAGE_PATCHES
from memedit.adapters.learned import Progress
from memedit.adapters.patch_gate import STEPS, Gate, train_gate
from memedit.adapters.remedi import Remedi
from memedit.adapters.remedi_map import MapRecipe, Placed, encode_edits, placed, train_map
from memedit.adapters.trained_parts import TrainedPart
from memedit.errors import InvalidInputError
from memedit.modeling.architecture import architecture
from memedit.modeling.fingerprint import model_fingerprint
from memedit.modeling.forms import PromptForm
from memedit.modeling.hooks import Places, add
from memedit.modeling.tokens import encode_prompt, encode_taught, pad
from memedit.types import EditRequest

AT_ONCE = 64
"""Prompts of one forward."""


@dataclass(frozen=True, slots=True)
class Example:
    """An edit with prompts that it answers, and prompts that it leaves alone."""

    request: EditRequest
    inside: tuple[str, ...] = ()
    """Other wordings of its prompt."""
    outside: tuple[str, ...] = ()
    held_out: bool = False
    """Not trained on, but tried afterwards."""


def train_remedi(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    trained_on: Sequence[Mapping[str, Any]],
    progress: Progress,
    *,
    layer: int | None = None,
    recipe: MapRecipe | None = None,
    form: PromptForm | None = None,
) -> TrainedPart:
    """Train REMEDI's map; edits whose prompts do not hold their subjects are left out.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        examples: edits.
        trained_on: the files that they come from, for the record.
        progress: called with (steps done, in all).
        layer: to whose output directions are added; left out, REMEDI's own default.
        recipe: how it is trained.
        form: how prompts are put to the model.

    Raises:
        InvalidInputError: there is nothing to train on.
        DivergedError: a loss was no number.

    """
    layers = architecture(model).layers
    chosen = Remedi().default_layer(len(layers)) if layer is None else layer
    block = architecture(model).layer(chosen).block
    recipe = recipe or MapRecipe()
    training: list[Placed] = []
    tried: list[Placed] = []
    without = 0
    for one in examples:
        tokens = encode_taught(tokenizer, one.request, form, None, False)
        try:
            found = placed(tokenizer, one.request, tokens, form)
        except InvalidInputError:
            without += 1
            continue
        (tried if one.held_out else training).append(found)
    trained = train_map(model, tokenizer, chosen, training, recipe, progress)
    said = before = 0
    if tried:
        encoded = encode_edits(model, tokenizer, block, tried, AT_ONCE)
        vectors = trained.directions(encoded.attributes.cpu())
        for part in parts(range(len(tried)), AT_ONCE):
            batch = pad([tried[n].tokens for n in part], tokenizer)
            at = Places.one_per_row([tried[n].subject for n in part])
            with torch.no_grad():
                before += int(grade(model, batch).learned.sum())
                with add(block, "output", at, vectors[part]):
                    said += int(grade(model, batch).learned.sum())
    record = {
        "trained_on": list(trained_on),
        "edits": len(training),
        "without_subject": without,
        "recipe": asdict(recipe),
        "held_out": {"n": len(tried), "said": said, "said_before": before},
    }
    tensors = {"weight": trained.weight, "bias": trained.bias}
    return TrainedPart("remedi", model_fingerprint(model), chosen, tensors, record)


def train_language_patches(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    trained_on: Sequence[Mapping[str, Any]],
    progress: Progress,
    *,
    layer: int | None = None,
    steps: int = STEPS,
    form: PromptForm | None = None,
) -> TrainedPart:
    """Train the gate of Language Patches.

    Args:
        model: a transformers causal language model.
        tokenizer: its tokenizer.
        examples: edits with other wordings and with prompts out of their scope.
        trained_on: the files that they come from, for the record.
        progress: called with (steps done, in all).
        layer: whose states the gate compares; left out, the middle one.
        steps: batches.
        form: how prompts are put to the model.

    Raises:
        InvalidInputError: there are no other wordings, or no prompts out of scope.

    """
    layers = architecture(model).layers
    chosen = len(layers) // 2 if layer is None else layer
    block = architecture(model).layer(chosen).block
    texts = dict.fromkeys(
        text for one in examples for text in (one.request.prompt, *one.inside, *one.outside)
    )
    rows = [encode_prompt(tokenizer, text, form).ids for text in texts]
    states = prompt_states(model, tokenizer, block, "output", rows, AT_ONCE).cpu()
    place = {text: number for number, text in enumerate(texts)}
    training = [one for one in examples if not one.held_out]
    inside = [(place[t], n) for n, one in enumerate(training) for t in one.inside]
    outside = [(place[t], n) for n, one in enumerate(training) for t in one.outside]
    gate = train_gate(
        states[[place[one.request.prompt] for one in training]],
        states[[at for at, _ in inside]],
        [n for _, n in inside],
        states[[at for at, _ in outside]],
        [n for _, n in outside],
        progress,
        steps=steps,
    )
    held_out = [one for one in examples if one.held_out]
    record = {
        "trained_on": list(trained_on),
        "edits": len(training),
        "steps": steps,
        "held_out": _tried(gate, held_out, states, place),
    }
    tensors = {"projection": gate.projection, "mean": gate.mean, "line": gate.line}
    return TrainedPart(LANGUAGE_PATCHES, model_fingerprint(model), chosen, tensors, record)


def _tried(
    gate: Gate, examples: Sequence[Example], states: Tensor, place: Mapping[str, int]
) -> dict[str, dict[str, int]]:
    """Count on which prompts of each kind the gate of their own edit opens."""
    kinds = {"own": [0, 0], "inside": [0, 0], "outside": [0, 0]}
    for one in examples:
        condition = states[[place[one.request.prompt]]]
        asked = {"own": (one.request.prompt,), "inside": one.inside, "outside": one.outside}
        for kind, texts in asked.items():
            if texts:
                opened = gate.logits(states[[place[text] for text in texts]], condition) >= 0
                kinds[kind][0] += len(texts)
                kinds[kind][1] += int(opened.sum())
    return {kind: {"n": n, "opens": opens} for kind, (n, opens) in kinds.items()}
