"""compare.html: what it says, and what it does in a browser."""

import math
from dataclasses import replace

import pytest

from alpha_callbacks.comparison.comparison import Comparison, compare
from alpha_callbacks.report.compare_page import compare_page
from alpha_callbacks.tables.table import Table
from tests.support.pages import NASTY, opened
from tests.support.rows import row, table

NAMES = (
    NASTY,
    *(f"model.layers.{i}.{part}" for i in range(1, 6) for part in ("self_attn.q_proj", "mlp.up_proj")),
    "lm_head",
)


@pytest.fixture
def comparison() -> Comparison:
    a = Table.from_rows([replace(r, tail="clear") for r in table((*NAMES, "only.here"), ("fp32",))], ("fp32",))
    changed = [replace(r, alpha=r.alpha + 0.1 * math.sin(i), tail="doubtful") for i, r in enumerate(a)]
    b = Table.from_rows(changed[:-1], ("fp32",))
    failed = row(NAMES[2], "fp32", 1.0, status="failed", reason=f"SolverError: {NASTY}")
    rows = [failed if r.layer_name == failed.layer_name else r for r in b]
    return compare(a, Table.from_rows(rows, ("fp32",)), labels=("base", NASTY))


def test_everything_works_offline_and_a_name_does_nothing(comparison: Comparison) -> None:
    with opened(compare_page(comparison)) as it:
        shown = it.text()
        assert "11\nlayers compared" in shown and "2\nlayers not compared" in shown
        assert "only in base" in shown and "SolverError" in shown
        assert "clear\N{NO-BREAK SPACE}→\N{NO-BREAK SPACE}doubtful" in shown and "xa0" not in shown
        assert it.page.locator(".js-plotly-plot").count() == 3
        rows = it.page.locator("#compare-table tbody tr")
        assert rows.count() == 11
        assert (
            it.page.locator("#compare-table td").first.inner_text()
            == max(comparison.compared, key=lambda pair: abs(pair.delta)).row.layer_name
        )
        it.page.get_by_label("Filter by name").fill("script")
        assert rows.count() == 1 and rows.first.locator("td").first.inner_text() == NASTY
        it.page.get_by_label("Filter by name").fill("")
        it.page.locator("#compare-table th button").first.click()
        assert rows.first.locator("td").first.inner_text() == "lm_head"
        for choice in ("alpha / noise", "change / spread", "Dark"):
            it.page.get_by_role("radio", name=choice, exact=True).click()
        it.page.wait_for_timeout(300)
        box = it.page.locator("#compare-heat").bounding_box()
        it.page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
        points = it.page.locator("#scatter-alphas .points path")
        assert points.count() == 11
        it.page.locator("#scatter-alphas").scroll_into_view_if_needed()
        for i in range(points.count()):
            points.nth(i).hover(force=True)


def test_two_precisions_of_one_model() -> None:
    same = compare(table(), table(), precisions=("fp32", "bf16"), labels=("fp32", "bf16"))
    html = compare_page(same, model="tiny")
    assert "<h1>tiny: fp32 and bf16</h1>" in html
    with opened(html, theme="dark", charts=False) as it:
        it.page.locator("#scatter-deltas").scroll_into_view_if_needed()
        it.page.wait_for_selector("#scatter-deltas .points")
        assert "+0.01\nchange of alpha" in it.text() and "too few to speak of a trend" in it.text()
        assert "rank correlation" not in it.text() and "median" not in it.page.inner_text("#scatter-deltas")


def test_nothing_to_compare_is_a_page_without_charts() -> None:
    lost = Table.from_rows([row(NASTY, "fp32", 1.0, status="failed", reason="no")], ("fp32",))
    html = compare_page(compare(lost, lost))
    assert len(html) < 100_000 and "Nothing could be compared: 1 without alpha." in html
    with opened(html) as it:
        assert it.page.locator(".tile").all_inner_texts() == ["0\nlayers compared", "1\nwithout alpha"]
        assert "rescan that side" in it.text() and "Not compared" in it.text() and "median" not in it.text()


def test_layers_outside_blocks_are_tiles_with_their_names(comparison: Comparison) -> None:
    with opened(compare_page(comparison), charts=False) as it:
        it.page.get_by_role("radio", name="change of alpha", exact=True).click()
        tile = it.page.locator("#compare-strip .cell")
        delta = next(pair.delta for pair in comparison.compared if pair.row.layer_name == "lm_head")
        name, change = tile.inner_text().split("\n")
        assert name == "lm_head" and float(change.replace("−", "-")) == pytest.approx(delta, rel=1e-2)
        assert it.page.inner_text("#compare-strip h3") == "Outside blocks (1)"
        it.page.get_by_role("radio", name="change / spread", exact=True).click()
        assert tile.get_attribute("title").startswith("lm_head: A ") and "change / spread" in tile.get_attribute(
            "title"
        )
        it.page.locator("#compare-heat").scroll_into_view_if_needed()
        it.page.wait_for_selector("#compare-heat .heatmaplayer")


def test_a_model_without_blocks_has_a_tile_a_layer() -> None:
    names = tuple(f"net.stage{i}.a_projection_of_the_residual_stream" for i in range(9))
    with opened(compare_page(compare(table(names), table(names, shift=0.5))), charts=False) as it:
        tiles = it.page.locator("#compare-strip .cell")
        assert it.page.locator("#compare-heat").is_hidden() and it.page.inner_text("#compare-strip h3") == "Layers (9)"
        shown = tiles.locator(".outside-name").all_inner_texts()
        assert len(set(shown)) == 9 and all(f"stage{i}." in text for i, text in enumerate(shown))
        assert all(tiles.nth(i).get_attribute("title").startswith(name) for i, name in enumerate(names))
        clipped = "found => found.filter(name => name.scrollWidth > name.clientWidth).length"
        assert tiles.locator(".outside-name").evaluate_all(clipped) == 0


def test_names_break_after_dots_and_underscores() -> None:
    name = "net.a_long_name_that_needs_two_lines.of_words.that_are_not_to_be_broken.anywhere"
    names = (name, *(f"x{i}" for i in range(8)))
    with opened(compare_page(compare(table(names), table(names, shift=0.5))), charts=False) as it:
        it.page.set_viewport_size({"width": 700, "height": 900})
        cell = it.page.locator("#compare-table td", has_text=name)
        assert cell.inner_text() == name, "what is copied has no break in it"
        lines = cell.evaluate(
            "cell => { const range = document.createRange(), lines = new Map();"
            " for (const node of cell.childNodes) if (node.nodeType === 3) { range.selectNodeContents(node);"
            "  const tops = [...range.getClientRects()].map(box => box.top);"
            "  lines.set(node.textContent, new Set(tops).size); } return [...lines]; }"
        )
        assert len(lines) > 10 and all(count == 1 for _, count in lines), "a word is broken"
        assert cell.bounding_box()["height"] > 30, "there was no need for a break"


def test_thousands_of_experts_stay_below_ten_megabytes() -> None:
    names = tuple(f"model.layers.{i // 200}.mlp.experts.{i % 200}.up_proj" for i in range(10_000))
    html = compare_page(compare(table(names, ("fp32",)), table(names, ("fp32",), 0.1)))
    assert len(html.encode()) < 10e6
