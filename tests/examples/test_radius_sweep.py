"""The sweep over radii: placing edits anew is what learning them with that radius does."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from examples.radius_sweep import Bench, drawn, learned, place, swept, told
from memedit.adapters.catalog import open_adapter
from memedit.adapters.grace import Grace
from memedit.adapters.melo import Melo
from memedit.cli.eval_parts import prompt_form
from memedit.cli.variants import Variant
from memedit.errors import SettingsError
from memedit.evaluation.local import LocalModel
from memedit.evaluation.rows import rows
from memedit.modeling.delta import EditVersion
from tests.evaluation.toy_facts import CASES
from tests.modeling.families import tiny_model, tiny_tokenizer

QUICK: dict[str, dict[str, Any]] = {  # what is learned need not be much, where it is placed counts
    "grace": {"layer": 1, "search": {"steps": 5}},
    "melo": {"layer": 0, "training": {"steps": 5}},
}


@pytest.fixture(scope="module")
def bench() -> Bench:
    return Bench(LocalModel(tiny_model("llama"), tiny_tokenizer(), name="tiny"), CASES[:3])


def table_of(adapter: Grace | Melo) -> Any:
    kept = adapter.codebook if isinstance(adapter, Grace) else adapter.clusters
    assert kept is not None
    return kept.table()


@pytest.mark.parametrize("kind", ["grace", "melo"])
def test_placing_anew_is_learning_with_that_radius(bench: Bench, kind: str) -> None:
    adapter = learned(bench, Variant(kind, kind, QUICK[kind]))
    place(bench, adapter, 0.6)
    kept: Any = adapter.codebook if isinstance(adapter, Grace) else adapter.clusters
    model, tokenizer = bench.model.model, bench.model.tokenizer
    settings = {**QUICK[kind], "radius": kept.radius}
    other: Any = open_adapter(kind, settings, prompt_form=prompt_form(bench.model))
    for one, request in zip(bench.ids, bench.requests, strict=True):
        other.learn(model, tokenizer, [request], edits=[EditVersion(one, 1)])
    here, there = table_of(adapter), table_of(other)
    keys = "keys" if kind == "grace" else "centres"
    assert torch.allclose(getattr(here, keys), getattr(there, keys), atol=1e-4)
    assert torch.allclose(here.radii, there.radii, atol=1e-3)


def test_a_classifier_in_front_asks_for_the_edit_that_it_names(bench: Bench) -> None:
    first = [probe.metric.value == "edit_success" for _, probe in bench.asked]
    own = {id(request): one for request, one in zip(bench.requests, bench.ids, strict=True)}
    named = [
        own[id(case.requests[0])] if yes else None
        for (case, _), yes in zip(bench.asked, first, strict=True)
    ]
    variant = Variant("melo", "melo", QUICK["melo"])
    found = swept(bench, variant, [0.01], {"right": named}, lambda text: None)
    summed = {(row.setting, row.metric): row.value for row in rows(found)}
    assert summed["behind right", "edit_success"] == summed["alone|0.01", "edit_success"]
    assert summed["behind right", "locality"] == 1.0
    assert summed["right and radius|0.01", "edit_success"] == summed["behind right", "edit_success"]
    assert told(rows(found)).row_count == 4 and drawn(rows(found)).axes
    with pytest.raises(SettingsError, match="calinet has no radius"):
        learned(bench, Variant("calinet", "calinet"))
