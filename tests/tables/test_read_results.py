import csv
import math
from dataclasses import fields
from pathlib import Path

import pytest

from alpha_callbacks import scan
from alpha_callbacks.errors import ResultsError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.findings import findings
from alpha_callbacks.tables.read_results import read_results
from alpha_callbacks.tables.results_csv import RESULTS, as_printed, write_results
from alpha_callbacks.tables.table import Row, Table
from tests.support.rows import row


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    precisions = ("fp32", "bf16", "fp16", "int4_g32", "fp8_e4m3")
    options = AnalysisOptions(precisions=precisions, include="layers.0|lm_head")
    result = scan(output_dir=tmp_path, options=options, plots=Plots(()))
    assert result is not None
    back = read_results(tmp_path)
    assert back.precisions == precisions and len(back) == len(result.table)
    for read, printed, written in zip(back, as_printed(result.table), result.table, strict=True):
        for field in fields(Row):
            got, drawn, expected = (getattr(row, field.name) for row in (read, printed, written))
            assert got == drawn or math.isnan(got) and math.isnan(drawn), field.name  # what a scan draws and reports
            if isinstance(expected, float):
                assert got == pytest.approx(expected, rel=5e-3, nan_ok=True), field.name
        assert read.alpha == pytest.approx(written.alpha, rel=1e-11)


def test_rows_without_alpha_come_back(tmp_path: Path) -> None:
    bad = row("layers.0.fc", "fp32", 2, status="failed", reason='torn, "quoted"\nand broken', method="", solver="")
    write_results(Table.from_rows([bad], ("fp32",)), tmp_path / RESULTS)
    (read,) = read_results(tmp_path / RESULTS)
    assert (read.status, read.reason) == ("failed", bad.reason) and math.isnan(read.alpha)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the column layer_name, got an empty file"),
        ("layer_name,category\na,b\n", "found none"),
        ("layer_name,status_fp32\n", "found none"),
        ("layer_name,status_fp33\na,ok\n", "fp33"),
        ("layer_name,status_fp32,alpha_fp32\na,ok,many\n", "a, alpha: expected a number, got 'many'"),
        ("layer_name,status_fp32\na,ok\n", "expected the columns of this version"),
        ("layer_name,status_fp32\na,ok\nb\n", "expected 2 cells per line, row 2 has another number"),
        (
            "Once upon a time,\nthere were, as they say, three\n",
            "expected the column layer_name, got Once upon a time, ",
        ),
        ("layer_name,status_fp32\na,ok,3\n", "expected 2 cells per line, row 1 has another number"),
    ],
)
def test_other_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / RESULTS).write_text(text)
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="expected the results of `alpha-hill scan`"):
        read_results(tmp_path / "nowhere.csv")


def test_a_layer_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    write_results(Table.from_rows([row("fc", "fp32", 3.0)], ("fp32",)), path)
    header, line = path.read_text().splitlines()
    path.write_text(f"{header}\n{line}\n{line}\n")
    with pytest.raises(ResultsError, match="expected each layer once, got 'fc' 2 times"):
        read_results(path)


@pytest.mark.parametrize("alpha", ["inf", "-inf", "1e308", ""])
def test_an_alpha_that_is_ok_and_no_number_is_refused(alpha: str, tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "layer_name,category,out_features,in_features,stored_dtype,block,tied_to,alpha_fp32,status_fp32\n"
        f"a,other,8,8,float32,,,{alpha},ok\n"
    )
    with pytest.raises(ResultsError, match=r"r.csv, a: expected a number as alpha of fp32, whose status is ok"):
        read_results(tmp_path / "r.csv")


@pytest.mark.parametrize(
    "column, value, expected",
    [
        ("status_fp32", "fine", r"status, expected|status: expected ok, degenerate"),
        ("method_fp32", "guessed", "method: expected computed, certified, lossless, bounded, got 'guessed'"),
        ("tail_fp32", "heavy", "tail: expected clear, doubtful, none, got 'heavy'"),
        ("k_used_fp32", "-3", "k_used: expected a number, got '-3'"),
        ("out_features", "9" * 30, "out_features: expected a number, got '9"),
        ("alpha_null", "0", "expected an alpha_null above 0, got 0.0"),
        ("relative_error_fp32", "1e200", "expected a relative_error of fp32 below 1e.150, got 1e.200"),
    ],
)
def test_what_no_scan_writes_is_refused(column: str, value: str, expected: str, tmp_path: Path) -> None:
    write_results(Table.from_rows([row("a", "fp32", 3.0)], ("fp32",)), tmp_path / "r.csv")
    (line,) = csv.DictReader((tmp_path / "r.csv").read_text().splitlines())
    assert column in line
    (tmp_path / "r.csv").write_text(",".join(line) + "\n" + ",".join({**line, column: value}.values()) + "\n")
    with pytest.raises(ResultsError, match=rf"r.csv, a(, |: ){expected}"):
        read_results(tmp_path / "r.csv")


def test_the_threshold_of_a_huge_fp64_weight_is_read_back(tmp_path: Path) -> None:
    write_results(Table.from_rows([row("a", "fp32", 3.0, x_min=1e240)], ("fp32",)), tmp_path / "r.csv")
    assert read_results(tmp_path / "r.csv").layers[0]["fp32"].x_min == 1e240


def test_findings_of_a_table_without_methods(tmp_path: Path) -> None:
    (tmp_path / "r.csv").write_text(
        "layer_name,category,out_features,in_features,stored_dtype,block,tied_to,alpha_fp32,status_fp32\n"
        "a,other,0,8,float32,,,3.5,ok\n"
    )
    assert findings(read_results(tmp_path / "r.csv"))
