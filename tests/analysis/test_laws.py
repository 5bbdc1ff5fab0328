"""Laws of alpha through the whole analysis, and the hard cases of matrices with their documented status."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row
from tests.conftest import heavy, noise, orthogonal, weight_of, with_spectrum

EXACT = AnalysisOptions(precisions=("fp64",))


def row(matrix: Tensor, precision: str = "fp64", **options: object) -> Row:
    return analyze_weight(weight_of(matrix), AnalysisOptions(precisions=(precision,), **options))[0]  # type: ignore[arg-type]


shapes = st.tuples(st.integers(12, 90), st.integers(12, 90))
seeds = st.integers(0, 10_000)


@given(shapes, seeds, st.floats(1e-12, 1e8))
def test_scale(shape: tuple[int, int], seed: int, scale: float) -> None:
    w = noise(*shape, seed=seed, dtype=torch.float64)
    assert row(w * scale).alpha == pytest.approx(row(w).alpha, rel=1e-10)


@given(shapes, seeds, st.integers(-30, 30))
def test_scale_by_a_power_of_two_is_exact(shape: tuple[int, int], seed: int, exponent: int) -> None:
    w = noise(*shape, seed=seed)
    assert row(w * 2.0**exponent).alpha == row(w).alpha


@given(shapes, seeds)
def test_transpose(shape: tuple[int, int], seed: int) -> None:
    w = noise(*shape, seed=seed)
    assert row(w.T.contiguous()).alpha == pytest.approx(row(w).alpha, rel=1e-11)


@given(shapes, seeds)
def test_permutation_and_sign(shape: tuple[int, int], seed: int) -> None:
    w = noise(*shape, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    rows, cols = (torch.randperm(size, generator=generator) for size in shape)
    assert row(-w[rows][:, cols]).alpha == pytest.approx(row(w).alpha, rel=1e-11)


@given(shapes, seeds)
def test_rotation(shape: tuple[int, int], seed: int) -> None:
    w = noise(*shape, seed=seed, dtype=torch.float64)
    rotated = orthogonal(shape[0], shape[0], seed) @ w @ orthogonal(shape[1], shape[1], seed + 1)
    assert row(rotated).alpha == pytest.approx(row(w).alpha, rel=1e-10)


@given(st.floats(1.5, 5.0), seeds)
def test_planted_pareto_tail_is_found_through_the_matrix(alpha: float, seed: int) -> None:
    assert row(heavy(150, 120, seed=seed, dtype=torch.float64, alpha=alpha)).alpha == pytest.approx(alpha, rel=0.12)


def test_exponent_is_the_one_of_the_spectrum() -> None:
    evals = torch.arange(40, 0, -1, dtype=torch.float64) ** 2
    expected = 1 + 10 / sum(math.log(float(x) / float(evals[10])) for x in evals[:10])
    assert row(with_spectrum(evals, 60, 40)).alpha == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["zero", "identity", "orthogonal", "tall orthogonal"])
def test_flat_spectra_are_degenerate(name: str, dtype: torch.dtype) -> None:
    w = {
        "zero": torch.zeros(100, 90),
        "identity": torch.eye(64) * 3,
        "orthogonal": orthogonal(128, 128),
        "tall orthogonal": orthogonal(600, 64),
    }[name].to(dtype)
    result = row(w, "fp64")
    assert result.status == "degenerate"
    assert math.isnan(result.alpha)
    assert result.reason


@pytest.mark.parametrize("n", [100, 300])
def test_orthogonal_in_full_fp64(n: int) -> None:
    assert row(orthogonal(n, n)).status == "degenerate"


def test_floors_follow_the_digits_that_are_there() -> None:
    """bf16 weights that were saved as fp32 carry the rounding of bf16."""
    flat = orthogonal(128, 128).bfloat16()
    thin = (noise(120, 8, seed=1) @ noise(8, 100, seed=2)).bfloat16()
    assert [row(w.float()).status for w in (flat, thin)] == ["degenerate", "rank_deficient"]
    assert row(flat, "fp32", load_dtype="fp32").status == "degenerate"


def test_entries_beyond_fp64_squares_are_a_row_not_a_crash() -> None:
    for size in (1e200, 1e-200):
        result = row(torch.full((20, 20), size, dtype=torch.float64) * noise(20, 20).double())
        assert result.status == "failed"
        assert "leave the range of fp64" in result.reason


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rank", [1, 8, 10])
def test_rank_up_to_k_is_rank_deficient(rank: int, dtype: torch.dtype) -> None:
    """Also when the product was rounded to the stored dtype: noise of the last digit is not a tail."""
    w = (noise(120, rank, seed=1, dtype=torch.float64) @ noise(rank, 100, seed=2, dtype=torch.float64)).to(dtype)
    result = row(w)
    assert (result.k_used, result.status) == (10, "rank_deficient")
    assert math.isnan(result.alpha)


def test_rank_k_plus_one_is_ok() -> None:
    w = noise(120, 11, seed=1, dtype=torch.float64) @ noise(11, 100, seed=2, dtype=torch.float64)
    assert row(w).status == "ok"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(400, 400), (400, 100), (2000, 40), (5000, 16)])
def test_noise_itself_is_never_taken_for_a_flat_or_deficient_spectrum(
    shape: tuple[int, int], dtype: torch.dtype
) -> None:
    result = row(noise(*shape, dtype=dtype))
    assert result.status == "ok"
    assert 0.75 < result.alpha_ratio < 1.3


def test_constant_matrix_has_rank_one() -> None:
    assert row(torch.full((60, 50), 0.3)).status == "rank_deficient"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_weights(bad: float) -> None:
    w = noise(40, 30)
    w[3, 4] = bad
    result = row(w)
    assert (result.status, math.isnan(result.alpha)) == ("non_finite", True)


@pytest.mark.parametrize("shape", [(1, 50), (50, 1), (1, 1), (0, 5)])
def test_too_small(shape: tuple[int, int]) -> None:
    assert row(torch.ones(shape)).status == "too_small"


def test_small_router_uses_the_documented_clamp() -> None:
    assert row(noise(8, 256)).k_used == 7


def test_no_status_but_ok_has_an_alpha() -> None:
    for w in (torch.zeros(9, 9), torch.eye(9), torch.ones(9, 9), torch.full((9, 9), math.nan), torch.ones(1, 9)):
        result = row(w)
        assert result.status != "ok"
        assert math.isnan(result.alpha) and math.isnan(result.alpha_ratio)


def test_identity_round_trip_is_the_identity() -> None:
    w = noise(70, 50)
    a, b = analyze_weight(weight_of(w), AnalysisOptions(precisions=("fp64", "fp32")))
    assert a.alpha == b.alpha
    assert (a.method, b.method, a.alpha_error_bound) == ("lossless", "lossless", 0)


def test_analysis_reads_only() -> None:
    w = noise(70, 50)
    before, random = w.clone(), torch.get_rng_state()
    analyze_weight(weight_of(w), AnalysisOptions(precisions=("fp64", "fp32", "fp16", "bf16")))
    assert torch.equal(w, before)
    assert torch.equal(torch.get_rng_state(), random)


def test_overflow_is_counted_and_has_no_alpha() -> None:
    w = noise(40, 30)
    w[0, :3] = 70000.0
    result = row(w, "fp16")
    assert (result.status, result.overflow) == ("non_finite", 3)
    assert "3 of 1200 weights overflow to inf in fp16" in result.reason
    assert row(w, "bf16").status == "ok"  # the rounding of three huge entries is no noise floor for the rest


def test_load_dtype_casts_before_everything() -> None:
    w = heavy(80, 60)
    cast = row(w, "fp32", load_dtype="bf16")
    assert cast.alpha == row(w.bfloat16(), "fp32").alpha != row(w, "fp32").alpha
    assert (cast.method, cast.stored_dtype) == ("lossless", "float32 cast to bfloat16")


def test_underflow_is_counted() -> None:
    w = noise(40, 30)
    w[0, :5] = 1e-9
    assert row(w, "fp16").underflow == 5
    assert row(w, "bf16").underflow == 0


def test_a_tensor_that_vanishes_in_the_format() -> None:
    result = row(noise(40, 30) * 1e-12, "fp16")
    assert (result.status, result.underflow) == ("degenerate", 1200)


def test_a_failing_layer_is_a_row() -> None:
    from dataclasses import replace

    def broken(start: int, stop: int) -> Tensor:
        raise OSError("the disk is gone")

    rows = analyze_weight(replace(weight_of(noise(9, 9)), rows=broken), AnalysisOptions(precisions=("fp32", "bf16")))
    assert [r.status for r in rows] == ["failed", "failed"]
    assert "the disk is gone" in rows[0].reason


def test_unsupported_is_never_decomposed() -> None:
    from dataclasses import replace

    result = analyze_weight(replace(weight_of(noise(9, 9)), unsupported="packed"), EXACT)[0]
    assert (result.status, result.reason) == ("unsupported", "packed")
