from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memedit.errors import InvalidInputError
from memedit.scope.platt import bootstrap, fit_platt, rate_above, threshold_for


def test_platt_finds_the_coefficients_that_made_the_labels() -> None:
    random = np.random.default_rng(3)
    scores = random.uniform(-1, 1, 200_000)
    slope, intercept = 6.0, -1.5
    fired = random.random(len(scores)) < 1 / (1 + np.exp(-(slope * scores + intercept)))
    positives, negatives = scores[fired], scores[~fired]

    found = fit_platt(positives, negatives)

    # Both classes are weighed alike, which moves the intercept by the log of their odds.
    shift = np.log(len(negatives) / len(positives))
    assert found[0] == pytest.approx(slope, rel=0.03)
    assert found[1] == pytest.approx(intercept + shift, abs=0.05)


def test_separable_classes_have_finite_coefficients() -> None:
    slope, intercept = fit_platt(np.full(50, 0.9), np.full(50, 0.1))

    assert np.isfinite([slope, intercept]).all()
    assert slope * 0.9 + intercept > 0 > slope * 0.1 + intercept


def test_weights_count_as_repetition() -> None:
    positives, negatives = np.tile([0.5, 0.9, 0.8], 2_000), np.tile([0.2, 0.6], 1_000)
    weights = np.tile([1.0, 3.0], 1_000)

    weighted = fit_platt(positives, negatives, negative_weights=weights)
    repeated = fit_platt(positives, np.tile([0.2, 0.6, 0.6, 0.6], 1_000))

    # Lin's soft targets know the number of samples, so the two agree only nearly.
    assert weighted == pytest.approx(repeated, rel=0.01)
    few = np.array([0.2, 0.6])
    assert threshold_for(few, 0.3, np.array([1.0, 3.0])) == threshold_for(
        np.array([0.2, 0.6, 0.6, 0.6]), 0.3
    )


@pytest.mark.parametrize(
    ("positives", "negatives"), [([], [0.1]), ([0.1], []), ([0.1, 0.2], [0.8, 0.9])]
)
def test_what_cannot_be_fitted_is_refused(positives: list[float], negatives: list[float]) -> None:
    with pytest.raises(InvalidInputError):
        fit_platt(np.array(positives), np.array(negatives))


@given(
    st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=60),
    st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9]),
)
def test_the_threshold_keeps_its_rate_and_is_the_lowest_that_does(
    scores: list[float], rate: float
) -> None:
    negatives = np.array(scores, dtype=np.float32)

    threshold = threshold_for(negatives, rate)

    assert rate_above(negatives, threshold) <= rate + 1e-9
    below = negatives[negatives < threshold]
    if len(below):
        assert rate_above(negatives, float(below.max())) > rate


def test_nothing_to_choose_from_is_refused() -> None:
    with pytest.raises(InvalidInputError):
        threshold_for(np.array([]), 0.01)
    with pytest.raises(InvalidInputError):
        threshold_for(np.array([0.1]), 1.0)
    assert np.isnan(rate_above(np.array([]), 0.5))


def test_the_bootstrap_draws_whole_groups() -> None:
    values = np.repeat([0.0, 1.0], 500)
    together = bootstrap(lambda drawn: float(values[drawn].mean()), np.repeat([0, 1], 500))
    apart = bootstrap(lambda drawn: float(values[drawn].mean()), np.arange(1_000))

    assert together == (0.0, 1.0)
    assert 0.45 < apart[0] < 0.5 < apart[1] < 0.55
