"""Spacings of the tail, and the interval that goes by them."""

import numpy as np
import pytest

from alpha_callbacks.estimators.spread import TWO_SIDED, alpha_spread, interval_by_spacings, spacing_ratio


def alpha_of(evals: np.ndarray, k: int) -> float:
    return 1 + k / float(np.log(evals[:k] / evals[k]).sum())


def test_independent_draws_and_eigenvalues_of_noise_have_their_ratios() -> None:
    random = np.random.default_rng(0)
    drawn = [np.sort(random.pareto(2.0, 200) + 1)[::-1] for _ in range(60)]
    noise = [np.linalg.svd(random.standard_normal((60, 90)), compute_uv=False) ** 2 for _ in range(60)]
    assert np.mean([spacing_ratio(evals, 40) for evals in drawn]) == pytest.approx(0.386, abs=0.02)
    assert np.mean([spacing_ratio(evals, 20) for evals in noise]) == pytest.approx(0.531, abs=0.02)


def test_the_interval_is_that_of_what_the_spacings_say() -> None:
    random = np.random.default_rng(1)
    drawn = np.sort(random.pareto(2.0, 200) + 1)[::-1]
    noise = np.linalg.svd(random.standard_normal((60, 90)), compute_uv=False) ** 2
    for evals, k, independent in ((drawn, 60, True), (noise, 20, False)):
        alpha = alpha_of(evals, k)
        found = interval_by_spacings(evals, alpha, k)
        assert (found["spacing_ratio"] < 0.4585) is independent
        spread = (alpha - 1) / k**0.5 if independent else alpha_spread(alpha, k, len(evals))
        assert found["alpha_high"] - alpha == pytest.approx(TWO_SIDED * spread) == alpha - found["alpha_low"]


def test_without_spacings_there_is_no_interval() -> None:
    evals = np.array([9.0, 5.0, 3.0, 2.0, 1.0])
    for found in (
        interval_by_spacings(evals, 2.0, 2),
        interval_by_spacings(np.array([5.0, 5.0, 3.0, 2.0]), 2.0, 3),
        interval_by_spacings(evals, float("nan"), 4),
    ):
        assert np.isnan(found["alpha_low"]) and np.isnan(found["alpha_high"])


def test_a_gap_to_zero_is_no_spacing(recwarn: pytest.WarningsRecorder) -> None:
    assert np.isnan(spacing_ratio(np.array([9.0, 5.0, 3.0, 2.0, 0.0, 0.0]), 4)) and not recwarn.list


@pytest.mark.parametrize("apart", [0, 1, 3])
def test_equal_eigenvalues_have_no_spacing_whichever_way_a_solve_rounds_them(apart):
    evals = np.geomspace(100, 1, 60)
    evals[4] = evals[5] * (1 + apart * 2.0**-52)
    assert np.isnan(spacing_ratio(evals, 20))
