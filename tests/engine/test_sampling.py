from __future__ import annotations

import math

import pytest
import torch

from memedit.engine.sampling import SamplingParams, adjusted, choose, scores

ROW = torch.tensor([2.0, 1.0, 0.0, -1.0, -30.0])


def frequencies(params: SamplingParams, draws: int = 4000) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.tensor([choose(ROW, params, generator) for _ in range(draws)])
    return drawn.bincount(minlength=len(ROW)) / draws


def test_temperature() -> None:
    for temperature in (0.5, 1.0, 3.0):
        found = frequencies(SamplingParams(1, temperature=temperature))
        assert torch.allclose(found, torch.softmax(ROW / temperature, 0), atol=0.03)
    assert frequencies(SamplingParams(1, temperature=0), 10)[0] == 1


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(1, top_k=2), [0, 1]),
        (SamplingParams(1, top_k=99), [0, 1, 2, 3]),
        # Probabilities are about .64 .24 .09 .03: the set is the smallest that reaches top_p.
        (SamplingParams(1, top_p=0.6), [0]),
        (SamplingParams(1, top_p=0.7), [0, 1]),
        (SamplingParams(1, top_p=0.9), [0, 1, 2]),
        (SamplingParams(1, min_p=0.2), [0, 1]),
        (SamplingParams(1, min_p=0.04), [0, 1, 2, 3]),
    ],
)
def test_what_is_cut_off(params: SamplingParams, kept: list[int]) -> None:
    found = frequencies(params)
    assert found.nonzero()[:, 0].tolist() == kept
    expected = torch.softmax(ROW[kept], 0)
    assert torch.allclose(found[kept], expected, atol=0.03)


def test_penalties() -> None:
    params = SamplingParams(
        1,
        presence_penalty=0.5,
        frequency_penalty=0.25,
        repetition_penalty=2.0,
        logit_bias={2: 3.0},
    )
    row = adjusted(ROW, params, prompt=[3], output=[0, 0, 1])
    expected = [
        2.0 / 2 - 0.5 - 2 * 0.25,  # seen, twice in the output
        1.0 / 2 - 0.5 - 0.25,
        0.0 + 3.0,
        -1.0 * 2,  # seen in the prompt; negative, so pushed down by multiplying
        -30.0,
    ]
    assert row.tolist() == pytest.approx(expected)
    assert ROW.tolist() == [2.0, 1.0, 0.0, -1.0, -30.0], "what was given stays as it was"


def test_min_tokens_bars_the_end() -> None:
    params = SamplingParams(9, min_tokens=2, eos_ids=frozenset({0}), stop_ids=frozenset({1, 999}))
    assert adjusted(ROW, params, [3], [3])[:2].tolist() == [-math.inf, -math.inf]
    assert adjusted(ROW, params, [3], [3, 3])[:2].tolist() == [2.0, 1.0]


def test_scores() -> None:
    found = scores(torch.stack([ROW, -ROW]), [1, 4], top=2)
    expected = torch.log_softmax(ROW, 0).tolist()
    assert found[0].logprob == pytest.approx(expected[1])
    assert [token for token, _ in found[0].top] == [0, 1]
    assert found[1].top[0] == (4, pytest.approx(0.0, abs=1e-6))
    assert scores(ROW[None], [0], top=0)[0].top == ()
