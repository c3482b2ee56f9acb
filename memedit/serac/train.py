"""Both parts of SERAC in one folder: the counterfactual model, its scope classifier, a manifest."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import torch

from memedit.errors import InvalidInputError
from memedit.modeling.fingerprint import checkpoint_fingerprint, model_fingerprint
from memedit.modeling.loading import load_checkpoint
from memedit.modeling.loading_bar import without_loading_bar
from memedit.scope.base import Encoder
from memedit.scope.serac import FOLDER
from memedit.serac.counterfactual import Recipe, Tell, Trainer, rows_loss, said_exactly
from memedit.serac.cut import cut, keep
from memedit.serac.examples import Row, Rows, Taught, plain_rows
from memedit.serac.scope import (
    ScopeRecipe,
    own_pairs,
    scope_pairs,
    train_scope,
    tried,
    write_scope,
)

MANIFEST: Final = "manifest.json"
MODEL: Final = "model"
RUN: Final = "run"
LAYERS: Final = "layers.json"
FORMAT: Final = "memedit-serac-1"
_SAMPLE: Final = 64


def train_serac(
    taught: Sequence[Taught],
    trained_on: Sequence[Mapping[str, Any]],
    base: Path,
    out: Path,
    encoder: Encoder,
    recipe: Recipe,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Train both parts and write them; a run that was broken off goes on.

    A fifth of the subjects is kept out, and what comes of them stands in the manifest.

    Args:
        taught: what is learned.
        trained_on: format, file and SHA-256 of each file that it comes from, for the manifest.
        base: checkpoint folder; some of its layers are what is trained.
        out: folder to write: ``model``, ``scope`` and ``manifest.json``; while it trains, ``run``.
        encoder: whose vectors the scope classifier reads.
        recipe: how the counterfactual model is trained.
        tell: called with steps done and steps in all.

    Returns:
        The manifest.

    Raises:
        InvalidInputError: ``out`` holds a finished one, another run is under way there, or the data
            cannot be learned from.
        MissingResourceError: ``base`` is no checkpoint.

    """
    if (out / MANIFEST).exists():
        raise InvalidInputError(f"{out} holds a trained SERAC already; give another folder")
    training = [one for one in taught if not one.held_out]
    kept_out = [one for one in taught if one.held_out]
    scope_recipe = ScopeRecipe(seed=recipe.seed)
    learned = train_scope(scope_pairs(training), encoder, scope_recipe)  # soon wrong, soon said
    with without_loading_bar():
        model, tokenizer = load_checkpoint(base)
    about_base = {"fingerprint": model_fingerprint(model), "parameters": _size(model)}
    run = out / RUN
    _same_run(run, {"base": about_base, "trained_on": list(trained_on)})
    kept = _cut_once(run, model, tokenizer, training, recipe)
    recipe = replace(recipe, layers=len(kept))
    trainer = Trainer(model, tokenizer, training, recipe, run)
    trainer.train(tell)
    model = model.to(torch.bfloat16)
    rows = plain_rows(kept_out, trainer.form is not None)
    with without_loading_bar():
        model.save_pretrained(_fresh(out / MODEL))
    tokenizer.save_pretrained(out / MODEL)
    record: dict[str, Any] = {
        "format": FORMAT,
        "trained_on": list(trained_on),
        "edits": len(training),
        "base": about_base,
        "layers": kept,
        "parameters": _size(model),
        "fingerprint": checkpoint_fingerprint(out / MODEL),
        "recipe": asdict(recipe),
        "encoder": learned.encoder,
        "held_out": {
            "edits": len(kept_out),
            "answers": {"n": len(rows), "exact": said_exactly(model.float(), tokenizer, rows)},
            "scope": tried(learned, own_pairs(kept_out), encoder),
        },
    }
    write_scope(
        _fresh(out / FOLDER),
        learned,
        scope_recipe,
        {"trained_on": record["trained_on"], "held_out": record["held_out"]["scope"]},
    )
    (out / MANIFEST).write_text(_document(record), encoding="utf-8")  # last: all else is there
    shutil.rmtree(run)
    return record


def _cut_once(
    run: Path, model: Any, tokenizer: Any, training: Sequence[Taught], recipe: Recipe
) -> list[int]:
    """Leave layers out, the same ones when a run goes on; return the numbers of those kept."""
    file = run / LAYERS
    if file.exists():
        chosen = [int(number) for number in json.loads(file.read_text(encoding="utf-8"))]
        if recipe.layers in (None, len(chosen)):
            keep(model, chosen)
            return chosen
    rows = _sample(training, tokenizer, recipe.seed)
    kept = list(cut(model, recipe.layers, lambda: rows_loss(model, tokenizer, rows)))
    file.write_text(json.dumps(kept), encoding="utf-8")
    return kept


def _sample(taught: Sequence[Taught], tokenizer: Any, seed: int) -> list[Row]:
    """Return a few short rows, by which layers are chosen."""
    can_chat = bool(getattr(tokenizer, "chat_template", None))
    drawn = Rows(taught, tokenizer, can_chat, seed).drawn(-1, 4 * _SAMPLE)
    return sorted(drawn, key=lambda row: len(row.text))[:_SAMPLE]


def _same_run(run: Path, about: dict[str, Any]) -> None:
    """Refuse a run that was begun with other data or another base.

    Raises:
        InvalidInputError: it was.

    """
    run.mkdir(parents=True, exist_ok=True)
    file = run / "about.json"
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != about:
        raise InvalidInputError(
            f"{run} was begun with other data or another base; give the same, or another --out"
        )
    file.write_text(_document(about), encoding="utf-8")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _size(model: torch.nn.Module) -> int:
    return sum(one.numel() for one in model.parameters())


def _document(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
