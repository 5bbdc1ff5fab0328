"""One vocabulary: no colour and no list of categories outside it, and pages get what charts use."""

import json
import re
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from alpha_callbacks.plots.elements.color_scale import color_map
from alpha_callbacks.report.page_shell import Section, fill, render_page
from alpha_callbacks.tables import vocabulary
from alpha_callbacks.weights.categories import CATEGORIES
from tests.conftest import REPOSITORY
from tests.test_imports import loaded_after

PACKAGE = REPOSITORY / "alpha_callbacks"
ROOMS = ("plots", "report", "comparison", "tables", "cli")
COLOR = re.compile(
    r"#[0-9a-fA-F]{8}\b|#[0-9a-fA-F]{6}\b|#[0-9a-fA-F]{3}\b|\b(?:rgb|hsl)a?\(|\b(?:viridis|coolwarm|OrRd)\b"
)
ALLOWED = (
    re.compile(r"rgba\(0,0,0,0\)"),  # transparent, for plotly
    re.compile(r"rgb\(\$\{mixed"),  # colors.js mixes the stops of a scale
    re.compile(r"rgb\((?:0 0 0|20 30 40) / \d+%\)"),  # shadows
)
# The theme of pages: their own greys, the accent, what is good and what needs attention.
THEME = re.compile(
    r"--(?:page|card|ink|soft|faint|line|grid|hole|accent|accent-soft|good|warn|warn-soft): #[0-9a-f]{6};"
)


def sources() -> list[Path]:
    files = [path for room in ROOMS for path in (PACKAGE / room).rglob("*") if path.suffix in {".py", ".js", ".css"}]
    assert len(files) > 60
    return [path for path in files if path.name != "vocabulary.py"]


def colors_in(text: str) -> list[str]:
    for allowed in (*ALLOWED, THEME):
        text = allowed.sub("", text)
    return COLOR.findall(text)


def categories_in(text: str) -> set[str]:
    """Return the categories that a text names as whole strings, or as keys of a JavaScript object."""
    named = {name for name in CATEGORIES if re.search(rf"""["']{name}["']|\b{name}:""", text)}
    return named - {"other", "conv", "embedding", "head"}  # words of every day


def test_no_colour_outside_the_vocabulary() -> None:
    found = {path.name: colors for path in sources() if (colors := colors_in(path.read_text(encoding="utf-8")))}
    assert not found, "a colour belongs into tables/vocabulary.py"


def test_no_list_of_categories_outside_the_vocabulary() -> None:
    found = {path.name: names for path in sources() if (names := categories_in(path.read_text(encoding="utf-8")))}
    assert not found, "order and looks of categories belong into tables/vocabulary.py"


@pytest.mark.parametrize(
    "text", ['color: "#0072b2"', "color: #fff;", "fill: rgba(1, 2, 3, 4%)", 'colormaps["viridis"]']
)
def test_a_colour_is_found(text: str) -> None:
    assert colors_in(text)


def test_a_category_is_found() -> None:
    assert categories_in('ORDER = ["attn_q"]') == {"attn_q"} and categories_in("{attn_k: 1}") == {"attn_k"}


def page(**more: object) -> str:
    return render_page("title", [Section("one", "One", fill("layers.html"), **more)], plotly=False)  # type: ignore[arg-type]


def test_a_page_carries_the_vocabulary() -> None:
    found = re.search(r'<script type="application/json" id="data-vocabulary">(.*?)</script>', page(data={"x": 1}))
    assert found
    assert json.loads(found[1]) == json.loads(json.dumps(vocabulary.page_vocabulary()))
    assert vocabulary.theme_css() in page()


def test_the_vocabulary_of_a_page_is_that_of_the_charts() -> None:
    words = vocabulary.page_vocabulary()
    assert [name for name, _, _ in words["categories"]] == list(CATEGORIES) == vocabulary.in_order(CATEGORIES[::-1])
    for name, color, shape in words["categories"]:
        assert (color, shape) == (vocabulary.category_color(name), vocabulary.category_shape(name))
    assert {**words["precisions"]} == vocabulary.PRECISION_COLORS
    assert set(words["metrics"]) == set(vocabulary.METRICS)


def test_every_category_but_other_has_a_colour() -> None:
    assert {name for name in CATEGORIES if vocabulary.category_color(name) == vocabulary.OTHER_CATEGORY} == {"other"}


def test_no_precision_has_the_colour_of_noise() -> None:
    assert vocabulary.NOISE not in {*vocabulary.PRECISION_COLORS.values(), *vocabulary.OTHER_PRECISIONS}


def test_colours_for_the_dark_theme_replace_known_ones() -> None:
    known = {*vocabulary.PRECISION_COLORS.values(), *vocabulary.OTHER_PRECISIONS, *vocabulary.CATEGORY_COLORS.values()}
    assert set(vocabulary.DARK_THEME) <= known


@pytest.mark.parametrize(("scale", "name"), [("sequential", "viridis"), ("diverging", "coolwarm"), ("error", "OrRd")])
def test_scales_are_the_well_known_ones(scale: vocabulary.Scale, name: str) -> None:
    stops, places = vocabulary.SCALES[scale], np.linspace(0, 1, 256)
    assert [to_hex(color_map(scale)(i / (len(stops) - 1))) for i in (0, len(stops) - 1)] == [stops[0], stops[-1]]
    assert np.abs(color_map(scale)(places) - matplotlib.colormaps[name](places)).max() < 0.04


def test_the_vocabulary_needs_neither_matplotlib_nor_torch() -> None:
    loaded = loaded_after("import alpha_callbacks.tables.vocabulary, alpha_callbacks.tables.number_text")
    assert not loaded & {"matplotlib", "torch", "numpy"}
