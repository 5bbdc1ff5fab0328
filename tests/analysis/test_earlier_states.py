"""States of a run that are proved from the vectors of an earlier one: rows, refusals, memory."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis import certificate_costs, certified
from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.certificate_costs import Sides, plan_proofs
from alpha_callbacks.analysis.earlier_states import EarlierStates
from alpha_callbacks.estimators.hill_error_bound import hill_range
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.solvers import numpy_blas, shortest_way
from alpha_callbacks.tables.table import Row
from tests.conftest import noise, weight_of

pytestmark = pytest.mark.skipif(not numpy_blas.available(), reason="NumPy's build hides its LAPACK")

OPTIONS = AnalysisOptions(precisions=("fp32", "fp16", "bf16"), reuse_tol=1e-4)
EARLIER = certified.SOLVER_EARLIER


@pytest.fixture(autouse=True)
def at_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let small matrices be proved too, which costs more than it spares."""
    monkeypatch.setattr(certificate_costs, "_CALLS", 0.0)
    monkeypatch.setattr(shortest_way, "_FEW", 10**6)


def uneven(rows: int = 120, cols: int = 100) -> Tensor:
    """Return noise whose lines along the short side are of uneven size, so that its spectrum has a tail."""
    lines = torch.rand(min(rows, cols), generator=torch.Generator().manual_seed(0)) ** -0.3
    return noise(rows, cols) * (lines[:, None] if rows < cols else lines)


def measured(earlier: EarlierStates, matrix: Tensor, options: AnalysisOptions = OPTIONS) -> tuple[Row, ...]:
    weight = weight_of(matrix)
    earlier.admit([weight], options.estimator)
    return analyze_weight(weight, options, earlier)


def solvers(rows: tuple[Row, ...]) -> list[str]:
    return [row.solver for row in rows]


@pytest.mark.parametrize("shape", [(120, 100), (100, 120), (110, 110)])
@pytest.mark.parametrize("threshold", ["next", "last"])
def test_rows_are_those_of_a_decomposition_within_their_bound(shape: tuple[int, int], threshold: str) -> None:
    options = replace(OPTIONS, threshold=threshold)  # type: ignore[arg-type]
    earlier, w = EarlierStates(10**8), uneven(*shape)
    assert solvers(measured(earlier, w, options))[0] == "gram_fp64"
    assert solvers(measured(earlier, w + 1e-5 * noise(*shape, 1), options))[0] == "gram_fp64", "a drift is known now"
    w = w + 2e-5 * noise(*shape, 2)
    rows, truth = measured(earlier, w, options), analyze_weight(weight_of(w), replace(options, reuse_tol=0))
    assert solvers(rows)[:2] == [EARLIER, EARLIER] and [row.method for row in rows][:2] == ["lossless", "certified"]
    for row, exact in zip(rows, truth, strict=True):
        assert row.status == "ok" and row.relative_error == exact.relative_error and row.tail == exact.tail
        for name in ("x_min", "spectral_norm", "frobenius_norm", "ks_distance"):
            assert getattr(row, name) == pytest.approx(getattr(exact, name), rel=1e-5), name
        if row.solver == EARLIER:
            assert 0 < abs(row.alpha - exact.alpha) <= row.alpha_error_bound <= 1e-4 * row.alpha


def test_what_shares_a_proved_alpha_shares_its_bound() -> None:
    """Weights in bf16: fp32 and bf16 hold them, and fp16 moves the smallest."""
    earlier, w = EarlierStates(10**8), uneven() * 1e-2
    for state in range(3):
        rows = measured(earlier, (w + 1e-6 * state * noise(120, 100, state)).bfloat16())
    truth = analyze_weight(weight_of((w + 2e-6 * noise(120, 100, 2)).bfloat16()), replace(OPTIONS, reuse_tol=0))
    assert solvers(rows) == [EARLIER] * 3 and [row.method for row in rows] == ["lossless", "bounded", "lossless"]
    assert rows[0].alpha == rows[1].alpha == rows[2].alpha
    assert 0 < rows[0].alpha_error_bound == rows[2].alpha_error_bound < rows[1].alpha_error_bound < 1e-4 * rows[1].alpha
    for row, exact in zip(rows, truth, strict=True):
        assert abs(row.alpha - exact.alpha) <= row.alpha_error_bound


