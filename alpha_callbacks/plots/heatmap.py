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

from alpha_callbacks.plots.elements.canvas import INK, styled
from alpha_callbacks.plots.elements.drift import tick_places, tick_text
from alpha_callbacks.plots.elements.grid import LOST, Cell, Grid, Value, cell_of, make_grid
from alpha_callbacks.plots.elements.groups import lost_text
from alpha_callbacks.plots.elements.heat_frame import Cells, heat_frame, note_of
from alpha_callbacks.plots.elements.legend import add_heading, say
from alpha_callbacks.plots.elements.text import counted, fit, joined, tail_text
from alpha_callbacks.tables.table import Table
from alpha_callbacks.weights.layer_names import short_name

_TITLES = {"alpha": "alpha", "alpha_ratio": "alpha / alpha of noise (MP)", "drift": "drift of alpha",
           "relative_error": "relative error of the weights"}  # fmt: skip
# Perceptually uniform; Moreland 2009; Brewer.
_MAPS = {"alpha": "viridis", "alpha_ratio": "viridis", "drift": "coolwarm", "relative_error": "OrRd"}
_OF_OTHERS = ("drift", "relative_error")  # say nothing of the reference, and differ by powers of ten between precisions
_NO_CELL = Cell(math.nan, "")
_ZERO = (0.865, 0.865, 0.865, 1.0)  # the middle of coolwarm, where every drift is 0


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
    frame = heat_frame(grid)
    draw_cells(frame.cells, grid, cells, scale, printed=frame.printed)
    _color_bar(frame.figure, frame.bar, scale, value, table.reference)
    if all(cell.text == LOST for cell in cells.values()):
        say(frame.cells, "no usable alpha")
    many = f"median of up to {grid.most} layers a cell" if grid.most > 1 else ""
    rule = tail_text(row for layer in grid.layers for row in layer.rows)
    subtitle = joined(counted(len(grid.layers), "layer"), many, rule, lost_text(grid.layers, [precision]))
    add_heading(frame.figure, joined(f"{_TITLES[value]}, {precision}", table.model), subtitle)
    outside = [
        f"{short_name(layer.first.layer_name)} {cell_of([layer], value, precision, table.reference).text}"
        for layer in grid.outside
    ]
    proved = "not measured, proved to be within ±"
    frame.write_note(note_of(grid, cells, outside, lost="no usable alpha", bounded=proved))
    return frame.figure, (frame.cells, frame.bar)


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
    for row, block in enumerate(grid.rows):
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
