"""A heat map as a card: blocks along x as in the bar charts, one row per category."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.cards.card_frame import (
    BOTTOM,
    DPI,
    HEADING,
    HEIGHT,
    LEFT,
    RIGHT,
    SIZE,
    WIDTH,
    add_title,
    label_blocks,
)
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.color_scale import add_color_bar
from alpha_callbacks.plots.elements.drift import tick_places, tick_text
from alpha_callbacks.plots.elements.figure_text import fit, joined, text_width
from alpha_callbacks.plots.elements.heat_cells import draw_cells, heat_colors
from alpha_callbacks.plots.elements.heat_grid import LOST, Cell, Value, cell_of, make_grid
from alpha_callbacks.plots.elements.legend import say
from alpha_callbacks.plots.elements.light_ticks import LightTicks, set_ticks
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import LABELS, METRICS
from alpha_callbacks.weights.layer_names import UPDATE_CATEGORY

_BAR, _BAR_TEXT = 0.12, 0.5  # width of the colour bar and of its labels
_PERCENT: tuple[Value, ...] = ("relative_error", "relative_size")
_TEXT = 7.0  # font size of a cell, as `draw_cells` has it


@styled
def heat_card(table: Table, value: Value, precision: str, title: str = "") -> tuple[Figure, Sequence[Axes]]:
    """Draw one value of every layer inside a block.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    grid = make_grid(table, named=False)  # the cards of bars name every layer
    cells = {place: cell_of(layers, value, precision, table.reference) for place, layers in grid.places.items()}
    colors, remark = heat_colors(table, grid, value, precision)
    unit = _unit(cells.values()) if value == "drift" else 0.01 if value in _PERCENT else 1.0
    cells = {place: _short(cell, value, unit) for place, cell in cells.items()}

    updates = UPDATE_CATEGORY if value == "relative_size" else ""  # as the heading says
    names = [fit(name.removesuffix(updates), 1.1, SIZE) for name in grid.columns]
    left = max([LEFT, *(text_width(name, SIZE) + 0.18 for name in names)])
    inner = WIDTH - left - RIGHT - _BAR - _BAR_TEXT
    height = HEIGHT - BOTTOM - HEADING
    figure = new_figure(WIDTH, HEIGHT, dpi=DPI)
    axes = add_axes(figure, left, BOTTOM, inner, height)
    bar_axes = add_axes(figure, left + inner + 0.08, BOTTOM, _BAR, height)
    columns, rows = max(1, len(grid.rows)), max(1, len(grid.columns))
    longest = max((text_width(cell.text, _TEXT) for cell in cells.values()), default=0.0)
    axes.set_xlim(0, columns)
    axes.set_ylim(rows, 0)
    set_ticks(axes, "y", [i + 0.5 for i in range(len(names))], names)
    LightTicks(axes, "left", size=SIZE, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    draw_cells(axes, grid, cells, colors, printed=longest < height / rows and inner / columns > 0.1, across=True)
    label_blocks(axes, [row for row in grid.rows if not isinstance(row, str)], start=0.5, ticks=False)
    sign = "+" if value == "drift" else ""
    percent = "%" if value in _PERCENT else ""
    add_color_bar(figure, bar_axes, colors, places=tick_places(6),
                  text=lambda number, _: f"{number / unit:{sign}g}{percent}" if number else "0",
                  clipped=bool(remark))  # fmt: skip
    if colors is not None:
        LightTicks(bar_axes, "right", size=SIZE, length=2, pad=2)
    if all(cell.text == LOST for cell in cells.values()):
        say(axes, LABELS["no_alpha"])
    of = f"{precision} − {table.reference}" if value == "drift" else precision
    unit_text = f"in {tick_text(unit)}" if value == "drift" and colors is not None and unit != 1 else ""
    striped = "striped: no clear tail" if any(cell.unsure for cell in cells.values()) else ""
    add_title(figure, joined(f"{METRICS[value].title}, {of}", title, unit_text, striped), WIDTH - 0.2)
    return figure, (axes, bar_axes)


def _unit(cells: Iterable[Cell]) -> float:
    """Return the power of ten to write drifts in; an exponent in every cell would not fit."""
    largest = max((abs(cell.value) for cell in cells if math.isfinite(cell.value)), default=0.0)
    return 10.0 ** math.floor(math.log10(largest)) if largest else 1.0


def _short(cell: Cell, value: Value, unit: float) -> Cell:
    """Return a cell with a text short enough for a card."""
    if not math.isfinite(cell.value):
        return Cell(math.nan, "≤" if cell.text.startswith("≤") else cell.text)
    number = cell.value / unit
    error = ".2g" if abs(number) < 1 else ".1f"  # errors near 10 % differ in their third digit
    form = {"drift": "+.1f", "relative_error": error, "relative_size": ".3g"}.get(value, ".2f")
    return replace(cell, text=f"{number:{form}}")
