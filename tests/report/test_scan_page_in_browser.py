"""report.html in a browser, from disk: what it shows, what keys and clicks do, and that nothing gets out."""

import json
import math
import re
from collections.abc import Iterator

import numpy as np
import pytest

from alpha_callbacks.estimators.marchenko_pastur import alpha_null
from alpha_callbacks.plots.elements.color_scale import color_ends, remark_on
from alpha_callbacks.tables.vocabulary import Scale
from benchmarks.report import PRECISIONS
from tests.report.conftest import ALPHAS, CELL, FITTED, Scan, choose
from tests.support.example_scans import EXPERTS, LOST, SHARED
from tests.support.pages import NASTY, Opened, opened

# What a test left: words, choices, the open panel, the focus.
AS_OPENED = """() => {
  document.querySelectorAll("input[type=search]").forEach((field) => {
    field.value = "";
    field.dispatchEvent(new Event("input"));
  });
  document.querySelectorAll("select").forEach((field) => {
    field.value = "";
    field.dispatchEvent(new Event("change"));
  });
  for (const name of ["alpha", "fp32"])
    [...document.querySelectorAll("#map-tools [role=radio]")].find((one) => one.textContent === name).click();
  document.activeElement.blur();
  window.scrollTo({top: 0, behavior: "instant"});
}"""


@pytest.fixture(scope="module")
def page(scan: Scan) -> Iterator[Opened]:
    """One page for all tests of this file: to open it takes longer than most of them."""
    with opened(scan.html, address=ALPHAS, charts=False) as page:
        yield page


@pytest.fixture
def it(page: Opened) -> Iterator[Opened]:
    """The open page with alphas in its map; charts are drawn where a test brings them into view."""
    page.page.keyboard.press("Escape")
    page.page.mouse.move(0, 0)
    page.page.evaluate(AS_OPENED)
    yield page
    assert page.errors == [] and page.page.evaluate("window.hit") is None


@pytest.fixture(scope="module")
def _charts(page: Opened) -> None:
    assert page.scroll(), "the browser draws no frame"


@pytest.fixture
def drawn(_charts: None, it: Opened) -> Opened:
    """The same page with all of its charts."""
    return it


def alpha(scan: Scan, name: str, precision: str) -> float:
    return next(layer[precision].alpha for layer in scan.table.layers if layer.first.layer_name == name)


def focused(it: Opened) -> str:
    return str(it.page.evaluate("document.activeElement.ariaLabel || document.activeElement.textContent"))


def test_sections(drawn: Opened) -> None:
    assert drawn.page.locator(".card-head h2").all_inner_texts() == [
        "Plan", "Findings", "Map", "Experts", "Formats", "Layers", "Estimators", "Distribution", "Recommendation",
        "Coverage", "Reproduce",
    ]  # fmt: skip
    text = drawn.text()
    assert "36\nmatrices" in text and "tiny & <b>model</b>" in text
    assert "Tails are heaviest in" in text and "int4_g32 (8 bits per weight)" in text
    assert "Policy alphaq: the cost of AlphaQ" in text and "budget: 4.5." in text
    planned = drawn.page.locator("#plan .plan-cell:not(.none)")
    assert planned.count() == 2 and "int4_g32" in str(planned.first.get_attribute("title"))
    assert "alpha-hill scan" in text and "1,024 MiB" in text
    assert drawn.page.locator("#distribution-plot .trace").count() == 5, "of the error that the reference does not have"


def test_estimators_by_choice(it: Opened, scan: Scan) -> None:
    where = "#estimators-table"
    it.page.locator(where).get_by_role("searchbox").fill(FITTED)
    line = it.page.locator(f"{where} tbody tr")
    assert line.count() == 1
    shown = line.locator("td").all_inner_texts()
    assert [float(text) for text in shown[2:8]] == pytest.approx(
        [alpha(scan, FITTED, "fp32"), 4.25, 9, 0.125, 4.0, 4.5], rel=1e-5
    ), shown
    choose(it, where, "half")
    shown = line.locator("td").all_inner_texts()
    assert shown[3] == "–" and shown[8] == "no tail", shown
    it.page.locator(where).get_by_role("searchbox").fill(SHARED)
    assert "not asked for" in line.inner_text()


