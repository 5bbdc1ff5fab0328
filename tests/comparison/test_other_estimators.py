"""Other estimators beside alpha-Hill in a comparison: deltas, what counts as moved, the files and the terminal."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.cli.print_comparison import print_comparison
from alpha_callbacks.comparison.comparison import Comparison, compare
from alpha_callbacks.comparison.comparison_csv import write_comparison
from alpha_callbacks.comparison.other_estimators import other_delta, other_summaries, shared_estimators
from alpha_callbacks.estimators.spread import alpha_spread
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.estimators.verdict import Tail
from alpha_callbacks.report.compare_page import compare_page
from alpha_callbacks.tables.table import Table
from tests.support.rows import row


def side(csn: float, half: float, tail: Tail = "clear", *, farms: float = 2.0, width: int = 64) -> Table:
    fits = (
        TailEstimate("csn", csn, 20, low=csn - 0.3, high=csn + 0.3),
        TailEstimate("half", half, 32),
        TailEstimate("farms", farms),
    )
    rows = [
        replace(row(name, "fp32", 3.0 + csn, out_features=64, in_features=width), estimates=fits, tail=tail)
        for name in ("layers.0.mlp.up_proj", "lm_head")
    ]
    return Table.from_rows(rows, ("fp32",))


def comparison(csn: float = 0.5, half: float = 0.0) -> Comparison:
    return compare(side(2.0, 2.5), side(2.0 + csn, 2.5 + half, "doubtful", farms=math.nan))


@pytest.mark.parametrize(("change", "moved"), [(0.5, False), (0.7, True), (-0.7, True)])
def test_csn_has_moved_where_the_ranges_of_its_refits_do_not_overlap(change: float, moved: bool) -> None:
    found = other_delta(comparison(csn=change).pairs[0], "csn")
    assert found.delta == pytest.approx(change) and found.moved is moved


def test_half_has_moved_beyond_1_96_spreads() -> None:
    spread = math.hypot(*[alpha_spread(2.5, 32, 48)] * 2)
    for factor, moved in ((1.9, False), (2.1, True)):
        assert other_delta(comparison(half=factor * spread).pairs[0], "half").moved is moved


def test_one_without_alpha_or_range_says_nothing_of_moving() -> None:
    found = comparison()
    assert math.isnan(other_delta(found.pairs[0], "farms").delta) and other_delta(found.pairs[0], "farms").moved is None
    assert math.isnan(other_delta(found.pairs[0], "tpl").delta)
    csn, half, farms = other_summaries(found)
    assert (csn.count, csn.rises, csn.falls, csn.moved) == (2, 2, 0, 0) and csn.median == pytest.approx(0.5)
    assert (half.rises, half.falls, half.moved) == (0, 0, 0)
    assert farms.count == 0 and math.isnan(farms.median) and farms.moved is None


def test_other_shapes_have_no_delta_and_only_what_both_have_is_compared() -> None:
    wide = compare(side(2.0, 2.5), side(2.0, 2.5, width=96))
    assert math.isnan(other_delta(wide.pairs[0], "csn").delta)
    plain = Table.from_rows([replace(each, estimates=()) for each in side(2.0, 2.5)], ("fp32",))
    assert shared_estimators(compare(side(2.0, 2.5), plain)) == () and other_summaries(compare(plain, plain)) == []


def test_files_page_and_terminal_show_them_and_the_verdicts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    found = comparison(csn=0.7)
    write_comparison(found, tmp_path)
    with (tmp_path / "comparison.csv").open(newline="") as file:
        line = next(csv.DictReader(file))
    assert (line["csn_alpha_a"], line["csn_alpha_b"], line["csn_moved"], line["half_moved"]) == (
        "2",
        "2.7",
        "yes",
        "no",
    )
    assert line["farms_alpha_a"] == "2" and line["farms_delta"] == line["farms_moved"] == ""
    assert (line["tail_a"], line["tail_b"]) == ("clear", "doubtful")
    print_comparison(found)
    told = capsys.readouterr().out
    assert "clear → doubtful" in told and "other estimators" in told
    page = compare_page(found)
    assert '"name":"csn"' in page.replace(" ", "") and "doubtful" in page
