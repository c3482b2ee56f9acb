"""The sum of deltas: of low rank where its parts are, with its parts' names kept."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from memedit.errors import InvalidInputError
from memedit.modeling.delta import EditVersion, LowRank, WeightDelta
from memedit.modeling.delta_compose import compose


def low(rank: int, seed: int) -> LowRank:
    generator = torch.Generator().manual_seed(seed)
    return LowRank(
        torch.randn((6, rank), generator=generator), torch.randn((rank, 9), generator=generator)
    )


FIRST = WeightDelta(
    {"a": low(2, 1), "b": torch.ones(6, 9)},
    method="rome",
    base="f" * 64,
    notes={"layer": 3},
    edits=(EditVersion("e-1", 1), EditVersion("e-2", 4)),
)
SECOND = WeightDelta(
    {"a": low(3, 2), "b": low(1, 3), "c": low(1, 4)},
    method="ft-m",
    base="f" * 64,
    edits=(EditVersion("e-2", 4), EditVersion("e-3", 1)),
)


def test_changes_add_up_and_low_rank_stays_low() -> None:
    whole = compose([FIRST, SECOND])
    kept = whole.changes["a"]
    assert isinstance(kept, LowRank) and kept.left.shape == (6, 5)
    assert isinstance(whole.changes["b"], torch.Tensor)
    assert whole.changes["c"] is SECOND.changes["c"]
    for name in ("a", "b"):
        torch.testing.assert_close(whole.dense(name), FIRST.dense(name) + SECOND.dense(name))
    torch.testing.assert_close(compose([SECOND, FIRST]).dense("b"), whole.dense("b"))


def test_it_says_of_what_it_is_made_in_which_order() -> None:
    whole = compose([SECOND, FIRST])
    assert (whole.method, whole.base) == ("ft-m+rome", "f" * 64)
    assert [str(edit) for edit in whole.edits] == ["e-2@4", "e-3@1", "e-1@1"]
    assert [part["method"] for part in whole.notes["composed"]] == ["ft-m", "rome"]
    assert whole.notes["composed"][1]["notes"] == {"layer": 3}
    assert whole.notes["composed"][1]["edits"][1] == {"id": "e-2", "version": 4}


def test_other_models_are_refused() -> None:
    elsewhere = replace(SECOND, base="0" * 64)
    with pytest.raises(InvalidInputError, match=r"different models \(ffffffffffff, 000000000000\)"):
        compose([FIRST, elsewhere])
    with pytest.raises(InvalidInputError, match="one not recorded"):
        compose([FIRST, replace(SECOND, base="")])
    assert compose([FIRST, elsewhere], any_base=True).base == FIRST.base
    with pytest.raises(InvalidInputError, match="have shapes"):
        compose([FIRST, WeightDelta({"a": torch.ones(2, 2)}, base=FIRST.base)])
    with pytest.raises(InvalidInputError, match="at least one"):
        compose([])
