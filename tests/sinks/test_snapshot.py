"""Summary values of a snapshot."""

import statistics

import pytest

from alpha_callbacks.tables.table import Table
from tests.support.rows import row, snapshot, table


def test_summary_values() -> None:
    scalars = snapshot(5, table(shift=0.0), seconds=1.5).scalars
    alphas = [2.01, 3.01, 4.01, 5.01]
    assert scalars["mean_bf16"] == pytest.approx(statistics.mean(alphas))
    assert scalars["median_bf16"] == pytest.approx(statistics.median(alphas))
    assert scalars["min_fp32"] == 2.0 and scalars["max_abs_drift"] == pytest.approx(0.01)
    assert scalars["failed_layers"] == 0 and scalars["seconds"] == 1.5
    assert scalars["analysed_layers"] == scalars["layers"] == 4
    assert len(scalars) == 2 * 3 + 5


def test_what_has_no_value_is_absent_not_nan() -> None:
    rows = [row("a", "fp32", 0, status="failed"), row("a", "bf16", 0, status="non_finite")]
    scalars = snapshot(5, Table.from_rows(rows, ("fp32", "bf16"))).scalars
    assert dict(scalars) == {"analysed_layers": 0.0, "layers": 1.0, "failed_layers": 1.0, "seconds": 0.5}


def test_a_mean_says_how_many_layers_are_in_it() -> None:
    rows = [row(name, p, 3.0) for name in ("a", "b", "c") for p in ("fp32", "fp16")]
    rows[0], rows[1] = (row("a", p, 0, status="unsupported") for p in ("fp32", "fp16"))
    rows[3] = row("b", "fp16", 0, status="non_finite")
    found = snapshot(5, Table.from_rows(rows, ("fp32", "fp16")))
    assert (found.scalars["analysed_layers"], found.scalars["layers"]) == (2, 3)
    assert found.scalars["analysed_layers_fp16"] == 1 and "analysed_layers_fp32" not in found.scalars
    assert "2 of 3 layers analysed" in repr(found)


def test_a_bound_is_no_measured_drift() -> None:
    rows = [row("a", "fp32", 3.0), row("a", "fp16", 3.0, method="bounded", alpha_error_bound=1e-7)]
    assert "max_abs_drift" not in snapshot(5, Table.from_rows(rows, ("fp32", "fp16"))).scalars


def test_layers_left_out_for_lack_of_time_have_not_failed() -> None:
    rows = [row("a", "fp32", 0, status="skipped"), row("b", "fp32", 3.0)]
    snap = snapshot(5, Table.from_rows(rows, ("fp32",)))
    assert snap.failed_layers == 0 and snap.scalars["mean_fp32"] == 3.0
