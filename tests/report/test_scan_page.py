"""What goes into a report, without a browser: size, what lies beside the table, damaged files, words."""

import json
import math
import re
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from alpha_callbacks import Plots, scan
from alpha_callbacks.cli.app import app
from alpha_callbacks.errors import ResultsError
from alpha_callbacks.planning.recommendation_files import read_recommendation
from alpha_callbacks.report import scan_page
from alpha_callbacks.report.scan_page import report_html, write_report
from alpha_callbacks.report.standouts import reasons_of, sentences, standouts, tiles
from alpha_callbacks.report.thinned import MOST, curve_columns
from alpha_callbacks.tables.results_folder import ResultsFolder
from alpha_callbacks.tables.spectra_files import FOLDER, open_spectra
from alpha_callbacks.tables.table import Table
from benchmarks.report import made_up
from tests.support.example_scans import LOST, example
from tests.support.pages import NASTY, opened
from tests.support.rows import row, table


@pytest.mark.evidence
def test_225_layers_at_6_precisions_stay_below_10_megabytes(tmp_path: Path) -> None:
    whole = made_up(tmp_path)
    assert (len(whole), len(whole.precisions)) == (225, 6)
    columns = curve_columns(whole, open_spectra(tmp_path))
    assert columns["left_out"] == 0, "the curves of all decompositions are in the page"
    assert len(report_html(tmp_path, whole).encode()) < 10e6


