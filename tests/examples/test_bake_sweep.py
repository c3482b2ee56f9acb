"""The sweep asks every edit's own model, edits as the methods do, and keeps what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from examples import bake_sweep
from examples.bake_sweep import Bench, cases_of
from memedit.editing.catalog import open_editor
from memedit.editing.statistics import Statistics
from memedit.engine.loading import load_model
from memedit.modeling.delta import WeightDelta

QUICK = {"contexts": 0, "search": {"steps": 3, "clamp": 1.0}}


@pytest.fixture
def bench(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(bake_sweep, "MOST_TOKENS", 6)
    monkeypatch.setattr(bake_sweep, "ROWS", 5)
    loaded = load_model(tiny_checkpoint, dtype="float32", device="cpu")
    return Bench(loaded.model, loaded.tokenizer, cases_of("atlasedit", "train", 3))


def noisy(bench: Bench, seed: int) -> WeightDelta:
    """Return a change that no answer survives."""
    draw = torch.Generator().manual_seed(seed)
    name = "model.layers.1.mlp.down_proj.weight"
    shape = dict(bench.model.named_parameters())[name].shape
    return WeightDelta({name: torch.randn(shape, generator=draw)})


def test_every_row_is_answered_by_its_own_edited_model(bench: Bench) -> None:
    deltas = [noisy(bench, 1), None, noisy(bench, 3)]
    together = bench.answers(deltas)
    for owner, delta in enumerate(deltas):
        if delta is None:
            alone = bench.answers()
        else:
            with delta.applied(bench.model):
                alone = bench.answers()
        mine = [n for n, (whose, _) in enumerate(bench.asked) if whose == owner]
        assert mine and [together[n] for n in mine] == [alone[n] for n in mine]
        changed = [together[n] != bench.before[n] for n in mine]
        assert any(changed) is (delta is not None)


def test_edits_are_those_that_the_method_makes_alone(bench: Bench) -> None:
    quick = {"layer": 0, **QUICK}  # from the last layer nothing reaches the answer
    statistics = Statistics(texts=8, tokens=8)
    for name in ("r-rome", "emmet"):
        editor = open_editor(name, quick, prompt_form=bench.form, statistics=statistics)
        editor = editor.resolved(bench.model, bench.tokenizer)
        found = bench.deltas(editor)
        fresh = open_editor(name, quick, prompt_form=bench.form, statistics=statistics)
        for request, delta in zip(bench.requests, found, strict=True):
            alone = fresh.edit(bench.model, bench.tokenizer, [request])
            assert delta is not None
            [parameter] = alone.names()
            near = (delta.dense(parameter) - alone.dense(parameter)).norm()
            assert float(near) < 1e-2 * float(alone.dense(parameter).norm())
    assert len(bench._found) == 1, "both search the same values"


def test_what_was_measured_is_kept(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bake_sweep, "MOST_TOKENS", 2)
    log = tmp_path / "log.jsonl"
    given = ["--model", str(tiny_checkpoint), "--limit", "3", "--log", str(log)]
    bake_sweep.main([*given, "--method", "ceiling,ft-m:layer=1:steps=2"])
    ceiling, tuned = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert ceiling["edit_success"] == 0.0 and tuned["method"] == "ft-m:layer=1:steps=2"
    assert 0 <= tuned["Out_Of_Distribution"] <= 1
    monkeypatch.setattr(bake_sweep, "load_model", None)
    bake_sweep.main([*given, "--method", "ft-m:layer=1:steps=2"])
    assert json.loads(capsys.readouterr().out) == tuned
