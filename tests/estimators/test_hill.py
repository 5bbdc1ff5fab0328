import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.errors import SpectrumError
from alpha_callbacks.estimators.hill import hill_alpha, tail_of, tail_size


def reference_alpha(evals: np.ndarray, k: int, threshold: str) -> float:
    """DESIGN section 3, written down once more in NumPy."""
    x_min = evals[k] if threshold == "next" else evals[k - 1]
    return 1 + k / sum(math.log(x / x_min) for x in evals[:k])


spectra = st.lists(st.floats(1e-3, 1e3), min_size=4, max_size=60, unique=True)


@given(spectra, st.sampled_from(["next", "last"]), st.data())
def test_agrees_with_the_formula(values: list[float], threshold: str, data: st.DataObject) -> None:
    evals = torch.tensor(sorted(values, reverse=True), dtype=torch.float64)
    k = data.draw(st.integers(2, len(values) - 1))
    fit = hill_alpha(evals, k=k, threshold=threshold)
    assert fit.alpha == pytest.approx(reference_alpha(evals.numpy(), k, threshold), rel=1e-12)
    assert fit.stderr == pytest.approx((fit.alpha - 1) / math.sqrt(k))
    assert 0 <= fit.ks_distance <= 1


@given(st.floats(1.2, 6.0), st.integers(200, 2000))
def test_finds_a_planted_pareto_tail(alpha: float, n: int) -> None:
    """Exact Pareto quantiles: sum ln(x_i / x_{k+1}) is known, so is the deviation from the planted exponent."""
    quantiles = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    evals = quantiles ** (-1 / (alpha - 1))
    k = tail_size(n)
    fit = hill_alpha(evals, k=k)
    exact = k / sum(math.log((k + 0.5) / (i + 0.5)) for i in range(k))
    assert fit.alpha == pytest.approx(1 + (alpha - 1) * exact, rel=1e-9)
    assert fit.alpha == pytest.approx(alpha, rel=0.08)
    assert fit.ks_distance < 0.06


def test_ks_distance_against_scipy_style_loop() -> None:
    evals = torch.linspace(10, 1, 50, dtype=torch.float64)
    fit = hill_alpha(evals, k=20)
    tail = [float(x) for x in evals[:20]]
    gaps = []
    for i, x in enumerate(tail):
        model = (x / fit.x_min) ** (1 - fit.alpha)
        gaps += [abs(model - i / 20), abs(model - (i + 1) / 20)]
    assert fit.ks_distance == pytest.approx(max(gaps), rel=1e-12)


@pytest.mark.parametrize(
    ("n", "k_frac", "k_min", "expected"),
    [(4096, 0.1, 10, 409), (50, 0.1, 10, 10), (8, 0.1, 10, 7), (2, 0.1, 10, 1), (100, 0.001, 1, 1), (100, 0.99, 1, 99)],
)
def test_tail_size_is_clamped(n: int, k_frac: float, k_min: int, expected: int) -> None:
    assert tail_size(n, k_frac=k_frac, k_min=k_min) == expected


def test_tail_size_needs_two() -> None:
    with pytest.raises(SpectrumError, match="at least 2 eigenvalues, got 1"):
        tail_size(1)


def test_equal_eigenvalues_are_degenerate() -> None:
    fit = hill_alpha(torch.ones(20, dtype=torch.float64), k=5)
    assert fit.status == "degenerate"
    assert math.isnan(fit.alpha)


def test_zero_spectrum_is_degenerate() -> None:
    assert hill_alpha(torch.zeros(20, dtype=torch.float64), k=5).status == "degenerate"


def test_zero_threshold_is_rank_deficient() -> None:
    evals = torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert hill_alpha(evals, k=3).status == "rank_deficient"
    assert hill_alpha(evals, k=2).status == "ok"
    assert hill_alpha(evals, k=3, threshold="last").status == "ok"


def test_threshold_last_with_one_eigenvalue_has_no_tail() -> None:
    assert hill_alpha(torch.tensor([3.0, 2.0], dtype=torch.float64), k=1, threshold="last").status == "degenerate"


@pytest.mark.parametrize(
    ("evals", "k", "message"),
    [
        (torch.ones(3), 1, "1-D float64"),
        (torch.ones(3, 1, dtype=torch.float64), 1, "1-D float64"),
        (torch.tensor([2.0, 1.0], dtype=torch.float64), 2, "1 <= k <= 1, got k=2"),
        (torch.tensor([1.0, 2.0], dtype=torch.float64), 1, "descending order"),
        (torch.tensor([1.0, -2.0], dtype=torch.float64), 1, "descending order"),
        (torch.tensor([math.nan, 1.0], dtype=torch.float64), 1, "finite eigenvalues"),
    ],
)
def test_refuses_what_is_no_spectrum(evals: torch.Tensor, k: int, message: str) -> None:
    with pytest.raises(SpectrumError, match=message):
        hill_alpha(evals, k=k)


def test_floors_scale_with_the_stored_digits() -> None:
    coarse, fine, last = (
        tail_of(512, 512, k_frac=0.1, k_min=10, threshold=threshold, eps=eps, typical=0.02)
        for threshold, eps in (("next", 2**-7), ("next", 2**-23), ("last", 2**-23))
    )
    assert coarse.spread_floor == pytest.approx(2**-7)
    assert coarse.noise == pytest.approx(2**16 * fine.noise)
    assert (coarse.anchor, last.anchor) == (51, 50)
    assert fine.rank_floor(1e30) > fine.noise**2 == fine.rank_floor(0.0)
