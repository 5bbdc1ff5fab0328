import math
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.solvers import gram_error as module
from alpha_callbacks.solvers.gram_error import gram_error
from tests.conftest import noise


def bound_of(w: Tensor, off: Tensor, **options: object) -> float:
    parts = [lambda: iter(w[:70].split(30)), lambda: iter(w[70:].split(30))]
    a = w.double().T @ w.double() - off
    settings = {"shift": 0, "rounding": 0.0, **options}
    bound, frobenius_sq = gram_error(parts, w.shape[1], lambda x: x @ a, **settings)  # type: ignore[arg-type]
    assert frobenius_sq == pytest.approx(float(w.double().norm() ** 2), rel=1e-12)
    return bound


@pytest.mark.parametrize("rank", [1, 3, 90])
@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e3])
def test_the_norm_is_bounded(rank: int, size: float) -> None:
    u = noise(90, rank, seed=1, dtype=torch.float64)
    off = size * u @ torch.diag((-1.0) ** torch.arange(rank, dtype=torch.float64)) @ u.T
    norm = float(torch.linalg.matrix_norm(off, 2))
    assert norm <= bound_of(noise(200, 90), off) <= 5 * norm + 1e-9


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_probes_are_not_the_numbers_that_weights_are_drawn_from(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn, real = list[Tensor](), torch.randn

    def noted(*shape: int, **options: Any) -> Tensor:
        drawn.append(real(*shape, **options))
        return drawn[-1]

    monkeypatch.setattr(torch, "randn", noted)
    gram_error([lambda: iter([torch.ones(3, 90)])], 90, lambda x: x, shift=0, rounding=0.0)
    (probes,) = drawn
    for seed in (*range(2000), 12345, 31337, 2**31 - 1, 2**32 - 1):
        weights = real(90, 90, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        assert not torch.isclose(weights.flatten()[:90].double(), probes[0], rtol=1e-4).all(), seed


def test_more_products_are_made_where_they_may_do() -> None:
    off = noise(90, 90, seed=1, dtype=torch.float64)
    off, w = off + off.T, noise(200, 90)
    first = bound_of(w, off)
    more = bound_of(w, off, enough=lambda bound: bound < 0.7 * first)
    assert float(torch.linalg.matrix_norm(off, 2)) <= more < first
    assert bound_of(w, off, enough=lambda bound: bound < 0.1 * first) == first, "hopeless"


def test_rounding_of_the_product_is_in_the_bound() -> None:
    w, none = noise(200, 90), torch.zeros(90, 90, dtype=torch.float64)
    assert bound_of(w, none) < 1e-7 < bound_of(w, none, rounding=1e-7)


def test_a_shift_scales_the_matrix() -> None:
    w = noise(200, 90)
    a = 4.0 * (w.double().T @ w.double())
    assert gram_error([lambda: iter([w])], 90, lambda x: x @ a, shift=1, rounding=0.0)[0] < 1e-6


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_proves_nothing(value: float) -> None:
    assert bound_of(noise(200, 90), torch.full((90, 90), value, dtype=torch.float64)) == math.inf


def test_the_chance_is_that_of_the_distribution() -> None:
    """P(chi-squared of 2 m degrees < x) is that of m or more events of a Poisson law of mean x / 2."""
    half, m = module._LEAST / 2, module._PROBES // 2
    chance = math.exp(-half) * sum(half**j / math.factorial(j) for j in range(m, m + 30))
    assert 0.9e-13 < chance <= 1e-13
