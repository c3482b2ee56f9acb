"""Trains both stages of PokeMQA's scope detector and writes them into one folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file

from memedit.errors import InvalidInputError
from memedit.scope.base import Encoder, Vectors
from memedit.scope.calibration import family
from memedit.scope.checkpoint import Checkpoint
from memedit.scope.pair_weights import write_weights
from memedit.scope.pokemqa import DISAMBIGUATOR, SETTINGS, TOKENIZER, PokemqaScope, fingerprint
from memedit.scope.predetector import FILE
from memedit.scope.training.facts import Fact
from memedit.scope.training.fine_tune import Recipe, fine_tune, write_pairs
from memedit.scope.training.predetect import NearRecipe, train_predetector
from memedit.scope.training.scope_data import Known, disambiguator_pairs, split_facts
from memedit.scope.training.trials import measured, settled, trials_of

FORMAT: Final = "memedit-pokemqa-1"
RUN: Final = "run"
_ENCODED_AT_ONCE: Final = 512

Tell = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PokemqaRecipe:
    """How to train both stages."""

    near: NearRecipe = field(default_factory=NearRecipe)
    pairs: Recipe = field(default_factory=lambda: Recipe(600, 1, batch=24, warmup=15))
    """Of the cross-encoder, fine-tuned as that of ``pair`` is."""
    false_alarms: float = 0.01
    """Share of the validation prompts that none should fire on and one may."""


def train_pokemqa(
    facts: Sequence[Fact],
    trained_on: Sequence[Mapping[str, Any]],
    out: Path,
    encoder: Encoder,
    base: Checkpoint,
    recipe: PokemqaRecipe | None = None,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Train, choose the settings on the validation split, measure; goes on where it broke off.

    A fifth of the subjects is kept out, and what comes of them stands in the record.

    Args:
        facts: what is learned: prompts that are in scope of edits, and such as are not.
        trained_on: format, file and SHA-256 of each file that they come from, for the record.
        out: folder to write; while it trains, ``out/run``.
        encoder: whose vectors the first stage projects.
        base: the BERT that the second stage is made of.
        recipe: how.
        tell: called with texts encoded and texts in all.

    Returns:
        The record: what stands in ``pokemqa.json``.

    Raises:
        InvalidInputError: ``out`` holds a finished one, another run is under way there, or the data
            cannot be learned from.

    """
    recipe = recipe or PokemqaRecipe()
    if (out / SETTINGS).exists():
        raise InvalidInputError(f"{out} holds a trained detector already; give another folder")
    split = split_facts(facts)
    questions = sum(len(one.questions) for one in split.train)
    if questions * 2 < recipe.pairs.batch:
        raise InvalidInputError(
            f"got {questions} questions to train on; expected half a batch, "
            f"{recipe.pairs.batch // 2}, at least. Give more data"
        )
    run = out / RUN
    about = {"trained_on": list(trained_on), "facts": _digest(facts),
             "encoder": encoder.fingerprint, "recipe": asdict(recipe)}  # fmt: skip
    _same_run(run, about)
    vectors = _encoded(split.train, encoder, run / "vectors.safetensors", tell)
    near = train_predetector(split.train, vectors, recipe.near)
    pairs = recipe.pairs.steps * recipe.pairs.batch
    if not (run / "pairs.json").exists():
        write_pairs(
            run / "pairs.json", disambiguator_pairs(split.train, pairs, recipe.pairs.seed)[:pairs]
        )
    fine_tune(run, base.folder, recipe.pairs)
    made = run / "made"
    made.mkdir(exist_ok=True)
    near.write(made)
    _export(run / "state.pt", base, made)
    record: dict[str, Any] = {
        "format": FORMAT,
        "encoder": family(encoder.fingerprint),
        "fingerprint": fingerprint(made),
        # all stay, until it is known which should
        "stays": 0.0, "slope": 1.0, "intercept": 0.0, "threshold": 0.5,
    }  # fmt: skip
    trials = trials_of(split.validation, encoder)
    chosen = settled(_opened(made, record, encoder), trials, recipe.false_alarms)
    for name in ("stays", "slope", "intercept", "threshold"):
        record[name] = round(getattr(chosen, name), 6)
    detector = _opened(made, record, encoder)
    record |= {
        "trained_on": list(trained_on),
        "recipe": asdict(recipe),
        "edits": {name: len(getattr(split, name)) for name in ("train", "validation", "held_out")},
        "validation": measured(detector, trials),
        "held_out": measured(detector, trials_of(split.held_out, encoder)),
    }
    for file in (FILE, DISAMBIGUATOR, TOKENIZER):
        (made / file).replace(out / file)
    # last: with it the folder is whole
    (out / SETTINGS).write_text(_document(record), encoding="utf-8")
    shutil.rmtree(run)
    return record


def _opened(folder: Path, record: Mapping[str, Any], encoder: Encoder) -> PokemqaScope:
    (folder / SETTINGS).write_text(_document(record), encoding="utf-8")
    return PokemqaScope(encoder, folder)


def _encoded(
    known: Sequence[Known], encoder: Encoder, file: Path, tell: Tell | None
) -> dict[str, Vectors]:
    """Return the vector of every question and edit; they are kept in a file for a run that goes on.

    Args:
        known: whose texts.
        encoder: encodes them.
        file: read if it is there, else written.
        tell: called with (done, in all).

    """
    texts = list(dict.fromkeys(text for one in known for text in (one.edit, *one.questions)))
    if not file.exists():
        rows = np.empty((len(texts), encoder.dim), np.float32)
        for first in range(0, len(texts), _ENCODED_AT_ONCE):
            part = texts[first : first + _ENCODED_AT_ONCE]
            rows[first : first + len(part)] = encoder.encode(part)
            if tell is not None:
                tell(first + len(part), len(texts))
        part_written = file.with_suffix(".part")
        save_file({"vectors": rows}, part_written)
        part_written.replace(file)
    return dict(zip(texts, load_file(file)["vectors"], strict=True))


def _export(state: Path, base: Checkpoint, folder: Path) -> None:
    """Write the weights of a training state and their tokenizer."""
    weights: dict[str, npt.NDArray[np.float32]] = {
        name.removeprefix("bert."): value.float().numpy()
        for name, value in torch.load(state, weights_only=True)["model"].items()
        if "position_ids" not in name
    }
    write_weights(folder / DISAMBIGUATOR, base.config, weights)
    shutil.copyfile(base.tokenizer, folder / TOKENIZER)


def _digest(facts: Sequence[Fact]) -> str:
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _same_run(run: Path, about: Mapping[str, Any]) -> None:
    """Refuse a run that was begun with other data, another encoder or another recipe.

    Raises:
        InvalidInputError: it was.

    """
    run.mkdir(parents=True, exist_ok=True)
    file = run / "about.json"
    if file.exists() and file.read_text(encoding="utf-8") != _document(about):
        raise InvalidInputError(
            f"{run} was begun with other data, another encoder or another recipe; give the same, "
            "or another --out"
        )
    file.write_text(_document(about), encoding="utf-8")


def _document(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"