def test_metric_and_precision(it: Opened, scan: Scan) -> None:
    cell, name = it.page.locator(CELL), "model.layers.1.self_attn.q_proj"
    assert cell.inner_text() == f"{alpha(scan, name, 'fp32'):.2f}"
    colour = cell.evaluate("cell => getComputedStyle(cell).backgroundColor")
    choose(it, "#map-tools", "drift")
    drift = alpha(scan, name, "nf4") - alpha(scan, name, "fp32")
    label = cell.get_attribute("aria-label")
    assert label.endswith("at nf4") and label.split()[4][:5] == f"{drift:+.3g}".replace("-", "−")[:5]
    assert cell.evaluate("cell => getComputedStyle(cell).backgroundColor") != colour
    choose(it, "#map-tools", "relative error")
    choose(it, "#map-tools", "int8")
    assert cell.inner_text() == "0.80%" and "‖W − Q(W)‖" in it.page.inner_text("#map-legend")
    choose(it, "#map-tools", "alpha / noise")
    checked = it.page.locator("#map-tools [aria-checked=true]").all_inner_texts()
    assert checked == ["alpha / noise", "int8"]
    assert it.page.locator("#layers [aria-checked=true]").inner_text() == "int8", "one precision for all of the page"


def test_a_bound_is_no_measurement(it: Opened) -> None:
    choose(it, "#map-tools", "drift")
    choose(it, "#map-tools", "bf16")
    cell = it.page.locator("#heat [aria-label^='block 0, mlp_down:']")
    assert "bounded" in cell.get_attribute("class").split()
    assert cell.inner_text() == "≤" and cell.evaluate("cell => cell.style.backgroundColor") == ""
    assert "drift ≤ 1.3e−9 at bf16" in cell.get_attribute("aria-label")
    assert "provably below this bound" in it.page.inner_text("#map-note")
    cell.click()
    assert it.page.inner_text("#panel-title") == SHARED and "≤ 1.3e−9" in it.page.inner_text("#panel .tiles")


def test_a_cell_opens_its_layer(it: Opened, scan: Scan) -> None:
    name = "model.layers.1.self_attn.q_proj"
    it.page.locator(CELL).click()
    assert it.page.inner_text("#panel-title") == name
    bars = it.page.locator("#panel .bars tbody tr").all_inner_texts()
    assert [bar.split()[0] for bar in bars] == list(PRECISIONS)
    assert [float(bar.split()[1]) for bar in bars] == pytest.approx(
        [alpha(scan, name, p) for p in PRECISIONS], rel=1e-5
    )
    it.page.wait_for_selector("#panel .plot .trace")
    spectrum = it.page.locator("#panel .plot").first.inner_text()
    assert "noise (MP)" in spectrum and f"tail, alpha = {alpha(scan, name, 'fp32'):.4g}" in spectrum
    assert "x_min, k = 12" in spectrum
    it.page.locator("#panel .plot").nth(1).scroll_into_view_if_needed()
    it.page.wait_for_selector("#panel .plot >> nth=1 >> .trace")
    assert "used: k = 12" in it.page.locator("#panel .plot").nth(1).inner_text()
    assert "± 1.96 spreads" in it.page.locator("#panel .plot").nth(1).inner_text()
    numbers = it.page.inner_text("#panel .fields")
    for field in (
        "status",
        "KS distance",
        "stable rank",
        "SQNR",
        "spectral error",
        "solver",
        "bits per weight",
        "k of n",
    ):
        assert field in numbers
    choose(it, "#panel", "Survival")
    choose(it, "#panel", "nf4")
    assert f"alpha = {alpha(scan, name, 'nf4'):.4g}" in it.page.locator("#panel .plot").first.inner_text()
    it.page.get_by_label("Next layer").click()
    assert it.page.inner_text("#panel-title") == "model.layers.1.self_attn.k_proj"
    it.page.get_by_label("Previous layer").click()
    it.page.get_by_label("Close").click()
    assert it.page.locator("#panel").is_hidden()


def test_no_button_sends_a_chart_away(drawn: Opened) -> None:
    """plotly.js 4 has one that does, unless it is told not to."""
    drawn.page.locator(CELL).click()
    drawn.page.wait_for_selector("#panel .modebar-btn")
    labels = drawn.page.locator(".modebar-btn").evaluate_all("found => found.map(button => button.ariaLabel)")
    assert set(labels) == {"Download plot as a PNG", "Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"}


def test_status_and_reason_in_words(it: Opened) -> None:
    choose(it, "#map-tools", "nf4")
    cell = it.page.locator("#heat [aria-label^='block 2, mlp_up:']")
    assert "lost" in cell.get_attribute("class").split() and "bounded" not in cell.get_attribute("class").split()
    assert cell.inner_text() == "×" and "non_finite" in cell.get_attribute("aria-label")
    cell.click()
    assert it.page.inner_text("#panel .banner") == f"non_finite: 3 weights overflow {NASTY}"


