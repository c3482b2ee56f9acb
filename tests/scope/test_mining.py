"""Which pairs are worth another round, and how a run of several rounds goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from memedit.config import EncoderSettings
from memedit.errors import InvalidInputError, MissingResourceError
from memedit.scope.checkpoint import find_checkpoint
from memedit.scope.pair import shipped_folder
from memedit.scope.pair_input import HIDDEN
from memedit.scope.pair_weights import read_weights
from memedit.scope.training import rounds
from memedit.scope.training.fine_tune import Recipe, read_pairs
from memedit.scope.training.finish import LAST, export_weights
from memedit.scope.training.mining import KEPT_EASY, Judge, mined
from memedit.scope.training.pairs import PRESUMED, Pair
from memedit.scope.training.rounds import begin_with, train
from memedit.types import ScopeLabel


def pairs(n: int, prefix: str = "Where") -> list[Pair]:
    return [
        Pair(f"{prefix} {i} {HIDDEN}?", f"The place {i} of {HIDDEN} is", ScopeLabel.DIRECT, "x")
        for i in range(n)
    ]


def test_what_is_doubted_stays_with_a_share_of_the_rest() -> None:
    sure, doubted, wrong = pairs(4000, "Sure"), pairs(50, "Doubted"), pairs(50, "Wrong")
    value = {"Sure": 0.99, "Doubted": 0.6, "Wrong": 0.001}

    def judge(some: Sequence[Pair]) -> np.ndarray:
        return np.array([value[pair.prompt.split()[0]] for pair in some])

    told: list[int] = []
    everything = [*sure[:2000], *doubted, *wrong, *sure[2000:]]
    kept = list(mined(everything, judge, told.append))
    assert sum(told) == len(everything)
    assert [pair for pair in kept if pair in doubted] == doubted
    assert not [pair for pair in kept if pair in wrong]
    assert len(kept) - len(doubted) == pytest.approx(KEPT_EASY * len(sure), rel=0.15)
    assert kept == [pair for pair in everything if pair in set(kept)]
    assert [p for p in mined(sure, judge, told.append)] == [p for p in kept if p in set(sure)]


def test_a_label_that_was_presumed_goes_where_the_first_round_contradicts_it() -> None:
    told = [pair for pair in pairs(20, "Told")]
    presumed = [replace(pair, kind=PRESUMED + "other") for pair in pairs(20, "Presumed")]

    def judge_as(value: float) -> Judge:
        return lambda some: np.full(len(some), value)

    assert list(mined([*told, *presumed], judge_as(0.4), lambda _: None)) == told
    assert list(mined([*told, *presumed], judge_as(0.6), lambda _: None)) == [*told, *presumed]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Have pairs that stand in for the benchmarks', and return for which rounds they were made."""
    made: list[int] = []

    def toy_pairs(data: Path, encode: object, round_: int = 0, seed: int = 7) -> list[Pair]:
        assert seed == Recipe().seed
        made.append(round_)
        return pairs(64, f"Round{round_}")

    monkeypatch.setattr(rounds, "all_pairs", toy_pairs)
    return made


def test_rounds_follow_one_another_and_go_on_where_they_were(
    tmp_path: Path, made: list[int]
) -> None:
    """The real network, a few steps a round."""
    recipe = Recipe(steps=2, rounds=2, batch=4, warmup=1)
    with pytest.raises(InvalidInputError, match=r"pairs\.json"):
        train(None, tmp_path, recipe)
    train(tmp_path, tmp_path, Recipe(steps=2, rounds=1, batch=4, warmup=1))
    assert made == [0] and not (tmp_path / "pairs-2.json").exists()
    first = (tmp_path / "state.pt").read_bytes()
    with pytest.raises(InvalidInputError, match=r"pairs-2\.json"):
        train(None, tmp_path, recipe)
    train(tmp_path, tmp_path, recipe)
    assert made == [0, 1]
    second = read_pairs(tmp_path / "pairs-2.json")
    assert second and all(pair.prompt.startswith("Round1") for pair in second)
    assert (tmp_path / "state.pt").read_bytes() != first
    assert (tmp_path / "state-1.pt").read_bytes() == first
    done = (tmp_path / "state.pt").read_bytes()
    train(None, tmp_path, recipe)
    assert (tmp_path / "state.pt").read_bytes() == done
    with pytest.raises(InvalidInputError, match="rounds of 2 steps"):
        train(None, tmp_path, Recipe(steps=3, rounds=3))
    export_weights(tmp_path, find_checkpoint(EncoderSettings().model), tmp_path)
    shipped = read_weights(tmp_path / "pair.safetensors")[1]["head.bias"]
    ended = [
        torch.load(tmp_path / name, weights_only=True)["model"]["head.bias"].numpy()
        for name in ("state-1.pt", "state.pt")
    ]
    assert not np.allclose(*ended)
    assert shipped == pytest.approx((1 - LAST) * ended[0] + LAST * ended[1], abs=1e-6)


def test_trained_weights_stand_for_the_first_round(tmp_path: Path, made: list[int]) -> None:
    recipe = Recipe(steps=1, rounds=2, batch=4, warmup=1)
    with pytest.raises(InvalidInputError, match="at least 2 rounds"):
        begin_with(shipped_folder(), tmp_path, replace(recipe, rounds=1))
    with pytest.raises(MissingResourceError, match="no weights to start from"):
        begin_with(tmp_path / "nothing", tmp_path, recipe)
    begin_with(shipped_folder(), tmp_path, recipe)
    train(tmp_path, tmp_path, recipe)
    assert made == [1], "the first round is not trained"
    assert len(read_pairs(tmp_path / "pairs-2.json")) == 4, "no more than the round reads"
    theirs = read_weights(shipped_folder() / "pair.safetensors")[1]
    first = torch.load(tmp_path / "state-1.pt", weights_only=True)["model"]
    assert first["head.bias"].numpy() == pytest.approx(theirs["head.bias"])
    last = torch.load(tmp_path / "state.pt", weights_only=True)["model"]
    assert not torch.equal(last["head.bias"], first["head.bias"])
    begin_with(tmp_path / "nothing", tmp_path, recipe)  # a run that is under way goes on


def test_a_gpu_takes_one_process_and_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="got 2 processes on cuda"):
        train(None, tmp_path, Recipe(), 2, "cuda")
    if not torch.cuda.is_available():
        with pytest.raises(MissingResourceError, match="has no GPU; train on the CPU"):
            train(None, tmp_path, Recipe(), 1, "cuda")
    assert not list(tmp_path.iterdir())
