import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.solvers import spectrum
from alpha_callbacks.tables.findings import findings
from alpha_callbacks.tables.read_results import read_results
from alpha_callbacks.tables.results_csv import results_header, write_results, write_summary
from alpha_callbacks.tables.table import SINGLE, SINGLE_ESTIMATED, Row, Table

BASE = Row("model.layers.0.fc1", "mlp_up", 0, 30, 20, "float32", "", "fp32", "ok", alpha=3.0, alpha_null=6.0)


def table(*alphas: dict[str, float]) -> Table:
    """Return a table of computed rows, nan meaning a failed layer."""
    rows = [
        replace(
            BASE,
            layer_name=f"model.layers.{i}.fc1",
            precision=precision,
            alpha=alpha,
            status="failed" if math.isnan(alpha) else "ok",
            method="" if math.isnan(alpha) else "computed",
        )
        for i, layer in enumerate(alphas)
        for precision, alpha in layer.items()
    ]
    return Table.from_rows(rows, tuple(alphas[0]))


def test_drift_is_from_the_finest_precision_wherever_it_stands() -> None:
    t = table({"bf16": 3.5, "fp32": 3.0})
    assert t.reference == "fp32"
    assert t.layers[0].drift("bf16", t.reference) == 0.5
    assert t.layers[0].drift("fp32", t.reference) == 0.0


def test_a_bound_is_never_a_measured_drift() -> None:
    lossless = replace(BASE, method="lossless", alpha_error_bound=0.0)
    bounded = replace(BASE, precision="fp16", method="bounded", alpha_error_bound=1e-9)
    (layer,) = Table.from_rows([lossless, bounded], ("fp32", "fp16")).layers
    assert math.isnan(layer.drift("fp16", "fp32"))
    assert layer.drift_bound("fp16", "fp32") == 1e-9
    assert math.isnan(layer.drift_bound("fp32", "fp32"))


def test_what_fast_cannot_resolve_is_a_bound_not_a_drift() -> None:
    base = replace(BASE, method="lossless", alpha_error_bound=0.0, solver="gram_fp32")
    near = replace(base, precision="fp16", method="computed", alpha=3.00002, alpha_error_bound=3e-5)
    far = replace(near, precision="bf16", alpha=3.001)
    t = Table.from_rows([base, near, far], ("fp32", "fp16", "bf16"))
    (layer,) = t.layers
    assert math.isnan(layer.drift("fp16", "fp32"))
    assert layer.drift_bound("fp16", "fp32") == pytest.approx(8e-5)
    assert layer.drift("bf16", "fp32") == pytest.approx(1e-3)
    assert math.isnan(layer.drift_bound("bf16", "fp32"))
    assert "fp16: in 1 of 1 layers the drift is smaller than the proved error of --solver fast." in findings(t)
    assert t.surely == "provably" and SINGLE == spectrum.SINGLE


def test_estimates_of_an_earlier_version_are_not_called_proved(tmp_path: Path) -> None:
    """It printed seven digits of what fp32 arithmetic had solved; this one prints twelve."""
    base = replace(BASE, method="lossless", alpha=3.012345678912, alpha_error_bound=6e-5, solver=SINGLE)
    near = replace(base, precision="fp16", method="bounded", alpha_error_bound=7e-5)
    written = {}
    for digits in (12, 7):
        rows = [replace(row, alpha=float(f"{row.alpha:.{digits}g}")) for row in (base, near)]
        write_results(Table.from_rows(rows, ("fp32", "fp16")), tmp_path / f"{digits}.csv")
        written[digits] = read_results(tmp_path / f"{digits}.csv")
    assert "7e-05 in any layer (proved bound" in findings(written[12])[1].replace(".0e", "e")
    assert "in any layer (estimated by an earlier version" in findings(written[7])[1]
    assert [t.surely for t in written.values()] == ["provably", "by an estimate"]
    assert {row.solver for row in written[7]} == {SINGLE_ESTIMATED}
    far = replace(near, method="computed", alpha=base.alpha + 1e-5, solver=SINGLE_ESTIMATED)
    said = findings(Table.from_rows([base, far], ("fp32", "fp16")))
    assert "fp16: in 1 of 1 layers the drift is smaller than the error that an earlier version estimated of" in said[1]


def test_a_drift_below_its_own_proved_bound_is_no_measured_one() -> None:
    base = replace(BASE, method="lossless", alpha_error_bound=0.0)
    near = replace(
        base, precision="fp16", method="certified", solver="ritz_fp64", alpha=3.000001, alpha_error_bound=2e-6
    )
    far = replace(near, precision="bf16", alpha=3.001)
    t = Table.from_rows([base, near, far], ("fp32", "fp16", "bf16"))
    (layer,) = t.layers
    assert math.isnan(layer.drift("fp16", "fp32"))
    assert layer.drift_bound("fp16", "fp32") == pytest.approx(3e-6)
    assert layer.drift("bf16", "fp32") == pytest.approx(1e-3)
    assert math.isnan(layer.drift_bound("bf16", "fp32"))
    assert "fp16: in 1 of 1 layers the drift is below the bound that was proved." in findings(t)


