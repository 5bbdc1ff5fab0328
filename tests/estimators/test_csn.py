import numpy as np
import pytest

from alpha_callbacks.estimators.all_estimators import OF_SPECTRA
from alpha_callbacks.estimators.csn import best_start, csn


def plain(evals):
    x = np.sort(evals)
    logs, best = np.log(x), (np.inf,)
    for i in range(len(x) - 1):
        n, total = len(x) - i, (logs[i:] - logs[i]).sum()
        if total > 0 and (i == 0 or x[i] > x[i - 1]):  # of equal ones the first counts them all
            alpha = 1 + n / total
            gap = np.abs(1 - (x[i:] / x[i]) ** (1 - alpha) - np.arange(n) / n).max()
            best = min(best, (gap, alpha, x[i], n))
    return best


@pytest.mark.parametrize("kind", ["pareto", "noise", "lognormal", "ties"])
@pytest.mark.parametrize("n", [8, 60, 300])
def test_the_fit_is_that_of_trying_every_threshold(kind, n):
    rng = np.random.default_rng(n)
    drawn = {
        "pareto": rng.pareto(2.0, n) + 1,
        "noise": np.linalg.svd(rng.standard_normal((n, 2 * n)), compute_uv=False) ** 2,
        "lognormal": rng.lognormal(size=n),
        "ties": np.ceil(rng.pareto(1.0, n) * 3) + 1,
    }[kind]
    fit = csn(np.sort(drawn)[::-1])
    gap, alpha, x_min, count = plain(drawn)
    assert (fit.n_tail, fit.x_min) == (count, x_min)
    assert fit.alpha == pytest.approx(alpha, rel=1e-11) and fit.ks_distance == pytest.approx(gap, rel=1e-11)
    assert fit.stderr == pytest.approx((alpha - 1) / count**0.5)
    assert fit.low <= fit.alpha <= fit.high


def test_the_range_shows_what_the_largest_eigenvalues_do():
    evals = np.sort(np.random.default_rng(0).pareto(2.0, 100))[::-1]
    fit = csn(evals)
    without = [csn(evals[count:]).alpha for count in (1, 2, 3)]
    assert fit.low <= min(without) and max(without) <= fit.high


def test_scale_cancels_and_zeros_do_not_count():
    evals = np.sort(np.random.default_rng(1).pareto(2.0, 50))[::-1]
    one = csn(evals)
    for scale in (1e-12, 1e12):
        assert csn(np.append(evals, [0.0, 0.0]) * scale).alpha == pytest.approx(one.alpha, rel=1e-12)


def test_too_few_or_equal_eigenvalues_have_a_reason_and_no_alpha():
    for evals, why in ((np.ones(30), "equal"), (np.arange(7.0, 0, -1), "7 eigenvalues")):
        fit = csn(evals)
        assert np.isnan(fit.alpha) and why in fit.reason
    assert best_start(np.ones(5)) == 0


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["csn", "tpl", "half", "quantile_k"])
@pytest.mark.parametrize("counts", [(15, 185), (40, 160), (120, 80), (8, 100, 92)])
def test_equal_eigenvalues_that_a_solve_has_moved_apart_change_no_estimate(name, counts, seed):
    """Their spread is rounding; a power law fitted to it has an alpha of 1e15."""
    equal = np.concatenate([np.full(count, level) for count, level in zip(counts, (7.3, 3.1, 1.0), strict=False)])
    units = np.random.default_rng(seed).integers(-3, 4, 200)
    moved = np.sort(equal * (1 + units * 2.0**-52))[::-1]
    expected, found = OF_SPECTRA[name](equal), OF_SPECTRA[name](moved)
    assert (found.n_tail, found.reason) == (expected.n_tail, expected.reason)
    np.testing.assert_allclose([found.alpha, found.low, found.high], [expected.alpha, expected.low, expected.high])
