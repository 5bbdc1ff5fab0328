"""A comparison -> compare.html."""

import math
from collections.abc import Sequence
from typing import Any

from alpha_callbacks.comparison.comparison import Comparison, shape
from alpha_callbacks.comparison.comparison_findings import comparison_findings, left_out_kinds
from alpha_callbacks.comparison.other_estimators import other_delta, shared_estimators
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.comparison.paired_statistics import DeltaSummary, by_category, summarize_deltas
from alpha_callbacks.report.packing import coded, packed
from alpha_callbacks.report.page_shell import Section, Tile, fill, headline, render_page
from alpha_callbacks.report.standouts import middle, signed_text
from alpha_callbacks.tables.number_text import for_page, rank_text
from alpha_callbacks.tables.table import Row
from alpha_callbacks.utils.labels import TILE, labels

COMPARE_PAGE = "compare.html"

_MOST = 400  # at most so many layers are listed as not compared; the CSV has all
_NAMES = (
    "category",
    "layers",
    "median change",
    "lowest",
    "highest",
    "rise",
    "fall",
    "no change",
    "rank correlation",
    "of alpha / noise",
)


def compare_page(comparison: Comparison, *, model: str = "") -> str:
    """Return the page of a comparison as one HTML file.

    Args:
        comparison: from `compare`.
        model: name of the model, where both sides are states of one model and the labels do not say so.
    """
    whole, both = summarize_deltas(comparison.pairs), " and ".join(comparison.labels)
    sides = list(zip("AB", comparison.labels, comparison.precisions, strict=True))
    found = headline(_tiles(comparison, whole), comparison_findings(comparison))
    sections = [Section("summary", "Summary", fill("compare.html", sides=sides, headline=found))]
    if comparison.compared:
        sections += _charts(comparison, whole)
    if comparison.left_out:
        sections.append(_left_out(comparison))
    return render_page(
        f"{model}: {both}" if model else both,
        sections,
        kind="alpha-Hill comparison",
        subtitle=f"alpha of {len(comparison.pairs):,} layers, side by side",
        scripts=("table.js", "strip.js", "compare.js") if comparison.compared else (),
        styles=("states.css",),
        plotly=bool(comparison.compared),
    )


def _charts(comparison: Comparison, whole: DeltaSummary) -> list[Section]:
    groups = by_category(comparison)
    kinds = [group.layers for group in groups if group.count]
    against = "First the value in B over that in A (on the line: no change), then the change itself, on its own scale."
    where = "Red: alpha is larger in B. Blue: alpha is smaller in B."
    ranked = any(not group.few for group in groups)  # the ranks over all layers stand at the top of the page
    columns = len(_NAMES) - (0 if ranked else 2)
    rows = [(group.layers, _cells(group)[: columns - 1]) for group in (*groups, whole)]
    categories = fill("compare_categories.html", names=_NAMES[1:columns], rows=rows)
    table = fill("compare_table.html")
    data = {**_data(comparison, kinds), "few": whole.few}
    return [
        Section("alphas", "A against B", fill("compare_charts.html"), data=data, intro=against),
        Section("where", "Where it changes", fill("compare_map.html"), intro=where),
        Section("categories", "Categories", categories),
        Section("layers", "Layers", table),
    ]


def _tiles(comparison: Comparison, whole: DeltaSummary) -> list[Tile]:
    if not whole.count:
        obstacles = left_out_kinds(comparison).items()
        return [Tile("0", "layers compared", True), *(Tile(f"{len(pairs):,}", kind) for kind, pairs in obstacles)]
    deltas = [pair.known_delta for pair in comparison.compared]
    tiles = [
        Tile(f"{whole.count:,}", "layers compared"),
        Tile(middle(deltas, signed_text), f"{'' if whole.few else 'median '}change of alpha"),
        Tile(f"{whole.rises} / {whole.falls}", "rise / fall"),
    ]
    if not whole.few:
        tiles += [
            Tile(_rank(whole.spearman_alpha), "rank correlation of alpha"),
            Tile(_rank(whole.spearman_ratio), "rank correlation of alpha / noise"),
        ]
    out = len(comparison.left_out)
    return [*tiles, Tile(f"{out:,}", "layers not compared", True)] if out else tiles


def _data(comparison: Comparison, kinds: Sequence[str]) -> dict[str, Any]:
    pairs = [(pair, pair.a, pair.b) for pair in comparison.compared if pair.a and pair.b]
    return {
        "kinds": list(kinds),
        "name": [pair.row.layer_name for pair, _, _ in pairs],
        "block": [pair.row.block for pair, _, _ in pairs],
        "label": _labels([pair.row for pair, _, _ in pairs]),
        "shape": [shape(a) for _, a, _ in pairs],
        "category": coded(pair.row.group for pair, _, _ in pairs),
        "alpha_a": packed([a.alpha for _, a, _ in pairs], "f8"),
        "alpha_b": packed([b.alpha for _, _, b in pairs], "f8"),
        "null_a": packed([a.alpha_null for _, a, _ in pairs], "f8"),
        "null_b": packed([b.alpha_null for _, _, b in pairs], "f8"),
        "spread": packed([pair.spread for pair, _, _ in pairs]),
        "tail": [pair.tails for pair, _, _ in pairs],
        "others": _others(comparison, [pair for pair, _, _ in pairs]),
        "error": packed([pair.delta_error for pair, _, _ in pairs]),
    }


def _others(comparison: Comparison, pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    found = []
    for name in shared_estimators(comparison):
        deltas = [other_delta(pair, name) for pair in pairs]
        alphas = {side: packed([getattr(delta, side) for delta in deltas], "f8") for side in ("alpha_a", "alpha_b")}
        found.append({"name": name, **alphas, "moved": [delta.moved for delta in deltas]})
    return found


def _labels(rows: Sequence[Row]) -> list[str | None]:
    """Return the labels of layers outside blocks in the map, None for the others."""
    short = iter(labels([row.layer_name for row in rows if row.block is None], TILE))
    return [next(short) if row.block is None else None for row in rows]


def _cells(group: DeltaSummary) -> list[str]:
    if not group.count:
        return ["0", *["–"] * (len(_NAMES) - 2)]
    changes = [signed_text(value if group.moves else 0.0) for value in (group.median, group.min, group.max)]
    counts = [str(count) for count in (group.rises, group.falls, group.unmoved)]
    ranks = (math.nan, math.nan) if group.few else (group.spearman_alpha, group.spearman_ratio)
    return [str(group.count), *changes, *counts, *map(_rank, ranks)]


def _left_out(comparison: Comparison) -> Section:
    rows = [(*_names(pair), pair.reason) for pair in comparison.left_out[:_MOST]]
    html = fill("compare_left_out.html", rows=rows, more=max(0, len(comparison.left_out) - _MOST))
    return Section("left-out", "Not compared", html, intro="These layers are excluded from all numbers above.")


def _names(pair: Pair) -> tuple[str, str, str, str]:
    a, b = ("" if row is None or math.isnan(row.alpha) else f"{row.alpha:.5g}" for row in (pair.a, pair.b))
    return pair.row.layer_name, {"both": "both", "a": "A", "b": "B"}[pair.side], a, b


def _rank(value: float) -> str:
    return for_page("" if math.isnan(value) else rank_text(value))