def test_thousands_of_experts(tmp_path: Path) -> None:
    """The curves of layers outside mixtures come first; all layers are in the page, and it opens."""
    names = [f"model.layers.{i // 256}.mlp.experts.{i % 256}.up_proj" for i in range(5120)]
    rows = [row(name, p, 2 + i / 5120, block=i // 256) for i, name in enumerate(names) for p in ("fp32", "bf16")]
    whole = Table.from_rows([*rows, row("lm_head", "fp32", 2.0), row("lm_head", "bf16", 2.0)], ("fp32", "bf16"))
    html = report_html(tmp_path, whole)
    assert len(html.encode()) < 10e6 and html.count("mlp.experts") >= 5120
    start = time.perf_counter()
    with opened(html, charts=False) as it:
        assert time.perf_counter() - start < 60
        assert it.page.locator("#heat .cell").count() == 20
        it.page.locator("#heat .cell").nth(3).click()
        assert it.page.locator("#panel .members button").count() == 256
        it.page.locator("#layer-table input").fill("layers.19 experts.255")
        assert it.page.locator("#layer-table tbody tr").count() == 1


def test_most_curves_go_to_dense_layers_then_to_the_heaviest_experts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alpha_callbacks.report.thinned.MOST", 24)
    whole = example(tmp_path)
    columns = curve_columns(whole, open_spectra(tmp_path))
    assert columns["left_out"] == 22 - 4, "6 decompositions per layer" and MOST > 225 * 6


def test_damaged_spectra_cost_their_curves_only(tmp_path: Path) -> None:
    whole = example(tmp_path)
    for file in list((tmp_path / FOLDER).iterdir())[:2]:
        file.write_bytes(b"nonsense")
    columns = curve_columns(whole, open_spectra(tmp_path))
    assert len(columns["problems"]) == 2 and "expected eigenvalues" in columns["problems"][0]
    assert "The spectra of some layers are left out" in report_html(tmp_path, whole)


def test_spectra_of_another_size_are_no_curves(tmp_path: Path) -> None:
    whole = example(tmp_path)
    rows = [row(layer.first.layer_name, p, 2.0, n_eigs=7) for layer in whole.layers for p in whole.precisions]
    columns = curve_columns(Table.from_rows(rows, whole.precisions), open_spectra(tmp_path))
    assert columns["problems"][0].endswith("expected 7 eigenvalues, got 128.")


def test_what_lies_beside_the_table(tmp_path: Path) -> None:
    example(tmp_path)
    folder = ResultsFolder(tmp_path)
    coverage = folder.coverage
    assert coverage and coverage.counts == {"analysed": 1, "skipped": 1}
    assert coverage.groups[0].names == (f"{NASTY} (4)",)
    advice = read_recommendation(tmp_path)
    assert advice and advice.policy == "alphaq" and advice.counts() == {"int4_g32": (2, 2 * 128 * 128)}
    assert folder.run["source"] == folder.source == "org/model-8B"
    assert '<p class="banner">' not in report_html(tmp_path, example(tmp_path))


@pytest.mark.parametrize("name", ["coverage.csv", "run.json", "recommendations.csv", "plan.json"])
@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1]", b"name,outcome\n1", b'{"options": 3}'])
def test_a_damaged_file_costs_its_section_and_the_page_says_so(
    content: bytes, name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = example(tmp_path)
    (tmp_path / name).write_bytes(content)
    html = report_html(tmp_path, whole)
    told = f"A part of this report is left out. {tmp_path / name}: expected "
    assert html.count(told) == 1 and html.endswith("</html>") and html.count('<p class="banner">') == 1
    assert [record.getMessage().partition(": expected")[0] for record in caplog.records] == [
        f"alpha-Hill: a part of the report is left out. {tmp_path / name}"
    ]


def test_the_plan_may_be_missing(tmp_path: Path) -> None:
    example(tmp_path)
    (tmp_path / "plan.json").unlink()
    advice = read_recommendation(tmp_path)
    assert advice and advice.policy == "" and advice.settings == {}


def test_words(tmp_path: Path) -> None:
    whole = example(tmp_path)
    assert "layers with a precision without alpha" in [tile.what for tile in tiles(whole) if tile.warn]
    assert any(text.startswith("nf4 (8 bits per weight): rounding changes") for text in sentences(whole))
    titles = [group.title for group in standouts(whole)]
    assert titles[0] == "Largest relative error at nf4"
    assert titles[1:3] == ["Heaviest clear tails relative to their shape", "Closest to noise"]
    assert reasons_of(whole) == [("non_finite", f"3 weights overflow {NASTY}", [f"{LOST} at nf4"])]


def test_words_of_a_table_without_alpha() -> None:
    lost = Table.from_rows([row("a", "fp32", math.nan, status="failed", reason="no")], ("fp32",))
    assert len(tiles(lost)) == 2 and standouts(lost) == [] and "1 layer is failed" in sentences(lost)[-1]


def test_few_layers_are_told_one_by_one(tmp_path: Path) -> None:
    few = table(tuple(f"net.fc{i}" for i in range(7)))
    told = " ".join(sentences(few))
    assert "net.fc0 (0.40), net.fc1 (0.60)" in told and "7 layers are too few to speak of a trend" in told
    shown = {tile.what: tile.value for tile in tiles(few)}
    assert (
        shown["alpha at fp32"] == "2.000 to 8.000" and shown["alpha / alpha of noise (1 = no tail)"] == "0.40 to 1.60"
    )
    (tails, _) = standouts(few)
    assert tails.title.startswith("Tails relative to their shape") and len(tails.entries) == 7
    assert "median" not in told + " ".join(shown) and "Tails are heaviest" not in told
    enough = table(tuple(f"net.fc{i}" for i in range(8)))
    assert "median alpha at fp32" in [tile.what for tile in tiles(enough)] and "median 1.10" in " ".join(
        sentences(enough)
    )


def test_a_format_of_few_layers_has_a_range(tmp_path: Path) -> None:
    rows = [row(f"fc{i}", "nf4", 3.0, relative_error=0.08 + i / 100, effective_bits=4.5) for i in range(2)]
    told = sentences(Table.from_rows(rows, ("nf4",)))[0]
    assert told == "nf4 (4.5 bits per weight): rounding changes a weight matrix by 8.00% to 9.00% of its norm."


def test_few_layers_have_points_and_no_box(tmp_path: Path) -> None:
    width = "document.getElementById('distribution-plot').data.map((box) => box.line.width)"
    for count, drawn in ((7, 0), (8, 1.6)):
        names = tuple(f"net.fc{i}" for i in range(count))
        with opened(report_html(tmp_path, table(names, ("fp32",))), charts=False) as it:
            it.page.locator("#distribution-plot").scroll_into_view_if_needed()
            it.page.wait_for_selector("#distribution-plot .trace")
            assert it.page.evaluate(width) == [drawn]
            assert "One tile per layer" in it.page.inner_text("#map")


def test_scan_writes_it_and_the_command_writes_it_anew(tmp_path: Path) -> None:
    scan(output_dir=tmp_path, plots=Plots(formats=()))
    first = (tmp_path / "report.html").read_text()
    assert "tiny_llama" in first and "alpha-Hill report" in first
    run = CliRunner().invoke(app, ["report", str(tmp_path), "-o", str(tmp_path / "again.html")])
    assert run.exit_code == 0 and "again.html" in run.stdout.replace("\n", "")
    again = (tmp_path / "again.html").read_text()
    data = '<script type="application/json"'  # with the digits of the CSV
    assert again.split(data)[0] == first.split(data)[0] and abs(len(again) - len(first)) < 1000


def test_no_report(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["scan", "-o", str(tmp_path), "--no-plots", "--no-report", "--no-save-spectra"])
    assert run.exit_code == 0, run.output
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "spectra").exists()


def test_a_folder_without_results(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert isinstance(run.exception, ResultsError)  # `main` makes it a line and exit code 2


def test_a_report_of_a_table_at_hand(tmp_path: Path) -> None:
    path = write_report(tmp_path, table(), output=tmp_path / "x.html")
    assert path.name == "x.html" and json.dumps("lm_head") in path.read_text()


def test_the_key_of_striped_cells_has_no_colour_of_its_own() -> None:
    style = (Path(scan_page.__file__).parent / "assets" / "report.css").read_text(encoding="utf-8")
    (rule,) = re.findall(r"\.swatch \{[^}]*\}", style)
    assert "background" not in rule and "color: var(--ink)" in rule
