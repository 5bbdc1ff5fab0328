"""Alphas of one precision -> their statistics; the rank correlation of two columns."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# With fewer layers than this, prose gives their values one by one. Two random orders have a rank correlation beyond 0.7
# either way once in eleven times for 7 layers, once in four for 5; and quartiles of so few are single layers.
TOO_FEW = 8

SUMMARY_COLUMNS = ("precision", "count", "layers", "mean", "std", "min", "median", "max", "q25", "q75")


@dataclass(frozen=True)
class PrecisionSummary:
    """Statistics of the usable alphas of one precision; nan where there are none.

    `count` layers of `layers` have one and are in them.
    """

    precision: str
    count: int
    layers: int
    mean: float
    std: float
    min: float
    median: float
    max: float
    q25: float
    q75: float

    @property
    def counted(self) -> str:
        """How many layers are in the mean, and of how many, where some are not."""
        return str(self.count) if self.count == self.layers else f"{self.count} of {self.layers}"


def summary_of(precision: str, alphas: Sequence[float], layers: int) -> PrecisionSummary:
    """Return the statistics of the usable alphas of one precision, those of `layers` layers; std divides by n - 1."""
    if not len(alphas):
        return PrecisionSummary(precision, 0, layers, *[math.nan] * 7)
    values = np.array(alphas)
    q25, median, q75 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    mean, low, high = float(values.mean()), float(values.min()), float(values.max())
    return PrecisionSummary(precision, len(values), layers, mean, std, low, median, high, q25, q75)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the rank correlation where both are finite; nan for fewer than three places, or if all values are equal.

    Examples:
        >>> spearman([1, 2, 3, 4], [1, 4, 9, 16]), spearman([1, 2, 3], [3, 2, 1])
        (1.0, -1.0)
    """
    pairs = np.array([a, b], dtype=np.float64)
    ranks = [_ranks(values) for values in pairs[:, np.isfinite(pairs).all(axis=0)]]
    if len(ranks[0]) < 3 or any(np.ptp(rank) == 0 for rank in ranks):
        return math.nan
    x, y = (rank - rank.mean() for rank in ranks)
    return float(np.clip((x @ y) / math.sqrt((x @ x) * (y @ y)), -1, 1))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return ranks; equal values share the mean of their ranks."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[places]
