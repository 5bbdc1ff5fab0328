"""Blocks x categories, one cell each: where in the network alpha is low or high."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alpha_callbacks.categories import CATEGORIES, short_name
from alpha_callbacks.plots.canvas import GREY, INK, add_axes, new_figure, styled
from alpha_callbacks.plots.drift import drift_of, scientific, usable_alpha
from alpha_callbacks.plots.groups import lost_text, median
from alpha_callbacks.plots.legend import add_heading, say
from alpha_callbacks.plots.text import bound_text, counted, fit, joined, tail_text, text_width
from alpha_callbacks.table import LayerRows, Table

Value = Literal["alpha", "alpha_ratio", "drift"]

_TITLES = {"alpha": "alpha", "alpha_ratio": "alpha / alpha of noise (MP)", "drift": "drift of alpha"}
_MAPS = {"alpha": "viridis", "alpha_ratio": "viridis", "drift": "berlin"}  # all perceptually uniform
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 1.25, 1.0, 0.4
_TALLEST, _CELL_HEIGHT, _PRINTED_HEIGHT, _CELL_WIDTH = 14.0, 0.22, 0.125, 0.7
_OUTSIDE = -1  # stands for "no block"


@dataclass(frozen=True)
class Cell:
    """What one cell shows: a number with its text, or nan with a text in place of a colour."""

    value: float
    text: str


@styled
def plot_heatmap(table: Table, value: Value = "alpha", precision: str | None = None) -> tuple[Figure, Sequence[Axes]]:
    """Draw one value of every layer inside a block; several layers in one cell (experts) show their median.

    Args:
        table: the rows.
        value: "alpha", "alpha_ratio" (alpha / alpha of noise) or "drift" (from the reference precision).
        precision: whose value; None takes the reference, for a drift the last other precision.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    precision = precision or _default(table, value)
    inside = [layer for layer in table.layers if layer.first.block is not None] or list(table.layers)
    places: dict[tuple[int, str], list[LayerRows]] = {}
    for layer in inside:
        block = _OUTSIDE if layer.first.block is None else layer.first.block
        places.setdefault((block, layer.first.category), []).append(layer)
    blocks = sorted({block for block, _ in places})
    columns = sorted({category for _, category in places}, key=_rank)
    cells = {place: _cell(layers, table, value, precision) for place, layers in places.items()}

    cell_height = min(_CELL_HEIGHT, _TALLEST / max(1, len(blocks)))
    width = max(4.6, sum(max(_CELL_WIDTH, text_width(name, 8.5) + 0.14) for name in columns))
    height = max(1.4, cell_height * len(blocks))
    figure = new_figure(_LEFT + width + _RIGHT, _BOTTOM + height + _TOP)
    axes = add_axes(figure, _LEFT, _BOTTOM, width, height)
    bar_axes = add_axes(figure, _LEFT + width + 0.2, _BOTTOM + max(0.0, height - 4), 0.18, min(4.0, height))
    _frame(axes, blocks, columns)
    scale = _scale(table, places.values(), value, precision)
    _draw_cells(axes, cells, blocks, columns, scale, printed=cell_height >= _PRINTED_HEIGHT)
    _color_bar(figure, bar_axes, scale, value, table)
    if scale is None and all(cell.text == "×" for cell in cells.values()):
        say(axes, "no usable alpha")
    several = max((len(layers) for layers in places.values()), default=0)
    many = f"median of up to {several} layers a cell" if several > 1 else ""
    subtitle = joined(counted(len(inside), "layer"), many, tail_text(row for layer in inside for row in layer.rows))
    add_heading(figure, f"{_TITLES[value]}, {precision}", subtitle)
    note = _note(table, inside, cells, blocks, columns, value, precision)
    figure.text(0.14 / (_LEFT + width + _RIGHT), 0.1 / (_BOTTOM + height + _TOP), size=8, color=GREY,
                s=fit(note, _LEFT + width + _RIGHT - 0.28, 8.0))  # fmt: skip
    return figure, (axes, bar_axes)


def _default(table: Table, value: Value) -> str:
    others = [name for name in table.precisions if name != table.reference]
    return others[-1] if value == "drift" and others else table.reference


def _rank(category: str) -> tuple[int, str]:
    """Order columns as the table of categories does."""
    return (CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES), category)