def test_a_shared_reference_hides_no_drift() -> None:
    """Of a bf16 checkpoint at bf16, fp16 and int4 the finest is fp16, whose alpha is shared; int4 moved nonetheless."""
    fp16 = replace(BASE, precision="fp16", method="bounded", alpha_error_bound=1e-6)
    t = Table.from_rows([fp16, replace(BASE, precision="int4", alpha=3.1)], ("fp16", "int4"))
    (layer,) = t.layers
    assert t.reference == "fp16"
    assert layer.drift("int4", "fp16") == pytest.approx(0.1)
    assert math.isnan(layer.drift_bound("int4", "fp16"))


def test_failed_rows_take_no_part_in_statistics() -> None:
    (summary,) = table({"fp32": 2.0}, {"fp32": math.nan}, {"fp32": 4.0}).summaries()
    assert (summary.count, summary.layers, summary.mean, summary.median) == (2, 3, 3.0, 3.0)
    assert summary.std == pytest.approx(math.sqrt(2))


def test_nothing_usable() -> None:
    t = table({"fp32": math.nan})
    (summary,) = t.summaries()
    assert summary.count == 0 and math.isnan(summary.mean)
    assert t.heaviest() == t.most_drifted() == []
    assert findings(t) == ["fp32: no layer has a usable alpha.", "1 layer is failed at fp32; its alpha is empty."]


def test_what_stands_out() -> None:
    t = table({"fp32": 5.0, "bf16": 5.1}, {"fp32": 2.0, "bf16": 1.5})
    assert t.heaviest(1)[0].first.layer_name == "model.layers.1.fc1"
    assert [(layer.first.layer_name, name) for layer, name, _ in t.most_drifted(1)] == [("model.layers.1.fc1", "bf16")]
    assert "bf16: alpha moves by up to 0.5 from fp32." in findings(t)


def test_dequantized_weights_are_called_so() -> None:
    row = replace(BASE, stored_dtype="Q4_1", method="lossless", alpha_error_bound=0.0)
    sentence = findings(Table.from_rows([row], ("fp32",)))[0]
    assert sentence == "Weights are stored in Q4_1 and were dequantized: fp32 is the dequantized value itself."


def test_only_what_was_dequantized_is_called_so() -> None:
    plain = replace(BASE, layer_name="a", stored_dtype="bfloat16", method="lossless", alpha_error_bound=0.0)
    coded = replace(plain, layer_name="b", stored_dtype="float8_e4m3fn (scale per row)")
    refused = replace(plain, layer_name="c", stored_dtype="I32", status="unsupported", alpha=math.nan)
    assert findings(Table.from_rows([plain, coded, refused], ("fp32",)))[0] == (
        "Weights are stored in bfloat16 and float8_e4m3fn (scale per row); float8_e4m3fn (scale per row) dequantized: "
        "fp32 is the stored or dequantized value itself."
    )
    assert findings(Table.from_rows([plain, refused], ("fp32",)))[0] == (
        "Weights are stored in bfloat16: fp32 is the stored value itself."
    )


def test_a_cast_is_named_and_bounds_are_said_to_be_about_it() -> None:
    row = replace(BASE, stored_dtype="float32 cast to bfloat16", method="lossless", alpha_error_bound=0.0)
    bounded = replace(row, precision="fp16", method="bounded", alpha_error_bound=1e-7)
    first, second, *_ = findings(Table.from_rows([row, bounded], ("fp32", "fp16")))
    assert first == "Weights are stored in float32 cast to bfloat16: fp32 is the cast value itself."
    assert second.startswith("fp16: alpha differs from the cast weights by at most 1.0e-07")


def test_csv_columns_and_empty_cells(tmp_path: Path) -> None:
    t = table({"fp32": 2.123456789012345, "bf16": math.nan})
    write_results(t, tmp_path / "r.csv")
    (row,) = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    assert list(row) == results_header(("fp32", "bf16"))
    assert list(row)[:6] == ["layer_name", "category", "out_features", "in_features", "alpha_fp32", "alpha_bf16"]
    assert (row["alpha_fp32"], row["alpha_bf16"]) == ("2.12345678901", "")
    assert row["alpha_ratio_fp32"].startswith("0.353909464")


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    odd = 'a,"b"<script>'
    write_results(Table.from_rows([replace(BASE, layer_name=odd)], ("fp32",)), tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["layer_name"] == odd


def test_summary_of_one_layer_has_no_std(tmp_path: Path) -> None:
    write_summary(table({"fp32": 2.0}), tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines()[1] == "fp32,1,1,2,,2,2,2,2,2"


def test_frame() -> None:
    frame = table({"fp32": 2.0, "bf16": 2.5}, {"fp32": 3.0, "bf16": 3.5}).to_frame()
    assert list(frame.alpha) == [2.0, 2.5, 3.0, 3.5]
    assert frame.alpha_ratio[0] == pytest.approx(2 / 6)
