"""What an estimator that stands beside Hill's returns: one fit of the tail, and what it says of itself."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class TailEstimate:
    """One fit of the upper tail of a spectrum by a named estimator.

    Attributes:
        estimator: its name.
        alpha: exponent of the eigenvalue density; nan where there is none (`reason` says why).
        n_tail: eigenvalues that the fit is of, x_min counted.
        x_min: smallest of them (unit: weight squared).
        ks_distance: largest gap between the empirical and the fitted distribution of the tail, 0..1.
        stderr: (alpha - 1) / sqrt(n_tail), the i.i.d. guide.
        low: smallest alpha of the refits that the estimator makes to show how firm it is; nan if it makes none.
        high: largest of these.
        more: what only this estimator has: name -> value.
        reason: why alpha is nan, else "".
    """

    estimator: str
    alpha: float = math.nan
    n_tail: int = 0
    x_min: float = math.nan
    ks_distance: float = math.nan
    stderr: float = math.nan
    low: float = math.nan
    high: float = math.nan
    more: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""


def resolved(evals: np.ndarray) -> np.ndarray:
    """Return the eigenvalues that fp64 tells from zero, ascending; relative, so that the scale of W cancels."""
    top = float(evals[0]) if len(evals) else 0.0
    return np.ascontiguousarray(evals[evals > top * len(evals) * np.finfo(np.float64).eps][::-1])


def spread_of_equal(n: int) -> float:
    """Return the ln(largest / smallest) that equal eigenvalues among n may have by the rounding of an fp64 solve."""
    return 8 * n * float(np.finfo(np.float64).eps)


def fit_above(ascending: np.ndarray, first: int) -> tuple[float, float]:
    """Return (alpha, KS distance) of the power law from eigenvalue `first` on, which is x_min and counts.

    alpha = 1 + n / sum(ln(x / x_min)); D = max |1 - (x / x_min)^(1 - alpha) - i / n|, i = 0..n - 1 in rising order.
    Both are nan for a flat tail.
    """
    logs = np.log(ascending[first:] / ascending[first])
    n, total = len(logs), float(logs.sum())
    if logs[-1] <= spread_of_equal(len(ascending)):
        return math.nan, math.nan
    gaps = 1 - np.exp(-n / total * logs) - np.arange(n) / n
    return 1 + n / total, float(np.abs(gaps).max())


def estimate_above(name: str, ascending: np.ndarray, first: int, **more: float) -> TailEstimate:
    """Return the estimate of the power law from eigenvalue `first` on; `more` goes into its `more`."""
    alpha, distance = fit_above(ascending, first)
    n = len(ascending) - first
    if math.isnan(alpha):
        return TailEstimate(name, reason="all eigenvalues of the tail are equal")
    x_min = float(ascending[first])
    return TailEstimate(name, alpha, n, x_min, distance, (alpha - 1) / math.sqrt(n), more=more)
