"""Is there a tail? A verdict from the eigenvalues and the fit, and its reason."""

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from alpha_callbacks.estimators.marchenko_pastur import median_eigenvalue, upper_edge
from alpha_callbacks.estimators.spread import alpha_spread
from alpha_callbacks.estimators.tail_estimate import spread_of_equal

Tail = Literal["clear", "doubtful", "none", ""]

# What decides; benchmarks/tails.py measures how often each errs (benchmarks/results/tails.txt).
KS_LIMIT = 1.36  # / sqrt(k): the 5 % level of Kolmogorov and Smirnov
NOISE_LIMIT = 3.0  # standard deviations below the alpha of noise
GAP_LEVEL = 0.05  # how often independent draws of a power law have a wider gap
FLATTEST_EDGE = -1 / 3  # slope of the Hill plot: half-way between a power law (0) and the edge of a bulk (-2/3)
FEWEST = 8  # eigenvalues in a tail that can be judged
LARGEST_SHARE = 0.5  # of the spectrum: a "tail" of that or more is the bulk
BEYOND = 0.1  # share of the tail that must lie beyond what noise with the same median has


class Verdict(NamedTuple):
    """What is said of a tail.

    Attributes:
        tail: "clear", "doubtful" or "none"; "" where there is no alpha to judge.
        reason: why it is not clear, in one phrase; "" if it is.
    """

    tail: Tail
    reason: str = ""


UNJUDGED = Verdict("")


def judge(
    evals: np.ndarray, *, alpha: float, k: int, ks_distance: float, null: float, shape: tuple[int, int]
) -> Verdict:
    """Return whether a spectrum has the tail that alpha-Hill describes.

    none: alpha is less than `NOISE_LIMIT` standard deviations below that of noise of the same shape. doubtful: heavier
    than noise, but it need not be a power law: the KS distance is above 1.36 / sqrt(k), a few eigenvalues stand apart
    from the others (`widest_gap`), the Hill plot falls as it does at the edge of a bulk (`hill_slope`), next to nothing
    of the tail lies beyond what noise has (`noise_edge`), or it has too few or too many eigenvalues to tell. clear:
    none of these.

    Args:
        evals: shape (n,), descending, >= 0; unit: weight squared.
        alpha: the estimate for k eigenvalues.
        k: tail size.
        ks_distance: of the fit.
        null: alpha of noise of this shape.
        shape: (out_features, in_features).

    Examples:
        >>> n = 400
        >>> pareto = (np.arange(1, n + 1) / n) ** -0.5  # alpha = 3, here by construction
        >>> judge(pareto, alpha=3.03, k=40, ks_distance=0.05, null=6.4, shape=(n, n))
        Verdict(tail='clear', reason='')
    """
    n = len(evals)
    if not (math.isfinite(alpha) and math.isfinite(null) and 1 <= k < n):
        return UNJUDGED
    below = (null - alpha) / alpha_spread(null, k, n)
    if below < NOISE_LIMIT:
        what = "is that of noise of this shape" if below > -NOISE_LIMIT else "is above that of noise of this shape"
        return Verdict("none", f"alpha {what} ({null:.2f})")
    doubts = []
    if k < FEWEST:
        doubts.append(f"a tail of {k} is too small to judge")
    elif k >= LARGEST_SHARE * n:
        doubts.append(f"the tail is {k} of {n} eigenvalues, so most of it is the bulk")
    if evals[k] <= 0:  # with threshold "last"; what follows needs the logarithms of the tail and of its neighbour
        return Verdict(
            "doubtful", "; ".join([*doubts, f"the tail is all of the spectrum that is not 0, {k} eigenvalues"])
        )
    limit = KS_LIMIT / math.sqrt(k)
    if ks_distance > limit:
        doubts.append(f"no power law: KS distance {ks_distance:.3f}, limit {limit:.3f}")
    gap, count = widest_gap(evals, k)
    if gap > (limit := widest_gap_limit(k)):
        doubts.append(f"{count} of {k} eigenvalues stand apart: a gap of {gap:.1f} means, limit {limit:.1f}")
    if (slope := hill_slope(evals, k)) < FLATTEST_EDGE:
        doubts.append(f"the Hill plot has no plateau: slope {slope:.2f}, limit {FLATTEST_EDGE:.2f}")
    if (beyond := int(np.count_nonzero(evals[:k] > noise_edge(evals, shape)))) < BEYOND * k:
        doubts.append(f"only {beyond} of {k} eigenvalues lie beyond the edge of noise")
    return Verdict("doubtful", "; ".join(doubts)) if doubts else Verdict("clear")


