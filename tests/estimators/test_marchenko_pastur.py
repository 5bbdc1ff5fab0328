import math

import numpy as np
import pytest
import torch

from alpha_callbacks.estimators.hill import hill_alpha, tail_size
from alpha_callbacks.estimators.marchenko_pastur import alpha_null


@pytest.mark.parametrize(
    ("rows", "cols", "expected"), [(4000, 4000, 6.47), (14000, 4000, 10.11), (1000, 4000, 10.64), (125250, 4000, 24.96)]
)
def test_published_values(rows: int, cols: int, expected: float) -> None:
    """DESIGN section 3 (k exactly 10 %)."""
    assert alpha_null(rows, cols, min(rows, cols) // 10) == pytest.approx(expected, abs=0.02)


def test_against_a_plain_riemann_sum() -> None:
    """The density as it is printed in every textbook, summed on a fine grid."""
    q, share = 0.25, 0.1
    low, high = (1 - math.sqrt(q)) ** 2, (1 + math.sqrt(q)) ** 2
    edges = np.linspace(low, high, 4_000_001)
    x = (edges[1:] + edges[:-1]) / 2
    mass = np.sqrt((high - x) * (x - low)) / (2 * math.pi * q * x) * (edges[1] - edges[0])
    above = np.cumsum(mass[::-1])[::-1]
    first = int(np.searchsorted(-above, -share))
    mean_log = float(np.sum(mass[first:] * np.log(x[first:] / x[first])))
    assert alpha_null(1000, 4000, 100) == pytest.approx(1 + share / mean_log, rel=1e-4)


@pytest.mark.parametrize(("rows", "cols"), [(600, 600), (600, 300), (900, 300), (1500, 150)])
def test_monte_carlo(rows: int, cols: int) -> None:
    generator = torch.Generator().manual_seed(7)
    k, alphas = tail_size(cols), []
    for _ in range(8):
        w = torch.randn(rows, cols, dtype=torch.float64, generator=generator)
        alphas.append(hill_alpha(torch.linalg.svdvals(w) ** 2, k=k).alpha)
    spread = float(np.std(alphas, ddof=1))
    # finite size: the threshold is eigenvalue k + 1, half a spacing below the quantile
    assert np.mean(alphas) == pytest.approx(
        alpha_null(rows, cols, k), abs=4 * spread / math.sqrt(8) + 0.04 * np.mean(alphas)
    )


def test_transposed_is_the_same() -> None:
    assert alpha_null(1024, 4096, 102) == alpha_null(4096, 1024, 102)


@pytest.mark.parametrize(("rows", "k"), [(1, 1), (5, 0), (5, 5)])
def test_no_tail_no_null(rows: int, k: int) -> None:
    assert math.isnan(alpha_null(rows, 10, k))
