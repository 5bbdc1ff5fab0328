from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from alpha_callbacks.analysis import further
from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.errors import OptionError, SourceError
from alpha_callbacks.estimators.csn import csn
from alpha_callbacks.estimators.fixed_share import farms
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.weight import Weight

GROUPS = {
    "norm_measures": "norms",
    "bulk_measures": "bulk",
    "kurtosis": "entries",
    "interval_by_spacings": "spacings",
    "trap_measures": "traps",
    "judge": "",
}


def weight_of(w: torch.Tensor) -> Weight:
    from alpha_callbacks.weights.module_weights import module_inventory

    linear = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    linear.weight.data = w.clone()
    return module_inventory(torch.nn.Sequential(linear), AnalysisOptions()).weights[0]


def noise(rows: int = 48, cols: int = 64) -> torch.Tensor:
    return torch.randn(rows, cols, generator=torch.Generator().manual_seed(0))


def test_every_row_is_judged_and_nothing_else_is_made_unasked() -> None:
    rows = analyze_weight(weight_of(noise()), AnalysisOptions())
    assert {row.tail for row in rows} == {"none"} and "that of noise" in rows[0].tail_reason
    assert all(row.estimates == () and row.measures == {} for row in rows)


def test_asked_estimates_are_those_of_the_same_eigenvalues() -> None:
    w = noise()
    options = AnalysisOptions(precisions=("fp32", "int4"), estimators=("csn", "hill", "farms"))
    fp32, int4 = analyze_weight(weight_of(w), options)
    evals = np.linalg.svd(w.double().numpy(), compute_uv=False) ** 2
    assert [fit.estimator for fit in fp32.estimates] == ["csn", "farms"]
    assert fp32.estimates[0].alpha == pytest.approx(csn(evals).alpha, rel=1e-9)
    assert fp32.estimates[1].alpha == pytest.approx(farms(w.numpy()).alpha, rel=1e-6)
    assert int4.estimates[0].alpha != fp32.estimates[0].alpha  # of its own round trip


def test_one_decomposition_serves_all_but_the_traps(monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_callbacks.analysis import solve

    calls = []
    real = solve.spectrum
    monkeypatch.setattr(solve, "spectrum", lambda *a, **k: calls.append("weight") or real(*a, **k))
    monkeypatch.setattr(further, "spectrum", lambda *a, **k: calls.append("shuffled") or real(*a, **k))
    options = AnalysisOptions(
        precisions=("fp32",), estimators=("all",), measures=("norms", "bulk", "entries", "spacings")
    )
    (row,) = analyze_weight(weight_of(noise()), options)
    assert row.measures["alpha_low"] < row.alpha < row.measures["alpha_high"]
    assert calls == ["weight"] and len(row.estimates) == 5 and row.measures["kurtosis"] == pytest.approx(3, abs=0.3)
    (row,) = analyze_weight(weight_of(noise()), replace(options, measures=("traps",)))
    assert calls == ["weight", "weight", "shuffled"] and row.measures["rand_num_spikes"] == 0


@pytest.mark.parametrize("broken", GROUPS)
def test_an_error_costs_its_own_group_and_nothing_else(
    broken: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = AnalysisOptions(precisions=("fp32", "bf16"), estimators=("csn", "half"), measures=("all",))
    whole = analyze_weight(weight_of(noise()), options)

    def fail(*_: object, **__: object) -> None:
        raise TypeError("an error\nof two lines")

    monkeypatch.setattr(further, broken, fail)
    monkeypatch.setattr(further, "_warned", set())
    monkeypatch.setitem(further.OF_SPECTRA, "half", fail)
    rows = analyze_weight(weight_of(noise()), options)
    group = GROUPS[broken]
    for row, before in zip(rows, whole, strict=True):
        assert (row.status, row.alpha, row.estimates[0]) == ("ok", before.alpha, before.estimates[0])
        assert np.isnan(row.estimates[1].alpha) and row.estimates[1].reason == "TypeError: an error of two lines"
        missing = before.measures.keys() - row.measures.keys()
        assert bool(missing) == bool(group) and row.measures.items() <= before.measures.items()
        if broken == "judge":
            assert (row.tail, row.tail_reason) == ("", "not judged: TypeError: an error of two lines")
        else:
            assert row.measures_reason == f"{group}: TypeError: an error of two lines" and row.tail == before.tail
    said = [record.getMessage().split(":")[0] for record in caplog.records]
    assert sorted(said) == sorted([group or "verdict", "half"])  # once, not once a row


def test_weights_that_can_be_read_no_further_are_no_missing_value(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        raise SourceError("the file is gone")

    monkeypatch.setattr(further, "kurtosis", gone)
    with pytest.raises(SourceError):
        analyze_weight(weight_of(noise()), AnalysisOptions(measures=("entries",)))


def test_traps_are_seeded_and_leave_the_weight_alone() -> None:
    w = noise()
    weight, options = weight_of(w), AnalysisOptions(precisions=("fp32",), measures=("all",))
    assert asdict(analyze_weight(weight, options)[0]) == asdict(analyze_weight(weight, options)[0])
    assert torch.equal(torch.cat(list(weight.row_blocks())), w)


def test_kurtosis_is_three_for_a_normal_law_and_larger_for_heavy_entries() -> None:
    w = np.random.default_rng(0).standard_t(5, (30, 40)).astype(np.float32)
    centred = w.astype(float) - w.astype(float).mean()
    assert further.kurtosis(w) == pytest.approx((centred**4).mean() / centred.var() ** 2)
    assert further.kurtosis(w) > 3.5 > further.kurtosis(noise().numpy())
    assert np.isnan(further.kurtosis(np.ones((3, 3))))


def test_without_a_tail_there_is_no_verdict() -> None:
    rows = analyze_weight(weight_of(torch.eye(40)), AnalysisOptions(precisions=("fp32",), estimators=("csn",)))
    assert rows[0].status == "degenerate" and rows[0].tail == "" and "equal" in rows[0].estimates[0].reason
    q = torch.linalg.qr(noise(40, 40))[0]
    (row,) = analyze_weight(weight_of(q), AnalysisOptions(precisions=("fp32",), estimators=("csn", "farms")))
    assert [fit.reason for fit in row.estimates] == ["all eigenvalues are equal but for rounding"] * 2


def test_what_lies_below_the_rank_is_rounding_and_takes_no_part() -> None:
    low = noise(60, 12) @ noise(12, 80)
    (row,) = analyze_weight(weight_of(low), AnalysisOptions(precisions=("fp32",), k_min=20, estimators=("csn", "half")))
    assert row.status == "rank_deficient" and row.tail == ""
    assert row.estimates[1].n_tail == 6 and row.estimates[0].n_tail <= 12


def test_huge_weights_have_a_kurtosis() -> None:
    w = np.random.default_rng(0).standard_normal((20, 30))
    assert further.kurtosis(w * 1e90) == pytest.approx(further.kurtosis(w))


@pytest.mark.parametrize("name", ["estimators", "measures"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name}: expected any of .*, or all, got 'mine'"):
        AnalysisOptions(**{name: ("mine",)})  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=f"{name}: expected a list of names, got 3"):
        AnalysisOptions(**{name: 3})  # type: ignore[arg-type]
