"""Alphas of one precision -> their statistics."""

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
