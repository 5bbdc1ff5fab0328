"""Curves of a spectrum against the estimator, the noise law, and sums."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from alpha_callbacks.estimators.curves import NoiseLaw, hill_curve, hill_sizes, log_density
from alpha_callbacks.estimators.hill import Threshold, hill_alpha

EVALS = np.sort(np.random.default_rng(0).pareto(2.0, 400) + 0.01)[::-1].copy()


@pytest.mark.parametrize("threshold", ["next", "last"])
def test_every_point_is_the_estimator(threshold: Threshold) -> None:
    sizes = hill_sizes(len(EVALS), points=60, k=40)
    found = hill_curve(EVALS, sizes, threshold=threshold)
    expected = [hill_alpha(torch.from_numpy(EVALS), k=k, threshold=threshold).alpha for k in sizes]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_no_alpha_where_the_tail_is_flat_or_reaches_zero() -> None:
    for equal in (2.0, 0.3, 1e-30, 7e200):  # whose running sums of logarithms round either way
        assert np.isnan(hill_curve(np.full(40, equal), range(1, 40))).all()
    assert np.isnan(hill_curve(np.array([2.0, 1.0, 0.0]), [2])).all()


@settings(max_examples=50)
@given(st.integers(2, 5000), st.integers(2, 200), st.integers(1, 6000))
def test_sizes_are_tail_sizes_and_have_k(n: int, points: int, k: int) -> None:
    sizes = hill_sizes(n, points=points, k=k)
    assert list(sizes) == sorted(set(sizes)) and sizes[0] >= 1 and sizes[-1] <= n - 1
    assert k >= n or k in sizes


def test_density_integrates_to_one_and_loses_nobody() -> None:
    found = log_density(EVALS, bins=50)
    assert found.counts.sum() == len(EVALS)
    assert math.isclose(float(np.sum(found.density * np.diff(found.edges))), 1.0)


def test_zeros_count_in_the_total_only() -> None:
    found = log_density(np.concatenate([EVALS, np.zeros(100)]), bins=50)
    assert (found.counts.sum(), found.total) == (400, 500)
    assert log_density(np.zeros(3), bins=4).counts.sum() == 0
    assert log_density(np.full(3, 2.0), bins=4).counts.sum() == 3
    assert log_density(np.zeros(0), bins=4).total == 1


@pytest.mark.parametrize("rows, cols", [(400, 400), (300, 900), (900, 300)])
def test_noise_follows_its_law(rows: int, cols: int) -> None:
    weight = np.random.default_rng(1).normal(0, 0.3, (rows, cols))
    evals = np.linalg.svd(weight, compute_uv=False) ** 2
    law = NoiseLaw(rows, cols, 0.09)
    low, high = law.edges
    assert abs(evals[0] / high - 1) < 0.05
    x = np.linspace(max(low, 1e-9), high, 200_001)
    above = float(np.trapezoid(law.density(x)[x > np.median(evals)], x[x > np.median(evals)]))
    assert abs(above - 0.5) < 0.02
    assert law.density(np.array([high * 1.01])).tolist() == [0.0]
