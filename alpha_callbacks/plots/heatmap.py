"""Blocks x categories, one cell each: where in the network alpha is low or high."""

import math
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter

from alpha_callbacks.categories import short_name
from alpha_callbacks.plots.canvas import GREY, INK, add_axes, new_figure, styled
from alpha_callbacks.plots.drift import tick_places, tick_text
from alpha_callbacks.plots.grid import LOST, Cell, Grid, Value, cell_of, make_grid
from alpha_callbacks.plots.groups import lost_text
from alpha_callbacks.plots.legend import add_heading, say
from alpha_callbacks.plots.text import counted, fit, joined, tail_text, text_width
from alpha_callbacks.table import Table

_TITLES = {"alpha": "alpha", "alpha_ratio": "alpha / alpha of noise (MP)", "drift": "drift of alpha",
           "relative_error": "relative error of the weights"}  # fmt: skip
# Perceptually uniform; Moreland 2009; Brewer.
_MAPS = {"alpha": "viridis", "alpha_ratio": "viridis", "drift": "coolwarm", "relative_error": "OrRd"}
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 1.25, 1.0, 0.4
_TALLEST, _CELL_HEIGHT, _PRINTED_HEIGHT, _CELL_WIDTH = 14.0, 0.22, 0.125, 0.7
_OF_OTHERS = ("drift", "relative_error")  # say nothing of the reference, and differ by powers of ten between precisions
_NO_CELL = Cell(math.nan, "")
_ZERO = (0.865, 0.865, 0.865, 1.0)  # the middle of coolwarm, where every drift is 0

Cells = dict[tuple[int | None, str], Cell]


