"""Trains SERAC's scope classifier: which prompts ask what an edit asks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from memedit.errors import InvalidInputError
from memedit.scope.base import Encoder
from memedit.scope.calibration import family
from memedit.scope.query import head
from memedit.scope.serac import SETTINGS, WEIGHTS, SeracHead, hidden
from memedit.serac.examples import Taught

THRESHOLD = 0.5
"""The paper's: in scope is what is more probably so than not."""


@dataclass(frozen=True, slots=True)
class ScopeRecipe:
    """How to train; half of a batch is in scope."""

    steps: int = 600
    batch: int = 512
    rate: float = 3e-3
    decay: float = 1e-2
    width: int = 128
    """Rows of the projection."""
    seed: int = 7


@dataclass(frozen=True, slots=True)
class ScopePair:
    """A prompt beside an edit, the subject hidden in both."""

    prompt: str
    edit: str
    coverage: float
    """How much of the subject's name the prompt has, in (0, 1]."""
    in_scope: bool


def scope_pairs(taught: Sequence[Taught]) -> list[ScopePair]:
    """Pair edits with prompts, each pair once.

    What is in scope of one edit, or out of it, is so for every edit of its relation: the subject is
    hidden.  Prompts that do not name the subject are out of scope without being learned.
    """
    groups: dict[str, list[Taught]] = {}
    for one in taught:
        groups.setdefault(one.relation or f"\n{one.request.prompt}", []).append(one)
    pairs: dict[tuple[str, str, float], ScopePair] = {}
    for group in groups.values():
        edits = dict.fromkeys(_edit(one) for one in group)
        inside = dict.fromkeys(_hidden(one, (asked.prompt for asked in one.asked)) for one in group)
        outside = dict.fromkeys(_hidden(one, one.unrelated) for one in group)
        for in_scope, sets in ((False, outside), (True, inside)):
            for prompt, coverage in dict.fromkeys(one for texts in sets for one in texts):
                for edit in edits:
                    pair = ScopePair(prompt, edit, coverage, in_scope)
                    pairs[prompt, edit, coverage] = pair
    return list(pairs.values())


def own_pairs(taught: Sequence[Taught]) -> list[ScopePair]:
    """Pair each edit with its own prompts alone, but not with itself: to try what was learned."""
    return [
        ScopePair(prompt, _edit(one), coverage, in_scope)
        for one in taught
        for in_scope, texts in (
            (True, [asked.prompt for asked in one.asked[1:]]),
            (False, list(one.unrelated)),
        )
        for prompt, coverage in _hidden(one, texts)
    ]


def _edit(one: Taught) -> str:
    found = hidden(one.request.prompt, one.request)
    return head(one.request.prompt) if found is None else found[0]


def _hidden(one: Taught, prompts: Iterable[str]) -> tuple[tuple[str, float], ...]:
    found = (hidden(text, one.request) for text in prompts)
    return tuple(dict.fromkeys(one for one in found if one is not None))


def train_scope(
    pairs: Sequence[ScopePair], encoder: Encoder, recipe: ScopeRecipe | None = None
) -> SeracHead:
    """Learn the projection in which what is in scope is near; a minute or two, on one core.

    Raises:
        InvalidInputError: there are no pairs of one kind.

    """
    recipe = recipe or ScopeRecipe()
    places = [[i for i, one in enumerate(pairs) if one.in_scope is kind] for kind in (True, False)]
    if not all(places):
        raise InvalidInputError(
            f"got {len(places[0])} prompts in scope and {len(places[1])} out of it that name their "
            "edit's subject; the classifier needs both, so use a data set with locality probes"
        )
    vectors, left, right = _vectors(pairs, encoder)
    lacks = torch.tensor([1.0 - one.coverage for one in pairs])
    draw = torch.Generator().manual_seed(recipe.seed)
    projection = nn.Parameter(_start(recipe.width, encoder.dim, draw))
    missing = nn.Parameter(torch.tensor(1.0))
    optimizer = torch.optim.AdamW([projection, missing], lr=recipe.rate, weight_decay=recipe.decay)
    sides = [torch.tensor(one) for one in places]
    for step in range(recipe.steps):
        half = recipe.batch // 2
        inside, outside = (one[torch.randint(len(one), (half,), generator=draw)] for one in sides)
        chosen = torch.cat([inside, outside])
        apart = (vectors[left[chosen]] - vectors[right[chosen]]) @ projection.T
        distance = apart.square().sum(1) + functional.softplus(missing) * lacks[chosen]
        distance = distance.clamp(min=1e-4)
        # -log p where p is to be 1, -log (1 - p) where it is to be 0, with p = exp(-distance)
        loss = (distance[:half].sum() - torch.log(-torch.expm1(-distance[half:])).sum()) / half
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * (1 - step / recipe.steps)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    learned = np.ascontiguousarray(projection.detach().numpy(), dtype=np.float32)
    lack = float(functional.softplus(missing.detach()))
    return SeracHead(learned, lack, THRESHOLD, family(encoder.fingerprint))


def _vectors(pairs: Sequence[ScopePair], encoder: Encoder) -> tuple[Tensor, Tensor, Tensor]:
    """Encode every text once; return the vectors ``[n, dim]`` and the places of both sides."""
    texts: dict[str, int] = {}
    for one in pairs:
        for text in (one.prompt, one.edit):
            texts.setdefault(text, len(texts))
    vectors = torch.from_numpy(np.array(encoder.encode(list(texts))))
    left = torch.tensor([texts[one.prompt] for one in pairs])
    return vectors, left, torch.tensor([texts[one.edit] for one in pairs])


def _start(width: int, dim: int, draw: torch.Generator) -> Tensor:
    matrix = torch.empty(width, dim)
    nn.init.orthogonal_(matrix, gain=1.5, generator=draw)
    return matrix


def tried(learned: SeracHead, pairs: Sequence[ScopePair], encoder: Encoder) -> dict[str, Any]:
    """Return which shares of pairs fire, and how many there are of them."""
    found: dict[str, Any] = {}
    for name, kind in (("in_scope", True), ("out_of_scope", False)):
        chosen = [one for one in pairs if one.in_scope is kind]
        fired = 0
        if chosen:
            vectors, left, right = _vectors(chosen, encoder)
            projection = torch.from_numpy(learned.projection)
            distances = ((vectors[left] - vectors[right]) @ projection.T).square().sum(1)
            fired = sum(
                learned.probability(float(distance), one.coverage) >= learned.threshold
                for one, distance in zip(chosen, distances, strict=True)
            )
        share = round(fired / len(chosen), 4) if chosen else None
        found[name] = {"n": len(chosen), "fires": share}
    return found


def write_scope(
    folder: Path, learned: SeracHead, recipe: ScopeRecipe, record: dict[str, Any]
) -> None:
    """Write the classifier into an empty folder; ``record`` is what else stands in its file."""
    save_file({"projection": learned.projection}, folder / WEIGHTS)
    settings = {
        "threshold": learned.threshold,
        "missing": learned.missing,
        "encoder": learned.encoder,
        "recipe": asdict(recipe),
        **record,
    }
    text = json.dumps(settings, indent=1, ensure_ascii=False) + "\n"
    (folder / SETTINGS).write_text(text, encoding="utf-8")
