from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.errors import DatasetError, InvalidInputError
from memedit.evaluation.analysis.analyse import analyse
from memedit.evaluation.analysis.facts import Asked
from memedit.evaluation.analysis.locating import located, own_answers
from memedit.evaluation.analysis.record import Analysis
from memedit.evaluation.cases import EditCase, Metric, Probe
from memedit.modeling.architecture import architecture
from memedit.modeling.delta import LowRank, WeightDelta
from memedit.modeling.trace import Position
from memedit.modeling.tracing import TraceConfig
from memedit.types import EditRequest
from tests.evaluation.report.run_folder import found_out
from tests.modeling.families import LAYERS, tiny_model, tiny_tokenizer


class OneColumn:
    """Writes the first target token's own direction into one column of one value matrix."""

    def __init__(self, layer: int = 1, column: int = 5) -> None:
        self.layer, self.column = layer, column

    def edit(self, model: Any, tokenizer: Any, requests: Any) -> WeightDelta:
        if requests[0].target_new == "refuse":
            raise InvalidInputError("this editor refuses")
        parts = architecture(model)
        down = parts.layers[self.layer].down
        token = tokenizer.encode(" " + requests[0].target_new, add_special_tokens=False)[0]
        direction = 50 * parts.unembedding.weight[token].detach().float()[:, None]
        where = torch.zeros(1, down.as_out_in().shape[1])
        where[0, self.column] = 1.0
        rank_one = LowRank(direction, where)
        if down.transposed:
            rank_one = LowRank(where.T, direction.T)
        return WeightDelta({down.name: rank_one})


def case(name: str, subject: str, relation: str, target: str = "Paris") -> EditCase:
    request = EditRequest(
        prompt=f"The {relation} of {subject} is", subject=subject, target_new=target
    )
    probe = Probe(Metric.GENERALITY, "", f"{subject} has the {relation}", (target,))
    return EditCase(name, "zsre", (request,), (probe,), relation=relation)


CASES = [
    case("a", "France", "capital"),
    case("b", "Lyon", "capital"),
    case("c", "France", "river", "Rome"),
    case("d", "Lyon", "flag", "refuse"),
]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_an_edit_of_one_column_is_seen_as_one(family: str) -> None:
    model, tokenizer = tiny_model(family), tiny_tokenizer()
    before = {name: p.clone() for name, p in model.named_parameters()}
    done: list[tuple[int, int]] = []
    found = analyse(
        model,
        tokenizer,
        CASES,
        editors={"rome": OneColumn()},
        progress=lambda n, of: done.append((n, of)),
    )
    assert all(torch.equal(before[name], p) for name, p in model.named_parameters())
    assert done == [(n, 4) for n in (1, 2, 3, 4)]
    assert found.notes == ("d was not edited by rome: this editor refuses",)
    assert [one.case for one in found.changed] == ["a", "b", "c"]
    name = architecture(model).layers[1].down.name
    for one in found.changed:
        assert one.parameter == name
        assert one.rows == 32, "value vectors are columns, however the parameter is stored"
        assert one.columns_for_90 == 1
        assert one.exact_zero == pytest.approx(1 - 1 / one.columns)
    assert [bool(one.heat) for one in found.changed] == [True, False, False]
    for one in found.mapped:
        assert (one.columns[0].index, one.columns[0].share) == (5, 1.0)
        assert one.after[0] == 1, "the target's first token now leads its column"
        assert one.hit(10, after=True) >= one.hit(10, after=False)
    # All edits have the same strongest column: Sim_all is 1, and RSim has no meaning.
    first = next(one for one in found.similar if one.k == 1)
    assert first.units == f"columns (rome, {name})" and first.rsim is None


def test_models_that_project_before_the_unembedding_are_looked_at_as_far_as_it_goes() -> None:
    model = tiny_model("opt_350m")

    class Nudge:
        def edit(self, model: Any, tokenizer: Any, requests: Any) -> WeightDelta:
            down = architecture(model).layers[0].down
            return WeightDelta({down.name: torch.ones_like(down.weight).detach()})

    found = analyse(model, tiny_tokenizer(), CASES[:1], editors={"ft": Nudge()})
    assert found.changed and not found.mapped
    assert "projects its residual stream" in found.notes[0]


def test_facts_are_traced_where_the_model_is_sure() -> None:
    model, tokenizer = tiny_model("llama"), tiny_tokenizer()
    facts = [
        Asked("a", "edit", "The capital of France is", "France", "capital"),
        Asked("b", "edit", "Lyon has", "Lyon", "river"),
    ]
    own = own_answers(model, tokenizer, [fact.prompt for fact in facts])
    [alone] = own_answers(model, tokenizer, [facts[1].prompt])
    assert own[1] == alone, "an answer does not depend on its batch"
    sure = TraceConfig(positions=(Position.SUBJECT_LAST,), threshold=0.0, samples=1)
    found, left_out = located(model, tokenizer, facts, config=sure)
    assert len(found) + len(left_out) == 2
    for one in found:
        assert set(one.restored) == {"hidden", "mlp", "attention"}
        assert all(len(values) == LAYERS for values in one.restored.values())
        assert one.effect("mlp")[0] == pytest.approx(one.restored["mlp"][0] - one.corrupted)
    never = TraceConfig(positions=(Position.SUBJECT_LAST,), threshold=1.01)
    none, why = located(model, tokenizer, facts, config=never)
    assert none == []
    assert "No fact was traced" in why[-1] and "not known" in why[-1]


def test_an_analysis_is_read_as_it_was_written(tmp_path: Path) -> None:
    found = found_out()
    path = found.save(tmp_path)
    assert Analysis.load(tmp_path) == found
    record = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(DatasetError, match="format 99, expected 1"):
        Analysis.load(tmp_path)
    path.unlink()
    assert Analysis.load(tmp_path) is None
