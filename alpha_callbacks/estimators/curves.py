"""Eigenvalues -> the curves that show whether there is a tail: alpha against k, densities, the noise law."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from alpha_callbacks.estimators.hill import Threshold
from alpha_callbacks.estimators.tail_estimate import spread_of_equal


def hill_curve(evals: np.ndarray, ks: Sequence[int], *, threshold: Threshold = "next") -> np.ndarray:
    """Return alpha for each tail size: the estimator of `hill_alpha`, from running sums.

    Args:
        evals: shape (n,), descending.
        ks: tail sizes, 1 <= k <= n - 1.
        threshold: which eigenvalue is x_min.

    Returns:
        One alpha a tail size; nan where the tail is flat or reaches zero.

    Examples:
        >>> hill_curve(np.array([8.0, 4.0, 2.0, 1.0]), [3]).round(4).tolist()
        [1.7213]
    """
    k = np.asarray(ks, dtype=np.int64)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(evals / evals[0])
        least = logs[k if threshold == "next" else k - 1]
        sums = np.cumsum(logs)[k - 1] - k * least
        return np.where(np.isfinite(sums) & (-least > spread_of_equal(len(evals))), 1 + k / sums, np.nan)


@lru_cache(maxsize=64)  # the experts of a model all have the same
def hill_sizes(n: int, *, points: int, k: int | None = None) -> tuple[int, ...]:
    """Return tail sizes to draw alpha at: from 2 to two thirds of the spectrum, evenly in log k, and k itself."""
    last = max(1, min(n - 1, round(n * 2 / 3)))
    sizes = {*np.unique(np.geomspace(min(2, last), last, points).round().astype(int)).tolist()}
    return tuple(sorted(sizes | ({k} if k is not None and 1 <= k < n else set())))


@dataclass(frozen=True)
class LogDensity:
    """A histogram with bins of equal width in log x.

    Attributes:
        edges: bounds of the bins, one more than there are bins.
        counts: eigenvalues in each.
        total: number of eigenvalues, those that are zero included.
    """

    edges: np.ndarray
    counts: np.ndarray
    total: int

    @property
    def density(self) -> np.ndarray:
        """Share of the eigenvalues a unit of x; integrates to 1."""
        return np.asarray(self.counts / self.total / np.diff(self.edges))


def log_density(evals: np.ndarray, *, bins: int) -> LogDensity:
    """Return the density of a spectrum in bins of equal width in log x, over what is not lost in rounding.

    Eigenvalues below eps times the largest are rounding; they count in the total only.
    """
    top = float(evals[0]) if len(evals) else 0.0
    visible = evals[evals > top * np.finfo(np.float64).eps]
    if not len(visible):
        return LogDensity(np.geomspace(1, 10, bins + 1), np.zeros(bins, dtype=np.int64), max(1, len(evals)))
    low, high = float(visible[-1]), top
    if low == high:
        low, high = low / 1.1, high * 1.1
    edges = np.geomspace(low, high, bins + 1)
    edges[0], edges[-1] = low, high  # geomspace may miss them by a rounding, and so lose the largest
    return LogDensity(edges, np.histogram(visible, edges)[0], len(evals))


@dataclass(frozen=True)
class NoiseLaw:
    """The Marchenko-Pastur law of the eigenvalues of a matrix of independent entries.

    Attributes:
        rows: rows of the matrix.
        cols: columns of the matrix.
        variance: mean square of an entry.
    """

    rows: int
    cols: int
    variance: float

    @property
    def ratio(self) -> float:
        """Short side / long side."""
        return min(self.rows, self.cols) / max(self.rows, self.cols)

    @property
    def scale(self) -> float:
        """Eigenvalue that stands for x = 1 of the law."""
        return self.variance * max(self.rows, self.cols)

    @property
    def edges(self) -> tuple[float, float]:
        """Smallest and largest eigenvalue that noise has."""
        root = math.sqrt(self.ratio)
        return self.scale * (1 - root) ** 2, self.scale * (1 + root) ** 2

    def density(self, evals: np.ndarray) -> np.ndarray:
        """Return the density at these eigenvalues, 0 outside the edges."""
        low, high = self.edges
        inside = np.clip((high - evals) * (evals - low), 0, None)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = np.sqrt(inside) / (2 * math.pi * self.ratio * evals * self.scale)
        return np.asarray(np.where(inside > 0, found, 0.0))
