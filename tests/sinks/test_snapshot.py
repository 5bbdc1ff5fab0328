"""Summary values of a snapshot."""

import statistics
from dataclasses import replace

import pytest

from alpha_callbacks.sinks.snapshot import Snapshot
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
    assert scalars["median_alpha_ratio"] == pytest.approx(3.5 / 5)
    assert list(scalars)[0] == "median_alpha_ratio" and len(scalars) == 2 * 3 + 6


def test_moves_are_counted_from_the_last_alpha_of_each_layer() -> None:
    first = snapshot(1, Table.from_rows([row("a", "fp32", 2.0), row("b", "fp32", 3.0)], ("fp32",)))
    assert first.moves == () and "max_abs_move" not in first.scalars
    rows = [row("a", "fp32", 1.5), row("b", "fp32", 0, status="skipped"), row("c", "fp32", 9.0)]
    second = replace(snapshot(2, Table.from_rows(rows, ("fp32",))), earlier=first.later())
    assert [(move.layer_name, move.size) for move in second.moves] == [("a", -0.5)]
    third = replace(
        snapshot(3, Table.from_rows([row("a", "fp32", 1.5), row("b", "fp32", 4.0)], ("fp32",))), earlier=second.later()
    )
    assert [(move.layer_name, move.before, move.now) for move in third.moves] == [("b", 3.0, 4.0)]
    assert third.earlier is not None and third.earlier.step == 2
    assert list(third.scalars)[:2] == ["median_alpha_ratio", "max_abs_move"] and third.scalars["max_abs_move"] == 1.0


def test_the_error_of_formats_below_16_bits() -> None:
    rows = [
        row(n, p, 3.0, relative_error=e) for n, e in (("a", 0.1), ("b", 0.3), ("c", 0.2)) for p in ("fp32", "int4_g32")
    ]
    scalars = snapshot(1, Table.from_rows(rows, ("fp32", "int4_g32"))).scalars
    assert scalars["relative_error_int4_g32"] == 0.2 and "relative_error_fp32" not in scalars


def test_cards_leave_out_precisions_of_the_same_bits() -> None:
    def stored(dtype: str) -> Snapshot:
        names = ("fp16", "fp32", "bf16")
        return snapshot(1, Table.from_rows([row("a", name, 3.0, stored_dtype=dtype) for name in names], names))

    assert [name for name in stored("bfloat16").scalars if name not in stored("bfloat16").cards] == [
        "mean_bf16", "median_bf16", "min_bf16"
    ]  # fmt: skip
    assert stored("float32").cards == dict(stored("float32").scalars)
    assert stored("float16").shown.precisions == ("fp32", "bf16") and stored("F8_E4M3").shown.precisions[0] == "fp16"


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