def test_keyboard(it: Opened) -> None:
    keys = it.page.keyboard
    it.page.locator("#map-tools [role=radio][tabindex='0']").first.focus()
    keys.press("ArrowLeft")
    assert (
        focused(it) == "alpha / noise"
        and it.page.inner_text("#map-tools [aria-checked=true] >> nth=0") == "alpha / noise"
    )
    keys.press("Tab")  # to the precisions, one stop
    assert focused(it) == "fp32"
    keys.press("Tab")  # to the map, one stop: the cell that had the focus last
    for key in ("Home", *["ArrowUp"] * 9):
        keys.press(key)
    assert focused(it).startswith("block 0, attn_q: alpha / noise")
    outline = it.page.evaluate("getComputedStyle(document.activeElement).outlineWidth")
    assert float(outline.removesuffix("px")) >= 2
    for key, where in (
        ("ArrowRight", "block 1, attn_q"), ("ArrowDown", "block 1, attn_k"), ("End", "block 2, attn_k"),
        ("ArrowRight", "block 2, attn_k"), ("Home", "block 0, attn_k"), ("ArrowUp", "block 0, attn_q"),
        ("ArrowRight", "block 1, attn_q"),
    ):  # fmt: skip
        keys.press(key)
        assert focused(it).startswith(where)
    keys.press("Enter")
    assert focused(it) == "model.layers.1.self_attn.q_proj", "the heading of the panel"
    assert it.page.evaluate("document.getElementById('panel').contains(document.activeElement)")
    keys.press("Tab")
    assert focused(it) == "Previous layer"
    keys.press("Escape")
    assert it.page.locator("#panel").is_hidden() and focused(it).startswith("block 1, attn_q")
    keys.press("Tab")
    assert it.page.evaluate("document.activeElement.closest('#strip') !== null"), "the map is one stop"
    keys.press("End")
    keys.press(" ")
    assert it.page.inner_text("#panel-title") == "../../x"


def test_everything_that_can_be_pressed_has_a_name(drawn: Opened) -> None:
    drawn.page.locator(CELL).click()
    nameless = drawn.page.evaluate(
        "[...document.querySelectorAll('button, [role=gridcell], select, input, [role=img]')]"
        ".filter(e => !(e.ariaLabel || e.getAttribute('aria-label') || e.textContent.trim())).length"
    )
    assert nameless == 0


def test_experts_share_a_cell(it: Opened) -> None:
    cell = it.page.locator("#heat [aria-label^='block 1, moe_expert_up:']")
    assert "of 12 layers" in cell.get_attribute("aria-label")
    cell.click()
    assert it.page.inner_text("#panel-title") == "block 1, moe_expert_up"
    members = it.page.locator("#panel .members button")
    assert members.all_inner_texts() == list(EXPERTS), "smallest alpha first"
    members.nth(3).click()
    assert it.page.inner_text("#panel-title") == EXPERTS[3]
    assert "kept none for this layer" in it.page.inner_text("#panel")
    it.page.get_by_label("Next layer").click()
    assert it.page.inner_text("#panel-title") == EXPERTS[4]
    it.page.get_by_label("Back to the list").click()
    assert members.count() == 12
    it.page.keyboard.press("Escape")
    assert focused(it).startswith("block 1, moe_expert_up")


def test_experts_by_keys_and_mouse(it: Opened, scan: Scan) -> None:
    canvas, told = it.page.locator("#experts-map"), it.page.locator("#experts-now")
    assert it.page.locator("#experts-tools [aria-label='Projection'] button").all_inner_texts() == ["up"]
    canvas.focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft", "ArrowUp"):
        it.page.keyboard.press(key)
    assert told.inner_text() == f"Block 1, expert 1: alpha {alpha(scan, EXPERTS[1], 'fp32'):.5f}, {EXPERTS[1]}"
    it.page.keyboard.press("Enter")
    assert it.page.inner_text("#panel-title") == EXPERTS[1]
    it.page.keyboard.press("Escape")
    assert canvas.evaluate("one => one === document.activeElement")
    choose(it, "#experts-tools", "alpha / noise")
    assert "alpha / noise" in told.inner_text() and "alpha / noise" in str(canvas.get_attribute("aria-label"))
    box = canvas.bounding_box()
    it.page.mouse.click(box["x"] + box["width"] - 5, box["y"] + 5)  # in the spread: no layer is there
    assert it.page.locator("#panel").is_hidden()


