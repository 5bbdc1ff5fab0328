import math

import numpy as np
import pytest

from alpha_callbacks.estimators.bulk_fit import fit_bulk
from alpha_callbacks.estimators.spectral_measures import norm_measures, spectrum_snr, trap_measures


def matrix(rows, cols, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols))


def evals_of(w):
    return np.linalg.svd(w, compute_uv=False) ** 2


def test_norms_of_a_spectrum_written_down():
    w = matrix(30, 50)
    evals = evals_of(w)
    found = norm_measures(evals, w.shape)
    assert found["norm"] == pytest.approx((w**2).sum())
    p, s = evals / evals.sum(), np.sqrt(evals) / np.sqrt(evals).sum()
    assert found["entropy"] == pytest.approx(-(p * np.log(p)).sum() / math.log(30))
    assert found["effective_rank"] == pytest.approx(math.exp(-(s * np.log(s)).sum()))
    scaled = evals * 30 / evals.sum()
    count = next(i for i in range(1, 31) if np.prod(scaled[:i]) < 1)
    assert found["detX_num"] == count and found["detX_val"] == evals[count - 1]
    assert (found["matrix_rank"], found["rank_loss"]) == (30, 0)
    low = np.append(evals[:-2], [0.0, 0.0])
    assert norm_measures(low, w.shape)["rank_loss"] == 2


def test_no_power_of_a_large_eigenvalue_overflows():
    evals = evals_of(matrix(20, 20)) * 1e200
    found = norm_measures(evals, (20, 20))
    assert math.isfinite(found["log_alpha_norm"]) and found["log_alpha_norm"] > 400


@pytest.mark.parametrize("shape", [(40, 40), (40, 160)])
def test_the_signal_to_noise_ratio_is_that_of_spectrum(shape):
    import torch

    w = torch.from_numpy(matrix(*shape)).float() + 2 * torch.ones(shape) / 10
    s = torch.linalg.svdvals(w)
    sigma = (torch.quantile(s, 0.75) - torch.quantile(s, 0.25)) / 1.349
    edge = sigma * math.sqrt((1 + math.sqrt(min(shape) / max(shape))) ** 2)
    noise = s[s <= edge].sum() if (s <= edge).any() else 1.0
    expected = s[s > edge].sum() / noise / s[0]
    ratio = min(shape) / max(shape)
    assert spectrum_snr(s.double().numpy(), ratio) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("shape", [(60, 60), (60, 240)])
def test_the_bulk_of_noise_and_spikes_on_it(shape):
    noise = fit_bulk(evals_of(matrix(*shape)), shape)
    assert noise.num_spikes == 0 and noise.sigma == pytest.approx(1, abs=0.1)
    w = matrix(*shape)
    w[:, :3] *= 12 if shape[0] == shape[1] else 20
    spiked = fit_bulk(evals_of(w), shape)
    assert spiked.num_spikes == 3 and spiked.soft_rank < 0.5
    assert spiked.high < evals_of(w)[2] and fit_bulk(evals_of(w) * 1e-9, shape).num_spikes == 3


def test_one_huge_entry_is_a_correlation_trap():
    w = matrix(50, 80)
    evals = evals_of(w)
    plain = trap_measures(evals, evals_of(np.random.default_rng(1).permutation(w.ravel()).reshape(w.shape)), w.shape)
    assert plain["rand_num_spikes"] == 0 and plain["rand_distance"] < 0.05
    w[3, 4] = 60.0
    mixed = np.random.default_rng(1).permutation(w.ravel()).reshape(w.shape)
    trapped = trap_measures(evals_of(w), evals_of(mixed), w.shape)
    assert trapped["rand_num_spikes"] == 1 and trapped["ww_softrank"] == pytest.approx(1, abs=0.05)