@styled
def plot_heatmap(table: Table, value: Value = "alpha", precision: str | None = None) -> tuple[Figure, Sequence[Axes]]:
    """Draw one value of every layer inside a block; several layers in one cell (experts) show their median.

    Args:
        table: the rows.
        value: "alpha", "alpha_ratio" (alpha / alpha of noise), "drift" (from the reference precision) or
            "relative_error" (of the weights).
        precision: whose value; None takes the reference, for drift and error the last other precision.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    precision = precision or _default(table, value)
    grid = make_grid(table)
    cells = {place: cell_of(layers, value, precision, table.reference) for place, layers in grid.places.items()}
    scale = color_scale(table, grid, value, precision)

    cell_height = min(_CELL_HEIGHT, _TALLEST / max(1, len(grid.blocks)))
    cell_width = max([_CELL_WIDTH, *(text_width(name, 8.5) + 0.14 for name in grid.columns)])
    width, height = max(4.6, cell_width * len(grid.columns)), max(1.4, cell_height * len(grid.blocks))
    figure = new_figure(_LEFT + width + _RIGHT, _BOTTOM + height + _TOP)
    axes = add_axes(figure, _LEFT, _BOTTOM, width, height)
    bar_height = min(4.0, height)
    bar_axes = add_axes(figure, _LEFT + width + 0.2, _BOTTOM + height - bar_height, 0.18, bar_height)
    _frame(axes, grid)
    draw_cells(axes, grid, cells, scale, printed=cell_height >= _PRINTED_HEIGHT)
    _color_bar(figure, bar_axes, scale, value, table.reference)
    if all(cell.text == LOST for cell in cells.values()):
        say(axes, "no usable alpha")
    several = max((len(layers) for layers in grid.places.values()), default=0)
    many = f"median of up to {several} layers a cell" if several > 1 else ""
    rule = tail_text(row for layer in grid.layers for row in layer.rows)
    subtitle = joined(counted(len(grid.layers), "layer"), many, rule, lost_text(grid.layers, [precision]))
    add_heading(figure, joined(f"{_TITLES[value]}, {precision}", table.model), subtitle)
    outside = [
        f"{short_name(layer.first.layer_name)} {cell_of([layer], value, precision, table.reference).text}"
        for layer in grid.outside
    ]
    note = fit(_note(grid, cells, outside), _LEFT + width + _RIGHT - 0.28, 8.0)
    figure.text(0.14 / (_LEFT + width + _RIGHT), 0.1 / (_BOTTOM + height + _TOP), note, size=8, color=GREY)
    return figure, (axes, bar_axes)


def _default(table: Table, value: Value) -> str:
    others = [name for name in table.precisions if name != table.reference]
    return others[-1] if value in _OF_OTHERS and others else table.reference


def color_scale(table: Table, grid: Grid, value: Value, precision: str) -> ScalarMappable | None:
    """Return the colours, the same for all precisions so that their pictures can be compared; None without a value."""
    names = [precision] if value in _OF_OTHERS else table.precisions
    found = [cell_of(layers, value, name, table.reference).value for layers in grid.places.values() for name in names]
    finite = [number for number in found if math.isfinite(number)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if value == "drift":
        high = max(-low, high)
        low = -high
        if high == 0:  # all lossless: nothing to tell apart
            return None
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return ScalarMappable(Normalize(low, high), matplotlib.colormaps[_MAPS[value]])


def _frame(axes: Axes, grid: Grid) -> None:
    every = max(1, math.ceil(0.13 * len(grid.blocks) / _TALLEST))
    axes.set_xlim(0, max(1, len(grid.columns)))
    axes.set_ylim(max(1, len(grid.blocks)), 0)
    axes.set_xticks([i + 0.5 for i in range(len(grid.columns))], [fit(name, 2.0, 8.5) for name in grid.columns])
    names = ["none" if block is None else str(block) for block in grid.blocks[::every]]
    axes.set_yticks([i + 0.5 for i in range(0, len(grid.blocks), every)], names)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.set_ylabel("transformer block")
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_cells(
    axes: Axes, grid: Grid, cells: Cells, scale: ScalarMappable | None, *, printed: bool, across: bool = False
) -> None:
    """Draw coloured cells; hatched ones where there is no layer or no alpha; white ones where only a bound is known.

    Args:
        axes: a unit square is a cell.
        grid: which cells there are.
        cells: what they show.
        scale: their colours.
        printed: write their texts.
        across: blocks along x, categories along y, the texts upright.
    """
    squares: list[list[tuple[float, float]]] = []
    colors: list[Any] = []
    for row, block in enumerate(grid.blocks):
        for column, category in enumerate(grid.columns):
            cell = cells.get((block, category), _NO_CELL)
            hatched = cell.text in ("", LOST)
            color: Any = "#eeeeee" if hatched else "white"
            hatch, ink = "////" if hatched else "", INK
            x, y = (row, column) if across else (column, row)
            if math.isfinite(cell.value):
                color = scale.to_rgba(np.array([cell.value]))[0] if scale else _ZERO
                red, green, blue, _ = color
                ink = "white" if 0.299 * red + 0.587 * green + 0.114 * blue < 0.55 else INK
                squares.append([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)])
                colors.append(color)
            else:
                axes.add_patch(
                    Rectangle((x, y), 1, 1, facecolor=color, linewidth=0.8, edgecolor="#c4c4c4", hatch=hatch)
                )
            if cell.text and (printed or hatched):
                axes.text(x + 0.5, y + 0.5, cell.text, size=7, ha="center", color=ink,
                          va="center" if across else "center_baseline", rotation=90 if across else 0)  # fmt: skip
    # One artist for all coloured cells: a patch each takes ten times as long.
    axes.add_collection(PolyCollection(squares, facecolors=colors, edgecolors="white", linewidths=0.8), autolim=False)


def _color_bar(figure: Figure, axes: Axes, scale: ScalarMappable | None, value: Value, reference: str) -> None:
    if scale is None:
        axes.set_axis_off()
        return
    bar = figure.colorbar(scale, cax=axes)
    bar.outline.set_visible(False)
    if value == "drift":
        bar.locator = tick_places(9)
        bar.formatter = FuncFormatter(tick_text)
        bar.update_ticks()
    words = {"alpha": "alpha (no unit)", "alpha_ratio": "alpha / noise", "relative_error": "‖W − Q(W)‖ / ‖W‖"}
    bar.set_label(words.get(value) or fit(f"alpha − alpha({reference}) (no unit)", 3.0, 9.0))


def _note(grid: Grid, cells: Cells, outside: Sequence[str]) -> str:
    """Explain the cells without a colour and give the layers that have no cell."""
    texts = {cell.text[:1] for cell in cells.values()}
    more = f" and {len(outside) - 4} more" if len(outside) > 4 else ""
    return joined(
        "hatched: no such layer" if len(cells) < len(grid.blocks) * len(grid.columns) else "",
        f"{LOST}: no usable alpha" if LOST in texts else "",
        "white: not measured, proved to be within ±" if "≤" in texts else "",
        f"outside blocks: {', '.join(outside[:4])}{more}" if outside else "",
    )
