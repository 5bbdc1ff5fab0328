"""Precisions whose alpha is proved from the vectors of the stored matrix: rows, refusals, and what decides."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis import certificate_costs, short_side
from alpha_callbacks.analysis.analyze import analyze_weight, analyze_with_spectra
from alpha_callbacks.analysis.certificate_costs import Plan, Sides, plan_proofs, predicted_bound
from alpha_callbacks.errors import SolverError
from alpha_callbacks.estimators.hill_error_bound import hill_range
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.solvers import numpy_blas, shortest_way
from alpha_callbacks.solvers import spectrum as spectrum_module
from alpha_callbacks.solvers.top_space import TopSpaceSolver
from alpha_callbacks.weights import weight as weight_module
from tests.conftest import noise, weight_of

pytestmark = pytest.mark.skipif(not numpy_blas.available(), reason="NumPy's build hides its LAPACK")


@pytest.fixture
def at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small matrices be proved too, which costs more than it spares."""
    monkeypatch.setattr(certificate_costs, "_CALLS", 0.0)
    monkeypatch.setattr(shortest_way, "_FEW", 10**6)


def uneven(rows: int, cols: int) -> Tensor:
    """Return noise whose lines along the short side are of uneven size, so that its spectrum has a tail."""
    if rows < cols:
        return uneven(cols, rows).T.contiguous()
    return noise(rows, cols) * torch.rand(cols, generator=torch.Generator().manual_seed(0)) ** -0.3


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize("shape", [(300, 300), (400, 250), (250, 400)])
@pytest.mark.parametrize("threshold", ["next", "last"])
def test_certified_rows_are_those_of_a_decomposition_within_their_bound(shape: tuple[int, int], threshold: str) -> None:
    w = weight_of(uneven(*shape))
    options = AnalysisOptions(precisions=("fp32", "fp16", "bf16"), threshold=threshold, reuse_tol=1e-4)  # type: ignore[arg-type]
    rows = analyze_weight(w, options)
    truth = analyze_weight(w, AnalysisOptions(precisions=("fp32", "fp16", "bf16"), threshold=threshold, reuse_tol=0))  # type: ignore[arg-type]
    assert [row.method for row in rows] == ["lossless", "certified", "certified"]
    for row, exact in zip(rows[1:], truth[1:], strict=True):
        assert row.status == "ok" and row.solver == "ritz_fp64"
        assert abs(row.alpha - exact.alpha) <= row.alpha_error_bound <= 1e-4 * row.alpha
        assert abs(row.alpha - exact.alpha) < 0.2 * row.alpha_error_bound
        for name in ("x_min", "spectral_norm", "frobenius_norm", "ks_distance"):
            assert getattr(row, name) == pytest.approx(getattr(exact, name), rel=1e-4), name
        for name in ("k_used", "overflow", "underflow", "relative_error", "tail"):
            assert getattr(row, name) == getattr(exact, name), name
    assert rows[0].alpha == pytest.approx(truth[0].alpha, rel=1e-12)


@pytest.mark.usefixtures("at_any_size")
def test_eigenvalues_that_are_asked_for_come_from_decompositions() -> None:
    found = analyze_with_spectra(weight_of(uneven(300, 300)), AnalysisOptions())
    assert [row.method for row in found.rows] == ["lossless", "computed", "computed"]
    assert set(found.spectra) == {"fp32", "fp16", "bf16"}
    found = analyze_with_spectra(weight_of(uneven(300, 300)), AnalysisOptions(), of_each=False)
    assert found.rows == analyze_weight(weight_of(uneven(300, 300)), AnalysisOptions())
    assert [row.method for row in found.rows] == ["lossless", "certified", "certified"]
    assert set(found.spectra) == {"fp32"}


@pytest.mark.usefixtures("at_any_size")
def test_what_is_not_proved_to_the_tolerance_is_decomposed() -> None:
    """Noise has a tail that nothing separates from the rest: bf16 cannot be proved to 1e-5, fp16 can."""
    rows = analyze_weight(weight_of(noise(300, 300)), AnalysisOptions())
    assert [row.method for row in rows] == ["lossless", "certified", "computed"]
    assert math.isnan(rows[2].alpha_error_bound)


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize(
    "options",
    [
        {"reuse_tol": 0},
        {"measures": ("norms",)},
        {"precisions": ("fp16", "bf16")},
        {"precisions": ("fp32",)},
        {"solver": "fast"},
    ],
)
def test_what_leaves_nothing_to_prove(options: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum_module, "TopSpaceSolver", None)  # would fail if it were asked
    rows = analyze_weight(weight_of(uneven(300, 300)), AnalysisOptions(**options))  # type: ignore[arg-type]
    assert all(row.ok and row.method in ("computed", "lossless") for row in rows)


@pytest.mark.usefixtures("at_any_size")
def test_without_lapack_every_precision_is_decomposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectrum_module, "available", lambda: False)
    rows = analyze_weight(weight_of(uneven(300, 300)), AnalysisOptions())
    assert [row.method for row in rows] == ["lossless", "computed", "computed"]


def test_small_matrices_are_decomposed() -> None:
    rows = analyze_weight(weight_of(uneven(200, 200)), AnalysisOptions())
    assert [row.method for row in rows] == ["lossless", "computed", "computed"]


