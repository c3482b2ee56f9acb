"""Weights under evaluation: changed for a while, and then as they were, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from memedit.errors import InvalidInputError
from memedit.evaluation.local import LocalModel
from memedit.evaluation.settings import Mode
from memedit.evaluation.treatments import Baked, Plain
from memedit.modeling.delta import WeightDelta
from memedit.types import EditRequest
from tests.evaluation.toy_facts import CASES

NAMES = ("model.layers.0.mlp.down_proj.weight", "model.layers.1.mlp.down_proj.weight")
EDITS = [case.requests for case in CASES[:4]]


class Shake:
    """Changes one of two matrices at random, by how many edits it was called for."""

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.seen: list[float] = []
        self.after: list[int] = []

    def edit(
        self,
        model: Any,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        *,
        after: Sequence[Any] = (),
    ) -> WeightDelta:
        self.after.append(len(after))
        self.calls.append(len(requests))
        name = NAMES[len(self.calls) % 2]
        weight = model.get_parameter(name)
        self.seen.append(float(weight.detach().float().sum()))
        generator = torch.Generator().manual_seed(len(self.calls))
        change = torch.randn(weight.shape, generator=generator) * 0.3
        return WeightDelta({name: change}, keys={name: torch.ones(weight.shape[1], 1)})


@pytest.fixture
def model(tiny_checkpoint: Path) -> LocalModel:
    return LocalModel.load(tiny_checkpoint, dtype="bfloat16", device="cpu")


def bits(model: LocalModel) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in model.model.parameters()]


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_blocks_nest_and_leave_every_bit(model: LocalModel) -> None:
    before = bits(model)
    treatment = Baked("shake", Shake(), model)
    with treatment.edited(EDITS[0]) as outer:
        once = bits(model)
        assert outer is model and not same(before, once)
        with treatment.edited(EDITS[1]):
            assert not same(once, bits(model))
        assert same(once, bits(model))
    assert same(before, bits(model))
    assert treatment.cost.edits == 2
    assert treatment.cost.seconds > 0 and treatment.cost.added_bytes is not None


@pytest.mark.parametrize(("mode", "calls"), [(Mode.BATCH, [4]), (Mode.SEQUENTIAL, [1, 1, 1, 1])])
def test_a_session_edits_as_its_setting_says(
    model: LocalModel, mode: Mode, calls: list[int]
) -> None:
    before, editor = bits(model), Shake()
    with Baked("shake", editor, model).session(EDITS, mode) as session:
        assert session.scores
        assert not same(before, bits(model))
        assert session.generate(["A"], [0], 2)[0].prompt_tokens == 1
    assert editor.calls == calls
    assert editor.after == [0, 1, 2, 3][: len(calls)]
    if mode is Mode.SEQUENTIAL:  # an edit sees what the one before the last left
        assert editor.seen[0] != editor.seen[2] and editor.seen[1] != editor.seen[3]
    assert same(before, bits(model))


def test_a_sequence_passes_over_what_is_refused_and_names_it(model: LocalModel) -> None:
    class Refuses(Shake):
        def edit(
            self,
            model: Any,
            tokenizer: Any,
            requests: Sequence[EditRequest],
            *,
            after: Sequence[Any] = (),
        ) -> WeightDelta:
            if list(requests) == list(EDITS[1]):
                raise InvalidInputError("will not")
            return super().edit(model, tokenizer, requests, after=after)

    before, editor = bits(model), Refuses()
    treatment = Baked("refuses", editor, model)
    with treatment.session(EDITS, Mode.SEQUENTIAL) as session:
        assert isinstance(session, Plain) and session.refused == {1: "will not"}
        assert not same(before, bits(model))
    assert editor.calls == [1, 1, 1] and editor.after == [0, 1, 2]
    assert treatment.cost.edits == 3
    assert same(before, bits(model))
    with pytest.raises(InvalidInputError, match="will not"), treatment.edited(EDITS[1]):
        raise AssertionError("never reached")


def test_a_sequence_that_breaks_in_its_midst_leaves_every_bit(model: LocalModel) -> None:
    class Breaks(Shake):
        def edit(
            self,
            model: Any,
            tokenizer: Any,
            requests: Sequence[EditRequest],
            *,
            after: Sequence[Any] = (),
        ) -> WeightDelta:
            if len(self.calls) == 2:
                raise RuntimeError("out of memory")
            return super().edit(model, tokenizer, requests, after=after)

    before = bits(model)
    session = Baked("breaks", Breaks(), model).session(EDITS, Mode.SEQUENTIAL)
    with pytest.raises(RuntimeError, match="out of memory"), session:
        raise AssertionError("never reached")
    assert same(before, bits(model))


def test_weights_cannot_keep_cases_apart(model: LocalModel) -> None:
    session = Baked("shake", Shake(), model).session(EDITS, Mode.SINGLE)
    with pytest.raises(InvalidInputError, match="one case at a time; got 4"), session:
        raise AssertionError("never reached")