def test_errors_do_not_add_up_over_states() -> None:
    """Each state is proved from its own bits; when it is too far from the vectors, it gives new ones."""
    earlier, w, options = EarlierStates(10**8), uneven(), replace(OPTIONS, precisions=("fp32",))
    names = set()
    for state in range(14):
        w = w + 8e-3 * torch.outer(noise(120, 1, 1)[:, 0], noise(100, 1, 2)[:, 0]) / 10  # always the same direction
        (row,) = measured(earlier, w, options)
        exact = torch.linalg.svdvals(w.double()) ** 2
        truth = 1 + 10 / float(torch.log(exact[:10] / exact[10]).sum())
        assert abs(row.alpha - truth) <= row.alpha_error_bound + 1e-11 * truth
        names.add((state > 4, row.solver))
    assert names >= {(True, EARLIER), (True, "gram_fp64")}


def drifting(earlier: EarlierStates, options: AnalysisOptions = OPTIONS) -> Tensor:
    """Leave a reference behind, and return its matrix."""
    measured(earlier, uneven(), options)
    w = uneven() + 1e-5 * noise(120, 100, 1)
    measured(earlier, w, options)
    layer = earlier.of(weight_of(w))
    assert layer is not None and layer.reference is not None
    return w


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w + 0.1 * noise(120, 100, 9),
        lambda w: noise(120, 100, 9),
        lambda w: w[:100],
        lambda w: w.T.contiguous(),
        lambda w: w[:, :80].contiguous(),
    ],
    ids=["far", "another", "shorter", "transposed", "narrower"],
)
def test_a_layer_that_changes_abruptly_is_decomposed(change: object) -> None:
    earlier = EarlierStates(10**8)
    w = change(drifting(earlier))  # type: ignore[operator]
    assert measured(earlier, w) == analyze_weight(weight_of(w), OPTIONS)
    assert solvers(measured(earlier, w + 1e-6))[0] == "gram_fp64", "nothing is left of what it was"


def test_nan_costs_its_own_state_only() -> None:
    earlier = EarlierStates(10**8)
    w = drifting(earlier)
    broken = w.clone()
    broken[3, 3] = torch.nan
    assert {row.status for row in measured(earlier, broken)} == {"non_finite"}
    assert solvers(measured(earlier, w + 1e-6))[0] == EARLIER


@pytest.mark.parametrize(
    "options",
    [{"reuse_tol": 0}, {"solver": "fast"}, {"measures": ("norms",)}, {"estimators": ("hill", "csn")}],
    ids=str,
)
def test_options_that_need_all_eigenvalues_are_not_proved(options: dict[str, object]) -> None:
    earlier, of_this = EarlierStates(10**8), replace(OPTIONS, **options)  # type: ignore[arg-type]
    w = drifting(earlier)
    assert EARLIER not in solvers(measured(earlier, w + 1e-6, of_this))


def test_a_proof_that_fails_is_followed_by_a_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = EarlierStates(10**8)
    w = drifting(earlier) + 1e-6

    def broken(*args: object, **options: object) -> None:
        raise RuntimeError("did not converge")

    monkeypatch.setattr("alpha_callbacks.analysis.proofs.certified", broken)
    rows = measured(earlier, w, replace(OPTIONS, precisions=("fp32",)))
    assert [(row.method, row.solver) for row in rows] == [("lossless", "gram_fp64")]


