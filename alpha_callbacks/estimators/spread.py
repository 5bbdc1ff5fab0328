"""How far alpha-Hill would move if the noise in a matrix were drawn again."""

import math

TWO_SIDED = 1.96  # of a normal law: 95 %


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
