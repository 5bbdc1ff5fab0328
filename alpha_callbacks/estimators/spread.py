"""How far alpha-Hill would move if the noise in a matrix were drawn again, and if its eigenvalues were."""

import math

import numpy as np

from alpha_callbacks.estimators.tail_estimate import spread_of_equal

TWO_SIDED = 1.96  # of a normal law: 95 %
REPELLING, INDEPENDENT = 0.531, 0.386  # mean ratio of neighbouring spacings (Atas et al. 2013)


def alpha_spread(alpha: float, k: int, n: int) -> float:
    """Return the standard deviation of alpha-Hill over matrices that differ in their noise only.

    (alpha - 1) / k times (0.70 + 0.15 ln k)(1 + 0.3 k / n): a fit to Monte Carlo draws of the Marchenko-Pastur law, for
    aspect ratios of 1 to 16 and k / n up to a half. Against them it is 10 % too narrow to 14 % too wide at 64 and 256
    rows, and 2 % too narrow to 34 % too wide at 1024 (60 draws; benchmarks/results/tails.txt).
    Eigenvalues repel each other, so the sum of their logarithms hardly varies, and the spread falls with 1 / k; the
    guide for independent samples, (alpha - 1) / sqrt(k), is about sqrt(k) / 1.3 times as wide. That one is right where
    the eigenvalues themselves are independent draws, as those of matrices of Levy-distributed entries nearly are.

    Args:
        alpha: the estimate.
        k: its tail size.
        n: number of eigenvalues.

    Returns:
        The standard deviation; nan where alpha is nan or there is no tail.

    Examples:
        >>> round(alpha_spread(6.38, 25, 256), 3), round(5.38 / 25**0.5, 3)
        (0.262, 1.076)
    """
    if k < 1 or n < 2:
        return math.nan
    return (alpha - 1) / k * (0.70 + 0.15 * math.log(k)) * (1 + 0.3 * k / n)


def spacing_ratio(evals: np.ndarray, k: int) -> float:
    """Return the mean of smaller / larger of neighbouring spacings in a tail.

    0.53 where eigenvalues repel each other, as those of a matrix with noise in it do, 0.39 where they are independent.

    Args:
        evals: shape (n,), descending; unit: weight squared.
        k: tail size; nan below 3, where spacings are 0 but for rounding, and where evals[k] is 0.

    Source: Oganesyan and Huse 2007; Atas et al. 2013.
    """
    if k < 3 or evals[: k + 1].min() <= 0:
        return math.nan
    gaps = -np.diff(np.log(evals[: k + 1]))
    if gaps.min() <= spread_of_equal(len(evals)):
        return math.nan
    return float((np.minimum(gaps[1:], gaps[:-1]) / np.maximum(gaps[1:], gaps[:-1])).mean())


def interval_by_spacings(evals: np.ndarray, alpha: float, k: int) -> dict[str, float]:
    """Return an interval for the exponent of the law that the eigenvalues of a tail are drawn from.

    alpha +- 1.96 (alpha - 1) / sqrt(k) where spacings look independent (their ratio is below 0.46), else
    alpha +- 1.96 `alpha_spread`. It answers another question than the spread does, which says how far new noise in the
    same matrix would move alpha; two states of one layer share the rest of it.

    Args:
        evals: shape (n,), descending; unit: weight squared.
        alpha: the estimate for k eigenvalues.
        k: tail size.

    Returns:
        `spacing_ratio`, `alpha_low`, `alpha_high`.

    Examples:
        >>> found = interval_by_spacings(np.geomspace(100, 1, 200), 4.0, 20)
        >>> round(found["spacing_ratio"], 2), round(found["alpha_low"], 1)
        (1.0, 3.7)
    """
    ratio = spacing_ratio(evals, k)
    independent = ratio < (REPELLING + INDEPENDENT) / 2
    spread = (alpha - 1) / math.sqrt(k) if independent else alpha_spread(alpha, k, len(evals))
    if math.isnan(ratio):
        spread = math.nan
    return {"spacing_ratio": ratio, "alpha_low": alpha - TWO_SIDED * spread, "alpha_high": alpha + TWO_SIDED * spread}
