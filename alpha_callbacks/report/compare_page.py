"""A comparison -> compare.html."""

import math
from collections.abc import Sequence
from typing import Any

from alpha_callbacks.comparing.comparison import Comparison, Pair, shape
from alpha_callbacks.comparing.summary import DeltaSummary, by_category, summarize_deltas
from alpha_callbacks.comparing.words import comparison_findings
from alpha_callbacks.report.packing import coded, packed
from alpha_callbacks.report.page import Section, fill, render_page

COMPARE_PAGE = "compare.html"

_MOST = 400  # layers that are listed as not compared; all are in the CSV
_NAMES = (
    "category",
    "layers",
    "median change",
    "from",
    "to",
    "rise",
    "fall",
    "stay",
    "rank correlation",
    "of alpha / noise",
)


def compare_page(comparison: Comparison, *, model: str = "") -> str:
    """Return the page of a comparison as one HTML file.

    Args:
        comparison: from `compare`.
        model: whose two states these are, where it is one and the labels do not say.
    """
    whole, both = summarize_deltas(comparison.pairs), " and ".join(comparison.labels)
    sides = list(zip("AB", comparison.labels, comparison.precisions, strict=True))
    head = fill("compare.html", sides=sides, tiles=_tiles(comparison, whole), sentences=comparison_findings(comparison))
    sections = [Section("summary", "Summary", head)]
    if comparison.compared:
        sections += _charts(comparison, whole)
    if comparison.left_out:
        sections.append(_left_out(comparison))
    return render_page(
        f"{model}: {both}" if model else both,
        sections,
        kind="alpha-Hill comparison",
        subtitle=f"alpha of {len(comparison.pairs):,} layers, side by side",
        scripts=("sorted.js", "compare.js") if comparison.compared else (),
        styles=("states.css",),
        plotly=bool(comparison.compared),
    )


def _charts(comparison: Comparison, whole: DeltaSummary) -> list[Section]:
    groups = by_category(comparison)
    kinds = [group.layers for group in groups if group.count]
    against = (
        "Left, alpha of B over alpha of A: a layer on the line has not changed. Right, the change itself, on a scale "
        "of its own."
    )
    where = "Red: alpha is larger in B. Blue: it is smaller."
    rows = [(group.layers, _cells(group)) for group in (*groups, whole)]
    categories = fill("compare_categories.html", names=_NAMES[1:], rows=rows)
    table = fill("compare_table.html")
    return [
        Section("alphas", "A against B", fill("compare_charts.html"), data=_data(comparison, kinds), intro=against),
        Section("where", "Where it changes", fill("compare_map.html"), intro=where),
        Section("categories", "Categories", categories),
        Section("layers", "Layers", table),
    ]


def _tiles(comparison: Comparison, whole: DeltaSummary) -> list[tuple[str, str, bool]]:
    tiles = [
        (f"{whole.count:,}", "layers compared", False),
        (_signed(whole.median if whole.moves else 0.0), "median change of alpha", False),
        (f"{whole.rises} / {whole.falls}", "rise / fall", False),
        (_rank(whole.spearman_alpha), "rank correlation of alpha", False),
        (_rank(whole.spearman_ratio), "rank correlation of alpha / noise", False),
    ]
    out = len(comparison.left_out)
    return [*tiles, (f"{out:,}", "layers not compared", True)] if out else tiles


def _data(comparison: Comparison, kinds: Sequence[str]) -> dict[str, Any]:
    pairs = [(pair, pair.a, pair.b) for pair in comparison.compared if pair.a and pair.b]
    return {
        "kinds": list(kinds),
        "name": [pair.row.layer_name for pair, _, _ in pairs],
        "block": [pair.row.block for pair, _, _ in pairs],
        "shape": [shape(a) for _, a, _ in pairs],
        "category": coded(pair.row.category for pair, _, _ in pairs),
        "alpha_a": packed([a.alpha for _, a, _ in pairs], "f8"),
        "alpha_b": packed([b.alpha for _, _, b in pairs], "f8"),
        "null_a": packed([a.alpha_null for _, a, _ in pairs], "f8"),
        "null_b": packed([b.alpha_null for _, _, b in pairs], "f8"),
        "stderr": packed([pair.stderr for pair, _, _ in pairs]),
        "error": packed([pair.delta_error for pair, _, _ in pairs]),
    }


def _cells(group: DeltaSummary) -> list[str]:
    if not group.count:
        return ["0", *["–"] * (len(_NAMES) - 2)]
    changes = [_signed(value if group.moves else 0.0) for value in (group.median, group.min, group.max)]
    counts = [str(count) for count in (group.rises, group.falls, group.unmoved)]
    return [str(group.count), *changes, *counts, _rank(group.spearman_alpha), _rank(group.spearman_ratio)]


def _left_out(comparison: Comparison) -> Section:
    rows = [(*_names(pair), pair.reason) for pair in comparison.left_out[:_MOST]]
    html = fill("compare_left_out.html", rows=rows, more=max(0, len(comparison.left_out) - _MOST))
    return Section("left-out", "Not compared", html, intro="These layers take no part in any number above.")


def _names(pair: Pair) -> tuple[str, str, str, str]:
    a, b = ("" if row is None or math.isnan(row.alpha) else f"{row.alpha:.5g}" for row in (pair.a, pair.b))
    return pair.row.layer_name, {"both": "both", "a": "A", "b": "B"}[pair.side], a, b


def _signed(value: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:+.3g}".replace("-", "\N{MINUS SIGN}") if value else "0"


def _rank(value: float) -> str:
    return "–" if math.isnan(value) else f"{math.trunc(value * 1e4) / 1e4:.4g}"