def _cell(layers: Iterable[LayerRows], table: Table, value: Value, precision: str) -> Cell:
    if value != "drift":
        middle = median(_number(layer, value, precision) for layer in layers)
        return Cell(middle, f"{middle:.3f}" if math.isfinite(middle) else "×")
    drifts = [drift_of(layer, precision, table.reference) for layer in layers]
    known = [drift for drift in drifts if drift.kind != "none"]
    if any(drift.kind == "bounded" for drift in known):  # no colour: it would claim a measurement
        return Cell(math.nan, bound_text(max(abs(drift.value) for drift in known)))
    middle = median(drift.value for drift in known)
    return Cell(middle, "×" if math.isnan(middle) else f"{middle:+.1e}" if middle else "0")


def _number(layer: LayerRows, value: Value, precision: str) -> float:
    alpha = usable_alpha(layer, precision)
    return alpha if value == "alpha" else alpha / layer.first.alpha_null


def _scale(table: Table, places: Iterable[list[LayerRows]], value: Value, precision: str) -> ScalarMappable | None:
    """Return the colours, the same for all precisions so that their pictures can be compared; None without a value."""
    names = [precision] if value == "drift" else table.precisions
    found = [_cell(layers, table, value, name).value for layers in places for name in names]
    finite = [number for number in found if math.isfinite(number)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if value == "drift":
        high = max(abs(low), abs(high))
        low = -high
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return ScalarMappable(Normalize(low, high), matplotlib.colormaps[_MAPS[value]])


def _frame(axes: Axes, blocks: Sequence[int], columns: Sequence[str]) -> None:
    every = max(1, math.ceil(0.13 * len(blocks) / _TALLEST))
    axes.set_xlim(0, max(1, len(columns)))
    axes.set_ylim(max(1, len(blocks)), 0)
    axes.set_xticks([i + 0.5 for i in range(len(columns))], [fit(name, 2.0, 8.5) for name in columns])
    names = ["none" if block == _OUTSIDE else str(block) for block in blocks[::every]]
    axes.set_yticks([i + 0.5 for i in range(0, len(blocks), every)], names)
    axes.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    axes.set_ylabel("transformer block")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_cells(
    axes: Axes,
    cells: dict[tuple[int, str], Cell],
    blocks: Sequence[int],
    columns: Sequence[str],
    scale: ScalarMappable | None,
    *,
    printed: bool,
) -> None:
    """Draw coloured cells; hatched ones where there is no layer or no alpha; plain ones where only a bound is known."""
    for row, block in enumerate(blocks):
        for column, category in enumerate(columns):
            cell = cells.get((block, category), Cell(math.nan, ""))
            colored = math.isfinite(cell.value) and scale is not None
            color = scale.to_rgba(np.array([cell.value]))[0] if colored and scale is not None else (1.0, 1.0, 1.0, 1.0)
            hatched = cell.text in ("", "×")
            axes.add_patch(Rectangle((column, row), 1, 1, facecolor="#eeeeee" if hatched else color, linewidth=0.8,
                                     edgecolor="#c4c4c4" if hatched else "white", hatch="////" if hatched else ""))  # fmt: skip
            if cell.text and (printed or hatched):
                dark = colored and 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2] < 0.55
                axes.text(column + 0.5, row + 0.5, cell.text, size=7, ha="center", va="center_baseline",
                          color="white" if dark else INK)  # fmt: skip


def _color_bar(figure: Figure, axes: Axes, scale: ScalarMappable | None, value: Value, table: Table) -> None:
    if scale is None:
        axes.set_axis_off()
        return
    bar = figure.colorbar(scale, cax=axes)
    bar.outline.set_visible(False)  # type: ignore[operator]
    if value == "drift":
        bar.formatter = scientific()
        bar.update_ticks()
    words = {"alpha": "alpha (no unit)", "alpha_ratio": "alpha / alpha of noise (1 = noise)"}
    bar.set_label(words.get(value) or fit(f"alpha − alpha({table.reference})", 3.0, 9.0))


def _note(
    table: Table,
    inside: Sequence[LayerRows],
    cells: dict[tuple[int, str], Cell],
    blocks: Sequence[int],
    columns: Sequence[str],
    value: Value,
    precision: str,
) -> str:
    """Explain the hatched cells and give the layers that have no cell."""
    outside = [layer for layer in table.layers if layer.first.block is None] if len(inside) < len(table) else []
    shown = [f"{short_name(layer.first.layer_name)} {_cell([layer], table, value, precision).text}" for layer in outside]
    missing = len(cells) < len(blocks) * len(columns)
    return joined(
        "hatched: no such layer" if missing else "",
        "×: no usable alpha" if any(cell.text == "×" for cell in cells.values()) else "",
        "white: not measured, proved to be within ±" if any(cell.text[:1] == "≤" for cell in cells.values()) else "",
        "outside blocks: " + ", ".join(shown[:4]) + (f" and {len(shown) - 4} more" if len(shown) > 4 else "") if shown else "",
    )