def test_a_bf16_checkpoint_asks_for_no_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate_costs, "_CALLS", 0.0)
    monkeypatch.setattr(spectrum_module, "TopSpaceSolver", None)
    rows = analyze_weight(weight_of(uneven(300, 300).bfloat16()), AnalysisOptions())
    assert all(row.method in ("lossless", "bounded") for row in rows)


def test_costs_choose_the_precisions_that_pay_and_the_vectors_that_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    n = 2000
    evals = 1 / torch.arange(1, n + 1, dtype=torch.float64)
    norm = math.sqrt(float(evals.sum()))

    def alpha_range(lower: Tensor, upper: Tensor) -> tuple[float, float]:
        return hill_range(lower, upper, k=200, anchor=200)

    def plan(sides: Sides, **changes: float) -> Plan:
        sizes = {name: change * norm for name, change in changes.items()}
        return plan_proofs(evals, sides, sizes, 201, 1e-5, alpha_range)

    square = Sides(n, n)
    both, one = plan(square, fp16=2e-4, bf16=1.6e-3, int8=1e-2), plan(square, fp16=2e-4)
    assert both.precisions == {"fp16", "bf16"} and one.precisions == {"fp16"}
    assert 201 < one.columns < both.columns < 600
    assert plan(square, int4=0.1) == plan(square) == Plan()
    bounds = [predicted_bound(evals, square, 1e-3 * norm, q, 201, alpha_range) for q in (210, 260, 400)]
    assert bounds == sorted(bounds, reverse=True) and bounds[-1] > 0
    monkeypatch.setattr(shortest_way, "machine_cores", lambda: 2)
    assert not Sides(4096, 1024).worth_trying(2, 103) and Sides(7168, 2048).worth_trying(2, 205)
    assert Sides(4096, 4096).worth_trying(2, 410) and not Sides(4096, 4096).worth_trying(1, 410)
    monkeypatch.setattr(shortest_way, "machine_cores", lambda: 16)
    assert not Sides(4096, 4096).worth_trying(2, 410) and Sides(1024, 1024).worth_trying(2, 103)
    assert not Sides(576, 576).worth_trying(2, 58)


@pytest.mark.usefixtures("at_any_size")
def test_vectors_that_prove_nothing_leave_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TopSpaceSolver, "_beyond", _fails)
    rows = analyze_weight(weight_of(uneven(300, 300)), AnalysisOptions())
    assert [row.method for row in rows] == ["lossless", "computed", "computed"]
    assert [row.solver for row in rows] == ["gram_fp64"] * 3


def _fails(*_: object) -> float:
    raise SolverError("nothing is proved")


@pytest.mark.usefixtures("at_any_size")
def test_a_rank_between_the_tail_and_the_vectors() -> None:
    """Eigenvalues that are zero, or below zero by rounding, are no reason to fail."""
    thin = noise(300, 33, seed=1, dtype=torch.float64) @ noise(33, 300, seed=2, dtype=torch.float64)
    options = {tol: AnalysisOptions(precisions=("fp64", "fp32", "fp16"), reuse_tol=tol) for tol in (1e-4, 0.0)}
    rows, truth = (analyze_weight(weight_of(thin), options[tol]) for tol in (1e-4, 0.0))
    assert [row.status for row in rows] == [row.status for row in truth]
    for row, exact in zip(rows, truth, strict=True):
        bound = row.alpha_error_bound if row.method in ("bounded", "certified") else 1e-11 * exact.alpha
        assert not row.ok or abs(row.alpha - exact.alpha) <= bound


@pytest.mark.usefixtures("at_any_size")
def test_rows_that_are_read_more_than_once_count_once_in_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    w, options = weight_of(uneven(250, 400)), AnalysisOptions(reuse_tol=1e-4)
    once = analyze_weight(w, options)
    monkeypatch.setattr(short_side, "HOLD_BYTES", 1)
    monkeypatch.setattr(weight_module, "BLOCK_ELEMENTS", 100 * 250)
    again = analyze_weight(w, options)
    assert [row.method for row in again] == ["lossless", "certified", "certified"]
    for row, other in zip(again, once, strict=True):
        assert row.alpha == pytest.approx(other.alpha, rel=1e-9)
        assert row.alpha_error_bound == pytest.approx(other.alpha_error_bound, rel=1e-6)


@pytest.mark.usefixtures("at_any_size")
@pytest.mark.parametrize("size", [1e-115, 1e-60, 1e-30, 1e30, 1e60, 1e115])
def test_what_leaves_the_range_of_fp64_proves_nothing(size: float) -> None:
    """Products of four entries: below it they are 0, and a proof without them was of another alpha."""
    options, weight = (
        AnalysisOptions(precisions=("fp64", "int8"), reuse_tol=1e-3),
        weight_of(uneven(110, 110).double() * size),
    )
    _, row = analyze_weight(weight, options)
    _, exact = analyze_weight(weight, replace(options, reuse_tol=0))
    assert row.method == ("certified" if 1e-40 < size < 1e40 else "computed")
    assert abs(row.alpha - exact.alpha) <= (0 if math.isnan(row.alpha_error_bound) else row.alpha_error_bound) + 1e-11
