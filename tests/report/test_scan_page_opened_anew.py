"""report.html in a browser, where it is opened with another address, theme, paper or table than most of its tests."""

import re
from pathlib import Path

import pytest

from alpha_callbacks.report.scan_page import report_html
from alpha_callbacks.tables.table import Table
from tests.report.conftest import CELL, Scan, choose
from tests.support.pages import NASTY, Opened, new_page, on_disk, opened
from tests.support.rows import row


def test_dark_and_light(scan: Scan) -> None:
    def luma(it: Opened, element: str, what: str) -> float:
        colour = it.page.evaluate(f"getComputedStyle(document.querySelector('{element}')).{what}")
        return sum(map(float, re.findall(r"[\d.]+", colour)[:3])) / 765

    with opened(scan.html, theme="dark", charts=False) as it:
        it.page.locator("#distribution-plot").scroll_into_view_if_needed()
        it.page.wait_for_selector("#distribution-plot .trace")
        assert luma(it, "body", "backgroundColor") < 0.2 and luma(it, "body", "color") > 0.8
        assert luma(it, "#distribution-plot .ytick text", "fill") > 0.8
        choose(it, ".themes", "Light")
        assert luma(it, "body", "backgroundColor") > 0.9 and luma(it, ".card", "color") < 0.3
        assert luma(it, "#distribution-plot .ytick text", "fill") < 0.3
        choose(it, ".themes", "Auto")
        it.page.emulate_media(color_scheme="light")
        it.until("getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/)[0] > 200")
        assert luma(it, "body", "backgroundColor") > 0.9


def test_the_policy_stops_scripts_that_are_not_ours(scan: Scan) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', scan.html)
    assert policy and "default-src &#39;none&#39;" in policy[1] and "http" not in policy[1]
    assert "unsafe" not in policy[1].split("style-src")[0]
    with new_page() as page:
        page.goto(on_disk(scan.html.replace("</body>", "<script>window.hit = 1</script></body>")))
        assert page.evaluate("window.hit") is None and page.evaluate("typeof AH") == "object"
        refused = page.evaluate("fetch('https://example.invalid/').then(() => 'sent', (error) => error.message)")
        assert refused == "Failed to fetch"


def test_without_spectra_the_panel_says_how_to_get_them(scan: Scan, tmp_path: Path) -> None:
    with opened(report_html(tmp_path, scan.table), charts=False) as it:
        assert it.page.locator(".card-head h2").all_inner_texts() == [
            "Findings",
            "Map",
            "Experts",
            "Formats",
            "Layers",
            "Estimators",
            "Distribution",
            "Coverage",
        ]
        it.page.locator(CELL).click()
        assert "Scan again with --save-spectra" in it.page.inner_text("#panel")


def test_nothing_has_an_alpha(tmp_path: Path) -> None:
    lost = [row(f"layers.{i}.fc1", "fp32", 1.0, status="failed", reason=f"no {NASTY}") for i in range(3)]
    with opened(report_html(tmp_path, Table.from_rows(lost, ("fp32",)))) as it:
        assert it.page.locator("#heat .lost").count() == 3
        it.page.locator("#heat .lost").first.click()
        assert f"failed: no {NASTY}" in it.page.inner_text("#panel")
        for name in ("alpha / noise", "drift", "relative error"):
            choose(it, "#map-tools", name)


def test_a_model_without_blocks_has_tiles(tmp_path: Path) -> None:
    rows = [row(f"conv{i}", p, 2 + i / 50) for i in range(300) for p in ("fp32", "bf16")]
    with opened(report_html(tmp_path, Table.from_rows(rows, ("fp32", "bf16"))), charts=False) as it:
        assert it.page.locator("#heat .cell").count() == 0
        assert it.page.locator("#strip .cell").count() == 240 and "60 more in the table" in it.page.inner_text("#strip")
        assert it.page.locator("#strip .outside-name").nth(7).inner_text() == "conv7"
        it.page.locator("#strip .cell").nth(7).click()
        assert it.page.inner_text("#panel-title") == "conv7"
        it.page.locator("#layer-table input").fill("conv299")
        assert it.page.locator("#layer-table tbody tr").count() == 1


def test_errors_first_and_an_address_that_keeps_what_is_shown(scan: Scan) -> None:
    with opened(scan.html, charts=False) as it:
        checked = it.page.locator("#map-tools [aria-checked=true]").all_inner_texts()
        assert checked == ["relative error", "nf4"], "what was scanned below 16 bits"
        heads = it.page.locator("#layer-table th[aria-sort], #formats-table th[aria-sort]").all_inner_texts()
        assert [head.split()[0] for head in heads] == ["nf4", "relative"]
        it.page.locator("#formats-table").get_by_role("radio", name="MB", exact=True).click()
        line = it.page.locator("#formats-table tr", has_text="lm_head").locator("td").all_inner_texts()
        lm_head = next(layer for layer in scan.table.layers if layer.first.layer_name == "lm_head")
        size = lm_head["int8"].effective_bits * lm_head.first.out_features * lm_head.first.in_features / 8e6
        assert float(line[5]) == pytest.approx(size, rel=5e-3) and line[3].endswith("%")
        choose(it, "#map-tools", "alpha / noise")
        choose(it, "#map-tools", "int8")
        it.page.locator(CELL).click()
        assert it.page.evaluate("location.hash") == "#cost=mb&v=ratio&p=int8&layer=model.layers.1.self_attn.q_proj"
        it.page.locator("nav a[href='#layers']").click()
        it.until("location.hash.startsWith('#layers&cost=mb')")
    with opened(scan.html, address="map&layer=lm_head&p=int4_g32&v=error", charts=False) as it:
        assert it.page.inner_text("#panel-title") == "lm_head"
        assert it.page.locator("#map-tools [aria-checked=true]").all_inner_texts() == ["relative error", "int4_g32"]


def test_on_paper_all_is_there_and_then_as_before(scan: Scan) -> None:
    with opened(scan.html) as drawn:
        drawn.page.set_viewport_size({"width": 400, "height": 800})
        wide = "document.documentElement.scrollWidth"
        drawn.until(f"{wide} === 400")  # a phone shows it without scrolling sideways
        name = "document.querySelector('#layers .layer-table th').offsetWidth"
        assert drawn.page.evaluate(name) <= 200, "and more of a table than its names"
        drawn.page.evaluate("AH.setTheme('dark'); dispatchEvent(new Event('beforeprint'))")
        rows, folded = drawn.page.locator("#layer-table tbody tr"), drawn.page.locator("details:not([open])")
        assert (rows.count(), folded.count()) == (36, 0)
        assert drawn.page.evaluate("[document.documentElement.dataset.theme, document.body.offsetWidth]") == [
            "light",
            960,
        ]
        assert drawn.page.evaluate("document.querySelector('#distribution-plot svg').clientWidth") > 800
        drawn.page.evaluate("dispatchEvent(new Event('afterprint'))")
        assert rows.count() == 25 and folded.count() > 0
        drawn.until(f"{wide} === 400")
        assert drawn.page.evaluate("document.documentElement.dataset.theme") == "dark"
