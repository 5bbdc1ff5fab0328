"""Eigenvalues -> further measures of a spectrum, under WeightWatcher's names where the definition is the same."""

import math

import numpy as np

from alpha_callbacks.estimators.bulk_fit import fit_bulk
from alpha_callbacks.estimators.csn import best_start
from alpha_callbacks.estimators.tail_estimate import estimate_above, resolved

_WEAK = 1e-6  # eigenvalues below are a weak loss of rank; WeightWatcher's constant, in weight squared


def norm_measures(evals: np.ndarray, shape: tuple[int, int]) -> dict[str, float]:
    """Return norms, ranks, entropies and the ERG count of a spectrum.

    `alpha_weighted` and `log_alpha_norm` use the alpha of `csn`, as WeightWatcher's do, not Hill's. `matrix_rank`
    counts eigenvalues above n eps of the largest, which is what a Gram matrix in fp64 resolves.

    Args:
        evals: shape (n,), float64, descending, >= 0; unit: weight squared.
        shape: (out_features, in_features).

    Returns:
        `norm` (sum of the eigenvalues), `log_norm`, `log_spectral_norm`, `alpha_weighted`, `log_alpha_norm` (log10);
        `matrix_rank`, `rank_loss`, `weak_rank_loss`; `entropy` (of the shares of the eigenvalues, divided by ln rank),
        `effective_rank` (exp of the entropy of the shares of the singular values); `detX_num`, also as
        `num_ERG_spikes` (the ERG count: how many of the largest eigenvalues, scaled to mean 1, it takes until their
        product is below 1), `detX_val` (the last of them), `ERG_gap` (`detX_num` minus n_tail of `csn`);
        `spectrum_snr`.

    Source: WeightWatcher 0.7.7; Roy and Vetterli 2007 (effective rank); Hartford et al. 2024 (Spectrum).

    Examples:
        >>> found = norm_measures(np.array([4.0, 2.0, 1.0, 1.0]), (4, 9))
        >>> found["norm"], found["matrix_rank"], found["detX_num"], round(found["entropy"], 3)
        (8.0, 4.0, 4.0, 0.875)
    """
    known = resolved(evals)
    norm, top, n = float(evals.sum()), float(evals[0]), len(evals)
    share = evals[evals > 0] / norm
    sigma = np.sqrt(evals[evals > 0])
    roots = sigma / sigma.sum()
    rank = len(known)
    csn = estimate_above("csn", known, best_start(known)) if rank > 2 else None
    alpha = csn.alpha if csn else math.nan
    log_top = math.log10(top)
    found = {
        "norm": norm,
        "log_norm": math.log10(norm),
        "log_spectral_norm": log_top,
        "alpha_weighted": alpha * log_top,
        # The largest is taken out, so that no power of a large eigenvalue leaves the range of fp64.
        "log_alpha_norm": alpha * log_top + math.log10(float(((evals / top) ** alpha).sum()))
        if alpha > 0
        else math.nan,
        "matrix_rank": float(rank),
        "rank_loss": float(n - rank),
        "weak_rank_loss": float((evals < _WEAK).sum()),
        "entropy": float(-(share * np.log(share)).sum()) / math.log(rank) if rank > 1 else math.nan,
        "effective_rank": math.exp(float(-(roots * np.log(roots)).sum())),
        "spectrum_snr": spectrum_snr(np.sqrt(evals), n / max(shape)),
    }
    count = _erg_count(evals * n / norm)
    gap = float(count - csn.n_tail) if csn and csn.n_tail else math.nan
    return found | {
        "detX_num": float(count),
        "num_ERG_spikes": float(count),
        "detX_val": float(evals[min(count, n) - 1]),
        "ERG_gap": gap,
    }


def _erg_count(scaled: np.ndarray) -> int:
    """Return how many of the largest eigenvalues, of mean 1, it takes until their product falls below 1."""
    with np.errstate(divide="ignore"):
        logs = np.cumsum(np.log(scaled[:-1]))
    below = np.flatnonzero(logs < 0)
    return int(below[0]) + 1 if len(below) else len(scaled)


def spectrum_snr(sigma: np.ndarray, ratio: float) -> float:
    """Return the signal-to-noise ratio by which the method Spectrum ranks layers.

    The sum of the singular values beyond the edge of noise over the sum of the others, divided by the largest. The edge
    is s (1 + sqrt(ratio)), s the interquartile range of the singular values over 1.349.

    Args:
        sigma: singular values, shape (n,).
        ratio: short side / long side.
    """
    low, high = np.quantile(sigma, [0.25, 0.75])
    beyond = sigma > (high - low) / 1.349 * (1 + math.sqrt(ratio))
    noise = 1.0 if beyond.all() else float(sigma[~beyond].sum())
    return float(sigma[beyond].sum()) / noise / float(sigma.max()) if noise else math.inf


def bulk_measures(evals: np.ndarray, shape: tuple[int, int], *, prefix: str = "") -> dict[str, float]:
    """Return the fit of the bulk under WeightWatcher's names: spikes, sigma, edges and soft rank.

    Args:
        evals: shape (n,), descending, >= 0; unit: weight squared.
        shape: (out_features, in_features).
        prefix: before each name.
    """
    fit = fit_bulk(evals, shape)
    found = {
        "num_spikes": float(fit.num_spikes),
        "sigma_mp": fit.sigma,
        "bulk_min": fit.low,
        "bulk_max": fit.high,
        "mp_softrank": fit.soft_rank,
    }
    return {f"{prefix}{name}": value for name, value in found.items()}


def trap_measures(evals: np.ndarray, shuffled: np.ndarray, shape: tuple[int, int]) -> dict[str, float]:
    """Return what tells a spectrum from that of the same entries in random places.

    Args:
        evals: of the matrix, shape (n,), descending.
        shuffled: of the matrix with its entries shuffled, shape (n,), descending.
        shape: (out_features, in_features).

    Returns:
        `rand_num_spikes` (correlation traps: spikes that single large entries make), `rand_sigma_mp`, `rand_bulk_min`,
        `rand_bulk_max`, `rand_mp_softrank`; `rand_distance` (Jensen-Shannon distance of the two sorted spectra, each
        divided by its sum), `max_rand_eval`, `ww_softrank` (largest shuffled / largest), `ww_maxdist` (the
        difference of these two).
    """
    p, q = evals / evals.sum(), shuffled / shuffled.sum()
    middle = (p + q) / 2

    def divergence(one: np.ndarray) -> float:
        known = one > 0
        return float((one[known] * np.log(one[known] / middle[known])).sum())

    return {
        **bulk_measures(shuffled, shape, prefix="rand_"),
        "rand_distance": math.sqrt(max(0.0, (divergence(p) + divergence(q)) / 2)),
        "max_rand_eval": float(shuffled[0]),
        "ww_softrank": float(shuffled[0] / evals[0]),
        "ww_maxdist": float(evals[0] - shuffled[0]),
    }