def test_proofs_that_fail_again_and_again_are_tried_ever_more_rarely(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change is where no entry is looked at."""
    earlier, tried, options = EarlierStates(10**8), list[int](), replace(OPTIONS, precisions=("fp32",))
    found: list[str] = []
    monkeypatch.setattr("alpha_callbacks.analysis.proofs.certified", lambda *args, **options: tried.append(len(found)))
    for _ in range(20):
        found += solvers(measured(earlier, uneven(), options))
    assert set(found) == {"gram_fp64"} and tried == [2, 5, 10, 19]


def test_memory_goes_to_the_first_layers_that_fit_in_whatever_order_they_are_analysed() -> None:
    each = 2 * 120 * 100 + 8 * 100 * 23  # a half-precision copy, and up to twice as many vectors as alpha asks for
    options, earlier = replace(OPTIONS, precisions=("fp32",)), EarlierStates(2 * each + 24_000)
    for state in range(2):
        weights = [weight_of(uneven() + 1e-5 * noise(120, 100, state), f"layer{i}") for i in range(4)]
        weights.append(weight_of(noise(70, 70), "small"))
        earlier.admit(weights, OPTIONS.estimator)
        for weight in reversed(weights):
            analyze_weight(weight, options, earlier)
    kept = {w.layer_name: layer.reference for w in weights if (layer := earlier.of(w)) is not None}
    assert set(kept) == {"layer0", "layer1", "small"} and all(kept.values())
    assert sum(reference.nbytes for reference in kept.values() if reference) <= 2 * each + 24_000
    earlier.admit(weights[2:4], OPTIONS.estimator)
    assert earlier.of(weights[2]) is None, "the others keep what they hold, although only these have changed"


def test_layers_without_a_tail_are_passed_over() -> None:
    weights = [weight_of(noise(1, 50), "vector"), weight_of(noise(12, 12), "tiny")]
    weights.append(replace(weight_of(uneven(), "packed"), unsupported="packed codes"))
    weights.append(replace(weight_of(uneven(), "moved"), category="other_update"))
    earlier = EarlierStates(10**8)
    earlier.admit(weights, OPTIONS.estimator)
    assert [earlier.of(weight) for weight in weights] == [None] * 4


def test_no_memory_means_that_nothing_is_kept() -> None:
    earlier = EarlierStates(0)
    for state in range(3):
        w = uneven() + 1e-6 * state
        assert measured(earlier, w) == analyze_weight(weight_of(w), OPTIONS)
    assert earlier.of(weight_of(uneven())) is None


def test_the_plan_takes_more_vectors_where_later_states_need_them() -> None:
    evals = torch.linalg.svdvals(uneven(600, 600).double()) ** 2

    def reach(lower: Tensor, upper: Tensor) -> tuple[float, float]:
        return hill_range(lower, upper, k=60, anchor=60)

    norm = math.sqrt(float(evals.sum()))
    plans = [
        plan_proofs(evals, Sides(600, 600), {"fp16": 2e-4 * norm}, 61, 1e-5, reach, drift)
        for drift in (None, 1e-4 * norm, 3e-4 * norm, 0.1 * norm, 0.0)
    ]
    assert [plan.states for plan in plans] == [0, *sorted((plan.states for plan in plans[1:3]), reverse=True), 0, 10]
    assert plans[1].states > plans[2].states > 0 and plans[3] == plans[0]
    assert plans[1].later == {"fp16"}


def test_free_memory_bounds_what_is_kept() -> None:
    each = 2 * 120 * 100 + 8 * 100 * 23
    earlier, options = EarlierStates(10**9), replace(OPTIONS, precisions=("fp32",))
    for state in range(2):
        weights = [weight_of(uneven() + 1e-5 * noise(120, 100, state), f"layer{i}") for i in range(4)]
        earlier.admit(weights, OPTIONS.estimator, free=2.5 * each)
        for weight in weights:
            analyze_weight(weight, options, earlier)
    assert [earlier.of(weight) is not None for weight in weights] == [True, True, False, False]
    earlier.admit(weights, OPTIONS.estimator, free=1.5 * each)
    assert all(earlier.of(weight) for weight in weights[:2]), "what is held is not free, and need not be"
    earlier.admit(weights[3:], OPTIONS.estimator, free=0.5 * each)
    assert earlier.of(weights[3]) is None


@pytest.mark.parametrize(("cores", "kept"), [(2, True), (16, False)])
def test_nothing_is_kept_of_large_layers_on_many_cores(cores: int, kept: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """There the reduction that leaves vectors takes longer than the solves that it spares."""
    monkeypatch.setattr(shortest_way, "_FEW", 4)
    monkeypatch.setattr(shortest_way, "machine_cores", lambda: cores)
    large = replace(weight_of(noise(2, 2)), out_features=4096, in_features=2048)
    earlier = EarlierStates(10**9)
    earlier.admit([large, weight_of(uneven(), "small")], OPTIONS.estimator)
    assert (earlier.of(large) is not None) is kept and earlier.of(weight_of(uneven(), "small")) is not None


def test_no_vectors_are_made_again_and_again_for_states_that_are_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reduction that leaves vectors is the slower one for large layers, and here it would spare nothing."""
    real, planned = plan_proofs, list[int]()
    monkeypatch.setattr(
        "alpha_callbacks.analysis.proofs.plan_proofs", lambda *a: planned.append(len(found)) or real(*a)
    )
    earlier, w, options, found = EarlierStates(10**8), uneven(), replace(OPTIONS, precisions=("fp32",)), list[str]()
    for state in range(12):
        w = w + (1e-2 if state < 8 else 1e-6) * noise(120, 100, state)
        found += solvers(measured(earlier, w, options))
    assert planned == [1, 8] and found == ["gram_fp64"] * 9 + [EARLIER] * 3
