import math
from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.errors import OptionError, ResultsError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.tables.further_csv import ESTIMATES, MEASURES, with_further, write_further
from alpha_callbacks.tables.table import Table
from tests.support.rows import table

FITS = (
    TailEstimate("csn", 2.5, 40, 0.25, 0.0625, 0.125, 2.25, 3.5),
    TailEstimate("tpl", 1.5, 40, 0.25, 0.03125, more={"Lambda": 0.5, "p_vs_lognormal": 0.75}),
    TailEstimate("half", reason="all eigenvalues of the tail are equal"),
)


def fitted() -> Table:
    plain = table(precisions=("fp32",))
    rows = [replace(row, estimates=FITS, measures={"num_spikes": 3.0, "entropy": 0.5}) for row in plain]
    return Table.from_rows(rows, plain.precisions)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    found = fitted()
    write_further(found, tmp_path)
    again = with_further(table(precisions=("fp32",)), tmp_path)
    for row, back in zip(found, again, strict=True):
        assert back.measures == row.measures
        assert [fit.estimator for fit in back.estimates] == ["csn", "tpl", "half"]
        assert back.estimates[0] == FITS[0] or math.isnan(back.estimates[0].stderr)
        assert back.estimates[1].more == FITS[1].more and back.estimates[2].reason == FITS[2].reason
    lines = (tmp_path / ESTIMATES).read_text().splitlines()
    assert lines[1].split(",")[1:4] == ["fp32", "hill", "2"] and len(lines) == 1 + 4 * len(again)


def test_reasons_of_missing_measures_are_written_and_come_back(tmp_path: Path) -> None:
    plain = table(precisions=("fp32",))
    reasons = ["bulk: ValueError: no fit", "norms: a, b"]
    rows = [replace(row, measures_reason=reason) for row, reason in zip(plain, reasons * 2, strict=True)]
    rows[0] = replace(rows[0], measures={"entropy": 0.5})
    write_further(Table.from_rows(rows, plain.precisions), tmp_path)
    again = list(with_further(plain, tmp_path))
    assert [row.measures_reason for row in again] == reasons * 2 and again[0].measures == {"entropy": 0.5}
    assert Table.from_rows(rows, plain.precisions).to_frame()["measures_reason"].tolist() == reasons * 2
    assert "measures_reason" not in fitted().to_frame()


def test_without_content_there_are_no_files_and_old_ones_go(tmp_path: Path) -> None:
    write_further(fitted(), tmp_path)
    plain = table(precisions=("fp32",))
    write_further(plain, tmp_path)
    assert not (tmp_path / ESTIMATES).exists() and not (tmp_path / MEASURES).exists()
    assert with_further(plain, tmp_path) is plain


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / MEASURES).write_text("layer_name,precision,entropy\nlm_head,fp32,many\n")
    with pytest.raises(ResultsError, match="spectral_measures.csv: expected a number, got 'many'"):
        with_further(table(), tmp_path)


def test_frames_have_columns_for_what_was_asked() -> None:
    frame = fitted().to_frame()
    assert frame["csn_low"].tolist() == [2.25] * 4 and frame["tpl_Lambda"][0] == 0.5
    assert frame["num_spikes"].tolist() == [3.0] * 4 and "estimates" not in frame and "measures" not in frame


def test_names_of_weightwatcher() -> None:
    frame = fitted().to_frame(style="weightwatcher")
    first = frame.iloc[0]
    assert (first["alpha"], first["D"], first["xmin"], first["num_pl_spikes"]) == (2.5, 0.0625, 0.25, 40)
    assert (first["M"], first["N"]) == (48, 64) and first["num_spikes"] == 3 and first["alpha_hill"] == 2
    assert first["warning"] == "" and first["status"] == "success"
    with pytest.raises(OptionError, match="expected rows with the estimator csn"):
        table().to_frame(style="weightwatcher")
    with pytest.raises(OptionError, match='style: expected "" or "weightwatcher"'):
        table().to_frame(style="ww")  # type: ignore[arg-type]


def test_a_scan_with_estimators_leaves_files_that_a_report_and_a_resume_read(tmp_path: Path) -> None:
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.scanning.scan import scan
    from alpha_callbacks.scanning.write_results import Plots
    from alpha_callbacks.tables.results_folder import ResultsFolder

    options = AnalysisOptions(
        precisions=("fp32",), estimators=("csn", "half"), measures=("norms",), include=r"layers\.0\.self_attn\.k_proj"
    )
    rows = []
    for _ in range(2):  # the second time from the journal
        found = scan(output_dir=tmp_path, options=options, plots=Plots(formats=()), report=False, workers=1)
        assert found is not None
        rows.append(list(found.table)[0])
    again = list(ResultsFolder(tmp_path).table)[0]
    assert repr(rows[0].estimates) == repr(rows[1].estimates)  # nan is not equal to itself
    assert [fit.estimator for fit in again.estimates] == ["csn", "half"]
    assert again.estimates[0].alpha == pytest.approx(rows[0].estimates[0].alpha, rel=1e-11)
    assert again.measures["entropy"] == pytest.approx(rows[0].measures["entropy"], rel=1e-11)
    assert again.tail == rows[0].tail != "" and again.tail_reason == rows[0].tail_reason


def test_a_state_of_a_run_has_the_files_too(tmp_path: Path) -> None:
    from alpha_callbacks.sinks.csv_sink import CsvSink
    from alpha_callbacks.sinks.sink import Host
    from tests.support.rows import snapshot

    sink = CsvSink(Host(output_dir=tmp_path))
    sink.log(snapshot(5, fitted()))
    assert (tmp_path / "step_00000005" / ESTIMATES).is_file() and (tmp_path / "step_00000005" / MEASURES).is_file()
