import numpy as np
import pytest
import torch

from alpha_callbacks.estimators.curves import hill_curve
from alpha_callbacks.estimators.hill import Hill
from alpha_callbacks.estimators.marchenko_pastur import median_eigenvalue, upper_edge
from alpha_callbacks.estimators.spread import alpha_spread
from alpha_callbacks.estimators.verdict import hill_slope, judge, noise_edge, widest_gap, widest_gap_limit


def judged(evals, shape, k_frac=0.1):
    hill = Hill(k_frac=k_frac)
    from alpha_callbacks.estimators.hill import hill_alpha

    k = hill.tail_size(len(evals))
    fit = hill_alpha(torch.from_numpy(np.ascontiguousarray(evals)), k=k)
    return judge(evals, alpha=fit.alpha, k=k, ks_distance=fit.ks_distance, null=hill.null(*shape), shape=shape)


def noise(rows, cols, seed):
    return np.linalg.svd(np.random.default_rng(seed).standard_normal((rows, cols)), compute_uv=False) ** 2


def test_noise_has_no_tail():
    found = [judged(noise(120, 360, seed), (120, 360)) for seed in range(8)]
    assert {verdict.tail for verdict in found} == {"none"}
    assert "that of noise of this shape" in found[0].reason


def test_a_power_law_is_clear():
    evals = (np.arange(1, 301) / 300) ** (-1 / 1.5)
    assert judged(evals, (300, 300)) == ("clear", "")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda e: np.concatenate([[3e4] * 3, e[3:]]), "KS distance"),
        (lambda e: np.concatenate([e[:6] * 40, e[6:]]), "no power law"),
        (lambda e: np.concatenate([e[:30] + 3000.0, e[30:]]), "plateau"),
    ],
)
def test_spikes_and_bands_are_heavier_than_noise_and_doubtful(change, why):
    verdict = judged(np.sort(change(noise(300, 300, 0)))[::-1], (300, 300))
    assert verdict.tail == "doubtful" and why in verdict.reason


@pytest.mark.parametrize(("n", "spikes"), [(64, 3), (128, 2), (128, 3), (256, 4)])
def test_a_few_equal_spikes_are_no_clear_tail(n, spikes):
    random = np.random.default_rng(n + spikes)
    left, right = (np.linalg.qr(random.standard_normal((n, spikes)))[0] for _ in range(2))
    matrix = random.standard_normal((n, n)) + np.sqrt(4.0 * 4 * n) * left @ right.T  # 4 times the edge of noise
    verdict = judged(np.linalg.svd(matrix, compute_uv=False) ** 2, (n, n))
    assert verdict.tail == "doubtful" and f"{spikes} of {max(10, n // 10)} eigenvalues stand apart" in verdict.reason


def test_the_limit_of_the_widest_gap_is_the_level_of_independent_draws():
    random = np.random.default_rng(0)
    for k in (8, 25, 60):
        gaps = random.exponential(size=(4000, k))
        evals = np.exp(np.cumsum((gaps / np.arange(1, k + 1))[:, ::-1], axis=1)[:, ::-1])
        found = [widest_gap(np.append(row, 1.0), k)[0] for row in evals]
        assert np.mean(np.array(found) > widest_gap_limit(k)) == pytest.approx(0.05, abs=0.012)
        np.testing.assert_allclose(found, gaps.max(axis=1) / gaps.mean(axis=1))
    assert widest_gap(np.full(9, 2.0), 8) == (0.0, 0) and widest_gap_limit(1) == np.inf


def test_small_and_large_tails_are_not_judged_clear():
    pareto = (np.arange(1, 13) / 12) ** -3.0
    assert "most of it is the bulk" in judged(pareto, (12, 48)).reason
    evals = (np.arange(1, 301) / 300) ** -1.0
    small = judge(evals, alpha=2.0, k=5, ks_distance=0.1, null=9.0, shape=(300, 300))
    assert small.tail == "doubtful" and "too small to judge" in small.reason


def test_a_tail_that_is_all_of_the_rank_is_doubtful_without_a_warning(recwarn):
    evals = np.concatenate([np.linspace(9, 1, 10), np.zeros(90)])
    found = judge(evals, alpha=1.35, k=10, ks_distance=0.1, null=4.0, shape=(100, 100))  # as threshold "last" has it
    assert found.tail == "doubtful" and "all of the spectrum that is not 0" in found.reason and not recwarn.list


def test_without_alpha_nothing_is_said():
    assert judge(np.ones(4), alpha=np.nan, k=2, ks_distance=np.nan, null=3.0, shape=(4, 4)) == ("", "")


def test_the_slope_of_the_hill_plot():
    evals = noise(300, 300, 1)
    assert hill_slope(evals, 30) < -1 / 3
    logs, ks = np.log(evals), np.arange(7, 31)
    alphas = [k / (logs[:k] - logs[k]).sum() for k in ks]
    assert hill_slope(evals, 30) == pytest.approx(np.polyfit(np.log(ks), np.log(alphas), 1)[0])
    evals[:10] = evals[0]  # tails of equal eigenvalues have no alpha and take no part
    logs, ks = np.log(evals), np.arange(10, 31)
    alphas = [k / (logs[:k] - logs[k]).sum() for k in ks]
    assert hill_slope(evals, 30) == pytest.approx(np.polyfit(np.log(ks), np.log(alphas), 1)[0])
    for equal in (2.0, 0.3, 1e-30, 7e200):  # whose running sums of logarithms round either way
        assert hill_slope(np.full(40, equal), 30) == 0


def test_tails_that_are_equal_but_for_the_rounding_of_a_solve_take_no_part_either():
    evals = np.arange(1.0, 301.0)[::-1] ** -2
    evals = np.sort(np.append(np.full(15, 2.0), evals[:-15]))[::-1]
    (left, _), (right, _) = (np.linalg.qr(np.random.default_rng(seed).standard_normal((300, 300))) for seed in (0, 1))
    solved = np.linalg.svd(left * np.sqrt(evals) @ right, compute_uv=False) ** 2
    assert 0 < np.ptp(solved[:15]) < 1e-12
    assert hill_slope(solved, 40) == pytest.approx(hill_slope(evals, 40))
    np.testing.assert_allclose(hill_curve(solved, [5, 14, 15, 40]), hill_curve(evals, [5, 14, 15, 40]))
    assert np.isnan(hill_curve(solved, [5, 14])).all()


@pytest.mark.parametrize("shape", [(200, 200), (100, 700)])
def test_noise_ends_at_its_edge(shape):
    evals = noise(*shape, seed=3)
    assert evals[0] == pytest.approx(noise_edge(evals, shape), rel=0.1)
    ratio = min(shape) / max(shape)
    assert np.median(evals) / max(shape) == pytest.approx(median_eigenvalue(ratio), rel=0.05)
    assert evals[0] / max(shape) == pytest.approx(upper_edge(ratio), rel=0.1)


def test_the_spread_is_that_of_draws_of_noise():
    alphas = []
    for seed in range(80):
        logs = np.log(noise(64, 128, seed))
        alphas.append(1 + 16 / (logs[:16] - logs[16]).sum())
    assert alpha_spread(float(np.mean(alphas)), 16, 64) == pytest.approx(np.std(alphas), rel=0.25)
    assert np.isnan(alpha_spread(3.0, 0, 64)) and np.isnan(alpha_spread(np.nan, 3, 64))
