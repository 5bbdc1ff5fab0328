"""The proved bound holds, and what is shared is what would have been computed."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.quantization_error import measure_quantization_error
from alpha_callbacks.checkpoints.locate import EMBEDDED
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.estimators.hill import hill_alpha
from alpha_callbacks.estimators.hill_error_bound import hill_error_bound
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.solvers.perturbation import PerturbationMeter
from alpha_callbacks.tables.results_csv import DIGITS, bound_cell, cell
from alpha_callbacks.tables.table import LayerRows
from tests.conftest import heavy, noise, weight_of
from tests.support.fast_solver import fast_from


@given(
    st.integers(0, 1000),
    st.floats(-9, -1.5),
    st.sampled_from(["next", "last"]),
    st.sampled_from(["dense", "rank1", "top"]),
)
def test_bound_holds_for_any_perturbation(seed: int, log_size: float, threshold: str, kind: str) -> None:
    """Also for the worst direction: an error along the threshold's own singular vectors."""
    k = 12
    w = noise(60, 40, seed=seed, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(w, full_matrices=False)
    e = {
        "dense": noise(60, 40, seed=seed + 1, dtype=torch.float64),
        "rank1": u[:, k : k + 1] @ vt[k : k + 1],
        "top": u[:, :k] @ vt[:k] - u[:, k : k + 1] @ vt[k : k + 1],
    }[kind]
    e = e / torch.linalg.matrix_norm(e, 2) * float(s[k]) * 10**log_size
    meter = PerturbationMeter(40)
    meter.add(e[:25])
    meter.add(e[25:])
    norms = meter.result()
    assert norms.spectral >= float(torch.linalg.matrix_norm(e, 2)) * (1 - 1e-12)
    assert norms.frobenius == pytest.approx(float(e.norm()), rel=1e-5)
    anchor = k if threshold == "next" else k - 1
    before = hill_alpha(s**2, k=k, threshold=threshold)
    after = hill_alpha(torch.linalg.svdvals(w + e) ** 2, k=k, threshold=threshold)
    bound = hill_error_bound(s**2, before, norms, anchor=anchor)
    assert abs(after.alpha - before.alpha) <= bound


def test_bound_is_not_vacuous() -> None:
    """For the worst direction it is within a small factor of what happens."""
    w = noise(60, 40, dtype=torch.float64)
    u, s, vt = torch.linalg.svd(w, full_matrices=False)
    e = -1e-6 * (u[:, 12:13] @ vt[12:13])
    meter = PerturbationMeter(40)
    meter.add(e)
    before = hill_alpha(s**2, k=12)
    moved = abs(hill_alpha(torch.linalg.svdvals(w + e) ** 2, k=12).alpha - before.alpha)
    bound = hill_error_bound(s**2, before, meter.result(), anchor=12)
    assert moved <= bound <= 3 * moved


def test_nothing_is_proved_when_the_error_reaches_the_threshold() -> None:
    s = torch.linspace(2, 1, 20, dtype=torch.float64)
    meter = PerturbationMeter(20)
    meter.add(torch.eye(20, dtype=torch.float64) * 5)
    assert hill_error_bound(s**2, hill_alpha(s**2, k=5), meter.result(), anchor=5) == math.inf


def test_lossless_by_lattice_and_by_looking() -> None:
    options = AnalysisOptions(precisions=("fp64", "fp32", "bf16"))
    from_bf16 = analyze_weight(weight_of(heavy(80, 60, dtype=torch.bfloat16)), options)
    looked = analyze_weight(weight_of(heavy(80, 60, dtype=torch.bfloat16).float()), options)
    assert [r.method for r in from_bf16] == [r.method for r in looked] == ["lossless"] * 3
    assert [r.alpha for r in from_bf16] == [r.alpha for r in looked]


def test_reuse_tol_zero_recomputes() -> None:
    w = heavy(80, 60, dtype=torch.bfloat16)
    shared = analyze_weight(weight_of(w), AnalysisOptions(precisions=("bf16", "fp16")))[1]
    computed = analyze_weight(weight_of(w), AnalysisOptions(precisions=("bf16", "fp16"), reuse_tol=0))[1]
    assert (shared.method, computed.method) == ("bounded", "computed")
    assert math.isnan(computed.alpha_error_bound)
    assert abs(shared.alpha - computed.alpha) <= shared.alpha_error_bound <= 1e-5 * shared.alpha


def test_fp32_weights_need_their_own_half_precisions() -> None:
    rows = analyze_weight(weight_of(heavy(80, 60)), AnalysisOptions())
    assert [r.method for r in rows] == ["lossless", "computed", "computed"]
    for row, dtype in zip(rows[1:], (torch.float16, torch.bfloat16), strict=True):
        direct = torch.linalg.svdvals(heavy(80, 60).to(dtype).double()) ** 2
        assert row.alpha == pytest.approx(hill_alpha(direct, k=10).alpha, rel=1e-10)


def test_damage_equals_a_direct_comparison() -> None:
    w = noise(50, 40) * 1e-4
    error = measure_quantization_error(weight_of(w), get_precision("fp16"), float(w.abs().max()))
    e = w.double() - w.half().double()
    assert error.change.frobenius == pytest.approx(float(e.norm()), rel=1e-5)
    assert error.change.spectral >= float(torch.linalg.matrix_norm(e, 2))
    assert error.underflow == int(((w != 0) & (w.half() == 0)).sum())
    assert not error.exact


def compare(folder: Path, precision: str, layers: str | None = None) -> list[tuple[float, float]]:
    """Return (difference, bound) of every layer whose value was shared on the strength of the bound."""
    precisions = ("fp32", precision)
    shared, alone = (AnalysisOptions(precisions=precisions, reuse_tol=tol, include=layers) for tol in (1.0, 0.0))
    pairs = []
    for weight in open_checkpoint(folder).inventory(shared).weights:
        a, b = analyze_weight(weight, shared)[1], analyze_weight(weight, alone)[1]
        if a.method == "bounded":
            pairs.append((abs(a.alpha - b.alpha), a.alpha_error_bound))
    return pairs


def test_bound_holds_on_the_trained_llama() -> None:
    pairs = compare(EMBEDDED, "fp16")
    assert len(pairs) > 20
    assert all(difference <= bound < 1e-5 for difference, bound in pairs)


def test_fast_values_carry_the_error_of_the_fast_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value shared in fp32 arithmetic must say so: it is compared with an exact decomposition here."""
    fast_from(32, monkeypatch)
    fast = AnalysisOptions(precisions=("fp32", "fp16"), solver="fast")
    exact = AnalysisOptions(precisions=("fp32", "fp16"), reuse_tol=0)
    weights = open_checkpoint(EMBEDDED).inventory(fast).weights
    pairs = [(analyze_weight(w, fast)[1], analyze_weight(w, exact)[1]) for w in weights]
    bounded = [(a, b) for a, b in pairs if a.method == "bounded"]
    assert len(bounded) > 20
    printed = [(float(cell(a.alpha, DIGITS)), float(bound_cell(a.alpha_error_bound)), b.alpha) for a, b in bounded]
    assert all(abs(alpha - truth) <= bound for alpha, bound, truth in printed)


def test_a_bound_is_rounded_up_and_covers_the_digits_of_alpha() -> None:
    assert [bound_cell(bound) for bound in (1.2301e-9, 1.23e-9, 9.991e-9, 0.0, math.nan, math.inf)] == [
        "1.24e-09", "1.23e-09", "1e-08", "0", "", "inf"
    ]  # fmt: skip
    for w in (heavy(200, 160), heavy(96, 64, dtype=torch.float64)):
        for row in analyze_weight(weight_of(w), AnalysisOptions(precisions=("fp32", "fp16", "bf16"), reuse_tol=0.1)):
            lost = abs(float(cell(row.alpha, DIGITS)) - row.alpha)
            known = row.alpha_error_bound > 0  # 0 is that of the same bits, nan that of a decomposition in fp64
            assert not known or lost <= 5e-12 * row.alpha < row.alpha_error_bound


def test_lossless_values_of_the_fast_solver_carry_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits are those of the stored matrix; alpha of it is not exact."""
    fast_from(128, monkeypatch)
    w = weight_of(heavy(200, 160))
    (fast,) = analyze_weight(w, AnalysisOptions(precisions=("fp32",), solver="fast"))
    (exact,) = analyze_weight(w, AnalysisOptions(precisions=("fp32",)))
    assert (fast.method, fast.solver, exact.alpha_error_bound) == ("lossless", "gram_fp32", 0)
    assert 0 < abs(fast.alpha - exact.alpha) <= fast.alpha_error_bound < 1e-4 * fast.alpha


MINILM = pytest.mark.parametrize(
    "layers",
    [r"encoder\.layer\.[05]\.", pytest.param(None, marks=pytest.mark.evidence)],
    ids=["two blocks", "all layers"],
)


@pytest.mark.real
@MINILM
def test_fast_drifts_have_the_sign_of_exact_ones(
    minilm: Path, layers: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fp32 weights: what fast still reports as a measured drift is one."""
    fast_from(128, monkeypatch)
    fast, exact = (
        AnalysisOptions(precisions=("fp32", "bf16"), solver=solver, include=layers)  # type: ignore[arg-type]
        for solver in ("fast", "exact")
    )
    measured = 0
    for weight in open_checkpoint(minilm).inventory(fast).weights:
        a, b = (LayerRows(analyze_weight(weight, options)) for options in (fast, exact))
        drift, truth = a.drift("bf16", "fp32"), b.drift("bf16", "fp32")
        if not math.isnan(drift):
            measured += 1
            assert math.copysign(1, drift) == math.copysign(1, truth) or drift == truth == 0  # 0: lossless in both
        elif not math.isnan(truth):
            assert abs(truth) <= a.drift_bound("bf16", "fp32")
    assert measured > 5


@pytest.mark.real
@MINILM
@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_bound_holds_on_minilm(minilm: Path, precision: str, layers: str | None) -> None:
    """fp32 weights: the bound is loose here, but it holds for every layer."""
    pairs = compare(minilm, precision, layers)
    assert len(pairs) > 5
    assert all(difference <= bound for difference, bound in pairs)
