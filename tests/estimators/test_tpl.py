import numpy as np
import pytest

from alpha_callbacks.estimators import tpl
from alpha_callbacks.estimators.csn import csn

optimize, stats = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.stats")


def logs_of(seed, n=200, cut=0.0):
    rng = np.random.default_rng(seed)
    t = rng.pareto(1.5, 4 * n) + 1
    return np.sort(np.log(t[rng.random(len(t)) < np.exp(-cut * (t - 1))][:n]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_cut_off_power_law_is_the_best_one(seed):
    u = logs_of(seed, cut=0.1)
    rival = tpl.truncated(u)
    alpha, rate = rival.parameters["alpha"], rival.parameters["Lambda"]
    assert alpha > 0 and rate > 0
    grid = np.linspace(0, 12, 400_001)

    def mean_log(a, r):
        mass = np.trapezoid(np.exp((1 - a) * grid - r * np.exp(grid)), grid)
        return -a * u.mean() - r * np.exp(u).mean() - np.log(mass)

    best = rival.logs.mean()
    assert best == pytest.approx(mean_log(alpha, rate), abs=1e-7)
    found = optimize.minimize(lambda p: -mean_log(*np.abs(p)), [1.5, 0.05], method="Nelder-Mead")
    assert -found.fun <= best + 1e-7


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_lognormal_law_is_the_best_one(seed):
    u = np.sort(np.abs(np.random.default_rng(seed).normal(0.5, 0.6, 200)))
    rival = tpl.lognormal(u)
    mu, sigma = rival.parameters["mu"], rival.parameters["sigma"]

    def mean_log(m, s):
        return (stats.norm.logpdf(u, m, s) - stats.norm.logsf(0, m, s) - u).mean()

    assert rival.logs.mean() == pytest.approx(mean_log(mu, sigma), abs=1e-9)
    found = optimize.minimize(lambda p: -mean_log(p[0], abs(p[1])), [0.3, 0.8], method="Nelder-Mead")
    assert -found.fun <= rival.logs.mean() + 1e-9


def test_a_tail_wider_than_any_lognormal_law_has_the_power_law_as_its_limit():
    u = np.sort(np.random.default_rng(0).exponential(1.0, 300)) ** 1.3
    rival = tpl.lognormal(u)
    power = np.log(1 / u.mean()) - (1 + 1 / u.mean()) * u
    assert rival.logs == pytest.approx(power)
    assert tpl.likelihood_ratio(power, rival.logs) == (0.0, 1.0)


def test_the_exponential_law_in_closed_form():
    u = logs_of(3)
    rival = tpl.exponential(u)
    t = np.exp(u)
    assert rival.logs == pytest.approx(stats.expon.logpdf(t, 1, t.mean() - 1))


def test_ratios_and_their_probabilities():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=50), rng.normal(0.3, 1, 50)
    ratio, p = tpl.likelihood_ratio(a, b)
    spread = (a - b).std() * 50**0.5
    assert ratio == pytest.approx((a - b).sum() / spread)
    assert p == pytest.approx(2 * stats.norm.sf(abs(ratio)))
    _, nested = tpl.likelihood_ratio(a, b, nested=True)
    assert nested == pytest.approx(stats.chi2.sf(2 * abs((a - b).sum()), 1))


def test_the_fit_shares_its_threshold_with_csn():
    evals = np.exp(logs_of(4, cut=0.2))[::-1]
    fit, csn_fit = tpl.tpl(evals), csn(evals)
    assert (fit.x_min, fit.n_tail) == (csn_fit.x_min, csn_fit.n_tail)
    assert fit.alpha < csn_fit.alpha and fit.more["Lambda"] > 0 and fit.more["R_vs_truncated"] < 0
    assert fit.ks_distance <= csn_fit.ks_distance * 1.2
    assert "fewer than 8" in tpl.tpl(evals[:5]).reason
