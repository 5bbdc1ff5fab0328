"""The Marchenko-Pastur law fitted to the bulk of a spectrum: sigma, edges, and the spikes beyond."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

_BANDWIDTH = 0.1  # of the triangular kernel, on eigenvalues (square matrices: singular values) of mean square 1
_POINTS = 1000
_THIN = 0.01  # densities below this take no part in the fit
_REFUSED = 1000.0  # residual of a law that cannot be the bulk


@dataclass(frozen=True)
class BulkFit:
    """A fitted bulk.

    Attributes:
        num_spikes: eigenvalues beyond the upper edge and its margin.
        sigma: of the law, for a spectrum scaled to mean 1.
        low: lower edge (unit: weight squared).
        high: upper edge (unit: weight squared).
        soft_rank: upper edge / largest eigenvalue.
    """

    num_spikes: int
    sigma: float
    low: float
    high: float
    soft_rank: float


def fit_bulk(evals: np.ndarray, shape: tuple[int, int]) -> BulkFit:
    """Fit sigma of the Marchenko-Pastur law to the density of a spectrum, by WeightWatcher's definition.

    Eigenvalues are scaled to mean 1. Their density (triangular kernel) is compared with that of the law by least
    squares on an even grid, for a square matrix on singular values with the quarter circle. Spikes are those above
    edge + sqrt(margin), where margin = sqrt(1 / Q) (edge / n)^(2 / 3), Q = long side / short side.

    Args:
        evals: shape (n,), descending, >= 0, or of several matrices of that shape, pooled; unit: weight squared.
        shape: (out_features, in_features).

    Source: Martin and Mahoney 2021; `mp_fit` of WeightWatcher 0.7.7. sigma is the same minimum to 1e-3 of the grid.

    Examples:
        >>> noise = np.random.default_rng(0).standard_normal((100, 300))
        >>> fit = fit_bulk(np.linalg.svd(noise, compute_uv=False) ** 2, (100, 300))
        >>> fit.num_spikes, round(fit.sigma, 1)
        (0, 1.0)
    """
    small, large = sorted(shape)
    aspect = large / small
    scale = float(np.mean(evals))
    x = np.asarray(evals, dtype=np.float64) / scale
    square = large == small
    grid, density = _density(np.sqrt(x) if square else x)
    kept = density > _THIN
    grid, density = grid[kept], density[kept]

    def residual(sigma: float) -> float:
        return _residual(sigma, grid, density, aspect, square)

    unit = math.sqrt(float(x.max())) / (1 + math.sqrt(1 / aspect))  # sigma of a law that reaches the largest
    tried = unit * np.arange(0.05, 2.0, 0.01)
    sigma = _least(residual, tried)
    low, high = ((sigma * (1 + sign * math.sqrt(1 / aspect))) ** 2 for sign in (-1, 1))
    margin = math.sqrt(1 / aspect) * (high / small) ** (2 / 3)
    spikes = int((x > high + math.sqrt(margin)).sum())
    return BulkFit(spikes, sigma, low * scale, high * scale, high / float(x.max()))


def _density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return an even grid and the density of values on it, by a triangular kernel."""
    ordered = np.sort(values)
    grid = np.linspace(0, ordered[-1] + 0.5, _POINTS)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])

    def within(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        first, last = np.searchsorted(ordered, low, "left"), np.searchsorted(ordered, high, "right")
        return last - first, sums[last] - sums[first]

    below, below_sum = within(grid - _BANDWIDTH, grid)
    above, above_sum = within(np.nextafter(grid, np.inf), grid + _BANDWIDTH)
    distances = below * grid - below_sum + above_sum - above * grid
    counts = below + above
    return grid, (counts - distances / _BANDWIDTH) / (_BANDWIDTH * len(ordered))


def _residual(sigma: float, grid: np.ndarray, density: np.ndarray, aspect: float, square: bool) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        if square:
            law = np.sqrt(4 - grid**2) / (math.pi * sigma * sigma)
        else:
            low, high = ((sigma * (1 + sign * math.sqrt(1 / aspect))) ** 2 for sign in (-1, 1))
            peak = grid[density.argmax()]
            if high < peak or high > grid[-1] or low > peak:
                return _REFUSED**2 * len(grid)
            law = np.sqrt((high - grid) * (grid - low)) * aspect / (2 * math.pi * sigma * sigma * grid)
    return float(((np.where(np.isfinite(law), law, 0.0) - density) ** 2).sum())


def _least(residual: Callable[[float], float], tried: np.ndarray) -> float:
    """Return where the residual is least: the best of a grid, then golden sections around it."""
    values = [residual(float(sigma)) for sigma in tried]
    at = int(np.argmin(values))
    low, high = float(tried[max(0, at - 1)]), float(tried[min(len(tried) - 1, at + 1)])
    golden = (math.sqrt(5) - 1) / 2
    inner = [high - golden * (high - low), low + golden * (high - low)]
    found = [residual(sigma) for sigma in inner]
    for _ in range(24):
        if found[0] < found[1]:
            high, inner[1], found[1] = inner[1], inner[0], found[0]
            inner[0] = high - golden * (high - low)
            found[0] = residual(inner[0])
        else:
            low, inner[0], found[0] = inner[0], inner[1], found[1]
            inner[1] = low + golden * (high - low)
            found[1] = residual(inner[1])
    best = min((*zip(found, inner, strict=True), (values[at], float(tried[at]))))
    return best[1]
