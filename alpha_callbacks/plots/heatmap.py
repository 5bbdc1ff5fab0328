"""Blocks x categories, one cell each: where in the network alpha is low or high."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.elements.canvas import styled
from alpha_callbacks.plots.elements.color_scale import add_color_bar
from alpha_callbacks.plots.elements.drift import tick_places, tick_text
from alpha_callbacks.plots.elements.figure_text import fit, joined, tail_text
from alpha_callbacks.plots.elements.heat_cells import draw_cells, heat_colors
from alpha_callbacks.plots.elements.heat_frame import heat_frame, note_of
from alpha_callbacks.plots.elements.heat_grid import LOST, Value, cell_of, make_grid, with_quartiles
from alpha_callbacks.plots.elements.layer_groups import lost_text
from alpha_callbacks.plots.elements.legend import add_heading, say
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import LABELS, METRICS
from alpha_callbacks.weights.layer_names import short_name

_OTHER_FIRST = ("drift", "relative_error")  # both are 0 for the reference, so another one is the default


@styled
def plot_heatmap(table: Table, value: Value = "alpha", precision: str | None = None) -> tuple[Figure, Sequence[Axes]]:
    """Draw one value of every layer inside a block; several layers in one cell (experts) show median and quartiles.

    Args:
        table: the rows.
        value: "alpha", "alpha_ratio" (alpha / alpha of noise), "drift" (from the reference precision) or
            "relative_error" (of the weights).
        precision: the precision to show; None takes the reference, for drift and error the last other precision.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    precision = precision or _default(table, value)
    grid = make_grid(table)
    cells = {place: cell_of(layers, value, precision, table.reference) for place, layers in grid.places.items()}
    (colors, remark), metric = heat_colors(table, grid, value, precision), METRICS[value]
    if value != "drift":
        cells = {place: with_quartiles(cell, grid.places[place], value, precision) for place, cell in cells.items()}
    frame = heat_frame(grid, [cell.text for cell in cells.values()])
    draw_cells(frame.cells, grid, cells, colors, printed=frame.printed)
    ticks: Any = {"places": tick_places(9), "text": tick_text} if value == "drift" else {}
    if value == "relative_error":
        ticks = {"text": lambda number, _: f"{100 * number:.3g} %" if number >= 0 else ""}
    label = fit(metric.bar.format(reference=table.reference), 3.0, 9.0)
    add_color_bar(frame.figure, frame.bar, colors, label, clipped=bool(remark), **ticks)
    if all(cell.text == LOST for cell in cells.values()):
        say(frame.cells, LABELS["no_alpha"])
    many = f"median [quartiles] of up to {grid.most} layers per cell" if grid.most > 1 else ""
    rule = "" if value == "relative_error" else tail_text(row for layer in grid.layers for row in layer.rows)
    subtitle = joined(counted(len(grid.layers), "layer"), many, rule, lost_text(grid.layers, [precision]), remark)
    add_heading(frame.figure, joined(f"{metric.heading}, {precision}", table.model), subtitle)
    outside = [
        f"{short_name(layer.first.layer_name)} {cell_of([layer], value, precision, table.reference).text}"
        for layer in grid.outside
    ]
    bounded = f"not measured, {table.surely} within ±"
    frame.write_note(note_of(grid, cells, outside, lost=LABELS["no_alpha"], bounded=bounded))
    return frame.figure, (frame.cells, frame.bar)


def _default(table: Table, value: Value) -> str:
    others = [name for name in table.precisions if name != table.reference]
    return others[-1] if value in _OTHER_FIRST and others else table.reference
