import numpy as np
import pytest

from alpha_callbacks.estimators.fixed_share import farms, half
from alpha_callbacks.estimators.quantile_k import quantile_k


@pytest.mark.parametrize("n", [11, 40])
def test_half_counts_the_median_as_tempbalance_does(n):
    x = np.sort(np.random.default_rng(n).lognormal(size=n))
    i = n // 2
    fit = half(x[::-1])
    assert (fit.n_tail, fit.x_min) == (n - i, x[i])
    assert fit.alpha == pytest.approx(1 + (n - i) / (np.log(x[i:]) - np.log(x[i])).sum())
    assert fit.ks_distance == pytest.approx(
        np.abs(1 - (x[i:] / x[i]) ** (1 - fit.alpha) - np.arange(n - i) / (n - i)).max()
    )


def test_farms_is_seeded_and_forgets_the_shape():
    rng = np.random.default_rng(0)
    square, wide = rng.standard_normal((64, 64)), rng.standard_normal((32, 512))
    assert farms(square, side=32, windows=16) == farms(square, side=32, windows=16)
    assert farms(square, side=32, windows=16, seed=1) != farms(square, side=32, windows=16)
    assert farms(wide, side=32).alpha == pytest.approx(farms(square, side=32).alpha, rel=0.1)
    whole = farms(square, side=64)  # one window: the matrix itself
    assert whole.alpha == pytest.approx(half(np.linalg.svd(square, compute_uv=False) ** 2).alpha)


def test_the_quantile_rule_takes_the_size_whose_quantiles_match_best():
    down = np.sort(np.random.default_rng(5).pareto(2.0, 120))[::-1]
    last, best = round(0.15 * 120), (np.inf, 0)
    for k in range(5, last + 1):
        gamma = np.log(down[:k] / down[k]).mean()
        predicted = [down[k] * (k / j) ** gamma for j in range(1, last + 1)]
        best = min(best, (np.abs(predicted - down[:last]).max(), k))
    fit = quantile_k(down)
    assert fit.n_tail == best[1] and fit.x_min == down[best[1] - 1]


@pytest.mark.parametrize("fit", [half, quantile_k])
def test_what_cannot_be_fitted_has_a_reason(fit):
    assert fit(np.array([1.0, 0.0, 0.0])).reason
    assert "equal" in fit(np.ones(60)).reason
