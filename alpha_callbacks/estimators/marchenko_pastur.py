"""What the estimator returns on pure noise: alpha of the Marchenko-Pastur law."""

import math
from functools import lru_cache

import numpy as np

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(128)


@lru_cache(maxsize=4096)
def alpha_null(rows: int, cols: int, k: int) -> float:
    """Return the Hill alpha of the Marchenko-Pastur law for this shape and tail size.

    The law of the eigenvalues of W^T W / max(rows, cols) for i.i.d. entries, aspect ratio q = min / max. With
    x = 1 + q + 2 sqrt(q) cos(t), 0 <= t <= pi, its density becomes 2 sin(t)^2 / (pi x) dt, which is smooth over the
    tail, so Gauss-Legendre quadrature is exact to rounding.

    Args:
        rows: rows of the matrix.
        cols: columns of the matrix.
        k: tail size; the tail is the upper k / min(rows, cols) of the law.

    Returns:
        The noise value: alpha near it means "indistinguishable from an untrained matrix". nan where no tail exists.

    Source: Marchenko and Pastur 1967.

    Examples:
        >>> round(alpha_null(4096, 4096, 409), 2), round(alpha_null(14336, 4096, 409), 2)
        (6.48, 10.12)
    """
    n = min(rows, cols)
    if n < 2 or not 1 <= k < n:
        return math.nan
    q = n / max(rows, cols)
    edge = _angle_of_mass(q, k / n)
    threshold = _x(q, np.array([edge]))[0]
    t, w = _grid(edge)
    x = _x(q, t)
    mean_log = float(np.sum(w * 2 * np.sin(t) ** 2 / (math.pi * x) * np.log(x / threshold)))
    return 1.0 + (k / n) / mean_log


def upper_edge(ratio: float) -> float:
    """Return the largest eigenvalue of the law for this aspect ratio (short side / long side), entries of variance 1.

    Examples:
        >>> upper_edge(1.0), upper_edge(0.25)
        (4.0, 2.25)
    """
    return (1 + math.sqrt(ratio)) ** 2


@lru_cache(maxsize=4096)
def median_eigenvalue(ratio: float) -> float:
    """Return the eigenvalue of the law that half of the mass lies above; scale as in `upper_edge`.

    Examples:
        >>> round(median_eigenvalue(1.0), 4), round(median_eigenvalue(0.25), 4)
        (0.6528, 0.916)
    """
    return float(_x(ratio, np.array([_angle_of_mass(ratio, 0.5)]))[0])


def _x(q: float, t: np.ndarray) -> np.ndarray:
    return np.asarray(1 + q + 2 * math.sqrt(q) * np.cos(t))


def _grid(edge: float) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights on [0, edge]."""
    return (_NODES + 1) * edge / 2, _WEIGHTS * edge / 2


def _mass(q: float, edge: float) -> float:
    """Return the share of the law above x(edge)."""
    t, w = _grid(edge)
    return float(np.sum(w * 2 * np.sin(t) ** 2 / (math.pi * _x(q, t))))


def _angle_of_mass(q: float, share: float) -> float:
    """Return the angle above which the law holds this share (bisection: the mass grows with the angle)."""
    low, high = 0.0, math.pi
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _mass(q, middle) < share else (low, middle)
    return (low + high) / 2
