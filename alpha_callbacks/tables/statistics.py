"""Alphas of one precision -> their statistics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# With fewer layers than this, prose gives their values one by one. Two random orders have a rank correlation beyond 0.7
# either way once in eleven times for 7 layers, once in four for 5; and quartiles of so few are single layers.
TOO_FEW = 8

SUMMARY_COLUMNS = ("precision", "count", "mean", "std", "min", "median", "max", "q25", "q75")


@dataclass(frozen=True)
class PrecisionSummary:
    """Statistics of the usable alphas of one precision; nan where there are none."""

    precision: str
    count: int
    mean: float
    std: float
    min: float
    median: float
    max: float
    q25: float
    q75: float


def summary_of(precision: str, alphas: Sequence[float]) -> PrecisionSummary:
    """Return the statistics of the usable alphas of one precision; std divides by n - 1."""
    if not len(alphas):
        return PrecisionSummary(precision, 0, *[math.nan] * 7)
    values = np.array(alphas)
    q25, median, q75 = (float(q) for q in np.quantile(values, [0.25, 0.5, 0.75]))
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return PrecisionSummary(
        precision, len(values), float(values.mean()), std, float(values.min()), median, float(values.max()), q25, q75
    )
