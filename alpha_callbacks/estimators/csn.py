"""The fit of Clauset, Shalizi and Newman: x_min where the tail is closest to a power law."""

import math
from dataclasses import replace

import numpy as np

from alpha_callbacks.estimators.tail_estimate import TailEstimate, estimate_above, resolved, spread_of_equal

_FEWEST = 8  # eigenvalues; below, every x_min is a guess
_LOOK = 48  # places of each tail that a first look takes
_DROPPED = (1, 2, 3)  # largest eigenvalues left out in turn by the jackknife
_GROUPS = 10  # and every tenth eigenvalue, ten times


def csn(evals: np.ndarray) -> TailEstimate:
    """Fit the tail of a spectrum with x_min chosen by the Kolmogorov-Smirnov distance.

    Every eigenvalue but the largest is tried as x_min, with alpha = 1 + n / sum(ln(x / x_min)) over the n eigenvalues
    from it on; the one with the smallest D = max |fitted - empirical distribution| wins.

    The choice of x_min is fragile: a few eigenvalues more or less move it, and alpha with it. `low` and `high` are the
    range of alpha over refits without the 1, 2 and 3 largest eigenvalues and without every tenth (ten of them).

    Args:
        evals: shape (n,), float64, descending, >= 0; unit: weight squared.

    Returns:
        The fit. Equal to WeightWatcher 0.7.7 (alpha, D, xmin, sigma, num_pl_spikes) and to powerlaw 2.0 with its bounds
        lifted, where no two eigenvalues are equal and there are 20 at least.

    Source: Clauset, Shalizi and Newman, SIAM Review 51, 2009.

    Examples:
        >>> pareto = (np.arange(1, 201) / 200) ** -0.5  # survival x^-2, so alpha = 3
        >>> fit = csn(pareto)
        >>> round(fit.alpha, 2), fit.n_tail, fit.low < fit.alpha < fit.high
        (3.04, 200, True)
    """
    data = resolved(np.asarray(evals, dtype=np.float64))
    if len(data) < _FEWEST:
        return TailEstimate("csn", reason=f"{len(data)} eigenvalues that are not zero, fewer than {_FEWEST}")
    fit = estimate_above("csn", data, best_start(data))
    if math.isnan(fit.alpha):
        return fit
    parts = [data[:-count] for count in _DROPPED if len(data) - count >= _FEWEST]
    if len(data) >= _GROUPS * 2:
        places = np.arange(len(data))
        parts += [data[places % _GROUPS != group] for group in range(_GROUPS)]
    again = [estimate_above("csn", part, best_start(part)).alpha for part in parts]
    known = [alpha for alpha in (fit.alpha, *again) if not math.isnan(alpha)]
    return replace(fit, low=min(known), high=max(known))


def best_start(ascending: np.ndarray) -> int:
    """Return the index of the x_min with the smallest KS distance; of equal ones the smallest.

    A look at a few places of each tail bounds its distance from below, so that only the few starts whose bound beats
    the best distance found need the whole tail: the result is that of trying all.
    """
    logs = np.log(ascending / ascending[-1])  # <= 0; scale cancels
    count = len(logs)
    starts = np.arange(count - 1)
    sizes = count - starts
    sums = np.cumsum(logs[::-1])[::-1][:-1] - sizes * logs[:-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = np.where(-logs[:-1] > spread_of_equal(count), sizes / sums, np.nan)  # alpha - 1
    rates[1:][np.diff(logs[:-1]) <= spread_of_equal(count)] = np.nan  # of equal x_min the first counts them all
    if np.isnan(rates).all():
        return 0
    ranks = np.floor(np.linspace(0, 1, _LOOK)[None] * (sizes[:, None] - 1)).astype(np.int64)
    gaps = 1 - np.exp(-rates[:, None] * (logs[starts[:, None] + ranks] - logs[:-1, None])) - ranks / sizes[:, None]
    bounds = np.abs(gaps).max(axis=1)

    def distance(start: int) -> float:
        size = count - start
        tail = np.exp(-rates[start] * (logs[start:] - logs[start]))
        return float(np.abs(1 - tail - np.arange(size) / size).max())

    best, least = -1, math.inf
    for start in np.argsort(bounds, kind="stable"):
        if np.isnan(bounds[start]) or bounds[start] > least:
            break
        found = distance(int(start))
        if found < least or (found == least and start < best):
            best, least = int(start), found
    return best