def test_table(it: Opened, scan: Scan) -> None:
    rows = it.page.locator("#layer-table tbody tr")
    assert rows.count() == 25
    it.page.locator("#layer-table .more").click()
    assert rows.count() == 36
    search = it.page.locator("#layer-table input")
    search.fill("Layers.1 PROJ q_")
    assert rows.count() == 1 and it.page.inner_text("#layer-table .note") == "1 of 36 layers"
    search.fill("nothing like it")
    assert "No layer matches" in it.page.inner_text("#layer-table tbody")
    search.fill("")
    it.page.locator("#layer-table").get_by_label("category", exact=True).select_option("attn_k")
    assert rows.count() == 3
    it.page.locator("#layer-table th button", has_text=re.compile("^alpha$")).click()
    shown = [float(text) for text in rows.locator("td:nth-child(9)").all_inner_texts()]
    assert len(shown) == 3 and shown == sorted(shown, reverse=True)
    it.page.locator("#layer-table th button", has_text=re.compile("^alpha$")).click()
    assert [float(text) for text in rows.locator("td:nth-child(9)").all_inner_texts()] == sorted(shown)
    assert it.page.locator("#layer-table th[aria-sort=ascending]").inner_text().startswith("alpha")
    it.page.locator("#layer-table").get_by_label("category", exact=True).select_option("")
    it.page.get_by_label("status", exact=True).select_option("not ok")
    assert rows.locator("td:first-child").all_inner_texts() == [LOST]
    rows.locator("button").first.click()
    assert it.page.inner_text("#panel-title") == LOST
    it.page.keyboard.press("Escape")
    assert focused(it) == LOST


def test_names_in_findings_and_recommendation_are_links(it: Opened) -> None:
    link = it.page.locator(".standout", has_text="Largest relative error at nf4").locator("button").first
    name = link.inner_text()
    link.click()
    assert it.page.inner_text("#panel-title") == name
    assert it.page.locator(".panel-precisions [aria-checked=true]").inner_text() == "nf4"
    it.page.keyboard.press("Escape")
    it.page.locator("#advice-table button.layer-link", has_text="script").click()
    assert it.page.inner_text("#panel-title") == NASTY


def test_a_name_is_text_everywhere(drawn: Opened) -> None:
    """`opened` asserts that none of them ran."""
    drawn.page.locator("#layer-table input").fill("script")
    drawn.page.locator("#layer-table tbody button").click()
    assert drawn.page.inner_text("#panel-title") == NASTY
    drawn.page.keyboard.press("Escape")
    choose(drawn, "#distribution-tools", "category")
    for details in drawn.page.locator("details summary").all():
        details.click()
    assert drawn.page.locator("img[src=x]").count() == 0
    assert NASTY in drawn.page.inner_text("#coverage") and NASTY in drawn.page.inner_text("#reproduce")
    assert drawn.page.locator("a[href^=javascript]").count() == 0


def test_numbers_in_the_page_are_those_of_the_table(it: Opened, scan: Scan) -> None:
    found = it.page.evaluate(
        "(L => L.all.map(i => L.precisions.map((_, p) => [L.alpha(i, p), L.number('x_min', i, p),"
        " L.number('stderr', i, p), L.number('k_used', i, p), L.word('status', i, p)])))(AH.layers)"
    )
    for layer, rows in zip(scan.table.layers, found, strict=True):
        for one, (value, x_min, stderr, k, status) in zip(layer.rows, rows, strict=True):
            assert (status, k) == (one.status, one.k_used)
            assert value == one.alpha or (math.isnan(value) and not one.ok)
            assert x_min == one.x_min or math.isnan(x_min)
            assert stderr == pytest.approx(one.stderr, rel=6e-8, nan_ok=True)


def test_curves_pass_through_alpha_and_the_noise_value(it: Opened, scan: Scan) -> None:
    i = [layer.first.layer_name for layer in scan.table.layers].index("lm_head")
    curve = it.page.evaluate(
        f"(() => {{ const c = AH.curves.get({i}, 3); return [c.k, c.hill[c.sizes.indexOf(c.k)], c.n]; }})()"
    )
    assert curve[1] == pytest.approx(alpha(scan, "lm_head", "int8"), rel=6e-8) and curve[2] == 128
    for rows, cols, k in ((4096, 4096, 409), (14336, 4096, 409), (64, 48, 3), (128, 4008, 12)):
        noise = it.page.evaluate(f"AH.law.hill({rows}, {cols}, [0.01, {k / min(rows, cols)}, 0.6])[1]")
        assert noise == pytest.approx(alpha_null(rows, cols, k), rel=1e-5)


def test_colours_end_where_those_of_charts_do(it: Opened) -> None:
    draws = np.random.default_rng(0).normal(3, 2, 200).round(1).tolist()
    cases = ([], [2.0], [2.0, 2.0], draws[:50], draws[:51], draws, [0.0] * 99 + [-3.0], [5.0] * 99 + [7.0])
    scales: tuple[Scale, ...] = ("sequential", "diverging", "around")
    told = it.page.evaluate(f"{json.dumps(cases)}.map(one => {json.dumps(scales)}.map(scale => AH.ends(one, scale)))")
    for values, by_scale in zip(cases, told, strict=True):
        for scale, found in zip(scales, by_scale, strict=True):
            ends = color_ends(values, scale)
            if ends is None:
                assert found is None
            else:
                assert (found["low"], found["high"]) == (ends.low, ends.high)
                assert found["remark"].lower() == (f"{remark_on(ends, scale).lower()}." if ends.clipped else "")