def widest_gap(evals: np.ndarray, k: int) -> tuple[float, int]:
    """Return the widest gap of a tail in units of the mean gap, and how many eigenvalues lie above it.

    Gaps are j ln(evals[j - 1] / evals[j]) for j = 1..k: of a power law they all have one mean, 1 / (alpha - 1), and of
    independent draws they are independent and exponential (Renyi 1953). Spikes on a bulk leave one that is far wider.

    Examples:
        >>> spikes = np.array([90.0, 89.0, 88.0] + [1.1**-i for i in range(30)])
        >>> gap, count = widest_gap(spikes, 20)
        >>> count, gap > widest_gap_limit(20)
        (3, True)
    """
    logs = np.log(evals[: k + 1])
    gaps = (logs[:-1] - logs[1:]) * _places(k)
    at, total = int(gaps.argmax()), float(gaps.sum())
    return (k * float(gaps[at]) / total, at + 1) if total > 0 else (0.0, 0)


@lru_cache(maxsize=256)
def _places(k: int) -> np.ndarray:
    return np.arange(1.0, k + 1)


def widest_gap_limit(k: int) -> float:
    """Return the widest gap that a share `GAP_LEVEL` of k independent exponential gaps exceeds (Fisher 1929).

    Examples:
        >>> [round(widest_gap_limit(k), 1) for k in (10, 25, 100)]
        [4.4, 5.7, 7.4]
    """
    return k * (1 - (GAP_LEVEL / k) ** (1 / (k - 1))) if k > 1 else math.inf


def hill_slope(evals: np.ndarray, k: int) -> float:
    """Return the slope of ln(alpha - 1) against ln j over tails of j = k / 4 (3 at least) to k eigenvalues.

    0 for a power law, whose Hill plot is flat; -2/3 at the edge of a bulk, where the density falls like a square root
    and alpha grows without end as j falls. Below 4 eigenvalues it is 0: nothing can be said.

    Examples:
        >>> pareto = (np.arange(1, 401) / 400) ** -0.5
        >>> abs(hill_slope(pareto, 40)) < 0.15
        True
    """
    first = max(3, k // 4)
    if k - first < 1:
        return 0.0
    sizes, x, square = _tails(first, k)
    logs = np.log(evals[: k + 1] / evals[0])
    sums = np.cumsum(logs[:k])[first - 1 :] - sizes * logs[first:]
    known = -logs[first:] > spread_of_equal(len(evals))
    if known[0]:  # no tail of equal eigenvalues
        return float(x @ np.log(sizes / sums) / square)
    if known.sum() < 2:
        return 0.0
    x = np.log(sizes[known])
    x -= x.mean()
    return float(x @ np.log(sizes[known] / sums[known]) / (x @ x))


@lru_cache(maxsize=256)
def _tails(first: int, k: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Return what all spectra with this k share: j = first .. k, ln j less its mean, and the sum of the squares."""
    sizes = np.arange(first, k + 1, dtype=np.float64)
    x = np.log(sizes)
    x -= x.mean()
    return sizes, x, float(x @ x)


def noise_edge(evals: np.ndarray, shape: tuple[int, int]) -> float:
    """Return the largest eigenvalue that noise would have whose median eigenvalue is that of the spectrum.

    The median is hardly moved by a tail (Gavish and Donoho 2014).
    """
    n = len(evals)
    ratio = n / max(shape)
    middle = float((evals[(n - 1) // 2] + evals[n // 2]) / 2)
    return middle / median_eigenvalue(ratio) * upper_edge(ratio)
