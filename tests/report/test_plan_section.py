"""The plans of a folder in its report, without a browser."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.errors import ResultsError
from alpha_callbacks.planning.plan_curve import plan_curve
from alpha_callbacks.planning.plan_curve_files import CURVE, PlanScore, plan_digest, write_curve, write_scores
from alpha_callbacks.planning.recommend import recommend
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.recommendation_files import write_recommendation
from alpha_callbacks.report.plan_section import plan_section
from alpha_callbacks.report.scan_page import report_html
from alpha_callbacks.tables.table import Table
from tests.support.low_bit_tables import low_bit_table


@pytest.fixture
def planned(tmp_path: Path) -> tuple[Path, Table]:
    table = low_bit_table()
    for bits in (5.0, 6.0):
        write_recommendation(recommend(table, RecommendOptions(avg_bits=bits)), tmp_path, name=f"{bits:g}")
    write_curve(plan_curve(table), tmp_path)
    return tmp_path, table


def test_plans_come_first_with_sizes_and_sentences(planned: tuple[Path, Table]) -> None:
    folder, table = planned
    html = report_html(folder, table)
    sections = re.findall(r'<section id="([a-z-]+)"', html)
    assert sections[:2] == ["plan", "findings"]
    section = plan_section(folder, table)
    assert section is not None and section.html.count('class="plan-view"') == 2
    plan = recommend(table, RecommendOptions(avg_bits=5.0)).plan
    before, after = 2 * plan.numel / 1e6, plan.nbytes / 1e6
    assert f"{before:.3g} MB → {after:.3g} MB" in section.html and f"{plan.average_bits():.3f} bits" in section.html
    assert "Chosen among fp8_e4m3 and int4_g32. The budget was 5 bits per weight." in section.html
    assert "None" not in section.html and "False" not in section.html and "Not measured yet" in section.html
    counts = [c.precision for c in plan.choices if c.category == "mlp_down"]
    row = re.search(r"<tr><td>mlp_down</td>(.*?)</tr>", section.html)
    assert row is not None and f">{counts.count('int4_g32') or ''}</td>" in row[1]
    assert [one["name"] for one in section.data["plans"]] == ["plan_5", "plan_6"]
    assert json.dumps(section.data, allow_nan=False)


def test_a_size_names_the_table_that_it_leaves_out(planned: tuple[Path, Table], tmp_path: Path) -> None:
    folder, table = planned
    section = plan_section(folder, table)
    assert section is not None and section.html.count("all matrices, at 16 bits and planned") == 2
    first = table.layers[0].first.layer_name
    tied = [replace(row, tied_to="embed<b>") if row.layer_name == first else row for row in table]
    write_recommendation(recommend(Table.from_rows(tied, table.precisions)), tmp_path / "tied")
    section = plan_section(tmp_path / "tied", table)
    assert section is not None and "all matrices but embed&lt;b&gt; and what shares it, at 16 bits" in section.html


def test_measured_divergence_of_plans_as_they_are_now(planned: tuple[Path, Table]) -> None:
    folder, table = planned
    plan = recommend(table, RecommendOptions(avg_bits=5.0)).plan
    score = PlanScore("plan_5", 5.0, 0.0123, 0.001, 0.2, 0.4, 0.91, 12.0, plan_digest(plan), "text.txt", 512)
    write_scores([score, replace(score, name="plan_6", digest="of another plan")], folder)
    section = plan_section(folder, table)
    assert section is not None and section.html.count("KL 0.0123") == 1 and "91.0%" in section.html
    assert "1 scores are left out" in section.html and [one[0] for one in section.data["scores"]] == ["plan_5"]


def test_no_plan_no_section_and_a_damaged_curve_is_told(planned: tuple[Path, Table], tmp_path: Path) -> None:
    folder, table = planned
    assert plan_section(tmp_path / "nothing", table) is None
    (folder / CURVE).write_text("policy\nmeasured\n")
    with pytest.raises(ResultsError, match=r"plan_curve\.csv: expected the column average_bits"):
        plan_section(folder, table)
    assert report_html(folder, table).count("A part of this report is left out.") == 1
