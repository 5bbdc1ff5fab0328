"""The end of a scan in the terminal: errors first, each precision once, sizes of layers."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from alpha_callbacks.cli.print_scan import print_scan
from alpha_callbacks.cli.show_page import check_open, show_page
from alpha_callbacks.errors import OptionError
from alpha_callbacks.scanning.write_results import ScanResult
from alpha_callbacks.tables.table import Table
from tests.support.rows import row

BLOCKS = tuple(f"model.layers.{i}.mlp.up_proj" for i in range(9))


def scanned(*formats: str) -> Table:
    """Return 9 layers whose fp32, fp16 and bf16 are the same, and formats with errors of 1, 2, 3 ... percent."""
    rows = [
        row(name, p, 2.0 + i, relative_error=0.0) for i, name in enumerate(BLOCKS) for p in ("fp32", "fp16", "bf16")
    ]
    rows += [
        row(name, p, 2.5 + i, relative_error=(i + 1) / 100, effective_bits=4.5)
        for i, name in enumerate(BLOCKS)
        for p in formats
    ]
    return Table.from_rows(rows, ("fp32", "fp16", "bf16", *formats))


def test_errors_first_where_a_low_bit_format_was_scanned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    print_scan(ScanResult(scanned("int4_g32"), tmp_path))
    shown = capsys.readouterr().out
    costs, alphas, layers = (shown.index(title) for title in ("Relative error", "alpha-Hill", "Layers that stand out"))
    assert costs < alphas < layers
    (line,) = [text for text in shown[costs:alphas].splitlines() if "int4_g32" in text]
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        "int4_g32",
        "5.00%",
        "9.00%",
        "26.0",
        "0.0",
        "4.50",
    ]
    first = next(text for text in shown[layers:].splitlines() if "up_proj" in text)
    assert [cell.strip() for cell in first.strip("│").split("│")] == [
        BLOCKS[-1], "int4_g32 error 9.00%", "2.00", "11.1%", "10.0000", "3.1K", "64x48",
    ]  # fmt: skip


def test_equal_precisions_are_one_line_and_no_error_of_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_scan(ScanResult(scanned(), tmp_path))
    shown = capsys.readouterr().out
    assert "│ fp32 = fp16 = bf16 │" in shown and "Relative error" not in shown and "heaviest tail" in shown


def test_the_address_of_a_page_and_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def open_url(url: str) -> bool:
        opened.append(url)
        return True

    browser = SimpleNamespace(basename="firefox", open=open_url)
    monkeypatch.setattr("webbrowser.get", lambda: browser)
    page = tmp_path / "a folder" / "report.html"
    show_page(page, open_page=False)
    assert not opened and capsys.readouterr().out == f"{page.as_uri()}\n" and "a%20folder" in page.as_uri()
    show_page(page, open_page=True)
    assert opened == [page.as_uri()] and not capsys.readouterr().err
    browser.basename = "w3m"  # would take the terminal, and draws no chart
    show_page(page, open_page=True)
    assert len(opened) == 1 and "found none. Open the address above." in capsys.readouterr().err
    with pytest.raises(OptionError, match="--open: expected a report to open, got --no-report"):
        check_open(open_page=True, no_report=True)
