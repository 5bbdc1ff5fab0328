"""Blocks x categories, one cell each: where in the network alpha rises or falls from A to B."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.comparison_findings import nothing_text
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.plots.compare_scatter import side_names
from alpha_callbacks.plots.elements.canvas import styled
from alpha_callbacks.plots.elements.color_scale import add_color_bar, color_scale
from alpha_callbacks.plots.elements.drift import tick_places
from alpha_callbacks.plots.elements.figure_text import joined
from alpha_callbacks.plots.elements.heat_cells import draw_cells
from alpha_callbacks.plots.elements.heat_frame import Cells, heat_frame, note_of
from alpha_callbacks.plots.elements.heat_grid import LOST, Cell, arrange
from alpha_callbacks.plots.elements.layer_groups import median
from alpha_callbacks.plots.elements.legend import add_heading, say
from alpha_callbacks.tables.number_text import bound_text, counted
from alpha_callbacks.weights.layer_names import short_name

_ROUNDING = 1e-9  # a smaller unresolved change comes from the rounding of printed digits


@styled
def plot_comparison_heatmap(comparison: Comparison) -> tuple[Figure, Sequence[Axes]]:
    """Draw delta of every layer inside a block; several layers in one cell (experts) show their median.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    grid = arrange(comparison.pairs, lambda pair: pair.row)
    cells: Cells = {place: _cell(pairs) for place, pairs in grid.places.items()}
    scale, remark = color_scale((cell.value for cell in cells.values()), "diverging")
    frame = heat_frame(grid)
    draw_cells(frame.cells, grid, cells, scale, printed=frame.printed)
    add_color_bar(frame.figure, frame.bar, scale, "change of alpha (no unit)", places=tick_places(9),
                  text=lambda value, _: f"{value:+.3g}" if value else "0", clipped=bool(remark))  # fmt: skip
    if comparison.compared and not any(math.isfinite(cell.value) for cell in cells.values()):
        say(frame.cells, "no layer to compare")
    shown = [pair for pair in grid.layers if pair.ok]
    many = f"median of up to {grid.most} layers per cell" if grid.most > 1 else ""
    subtitle = joined(*side_names(comparison), counted(len(shown), "layer"), many, remark)
    subtitle = subtitle if comparison.compared else nothing_text(comparison)
    add_heading(frame.figure, "Change of alpha, B − A", subtitle)
    outside = [f"{short_name(pair.row.layer_name)} {_cell([pair]).text}" for pair in grid.outside]
    frame.write_note(note_of(grid, cells, outside, lost="not compared", bounded="no resolved change, within ±"))
    return frame.figure, (frame.cells, frame.bar)


def _cell(pairs: Sequence[Pair]) -> Cell:
    middle = median(pair.known_delta for pair in pairs)
    if math.isnan(middle):
        return Cell(middle, LOST)
    unresolved = [pair.delta_error for pair in pairs if pair.ok and not pair.resolved]
    if middle == 0 and max(unresolved, default=0.0) > _ROUNDING:  # no colour: it would claim a measurement
        return Cell(math.nan, bound_text(max(unresolved)))
    return Cell(middle, f"{middle:+.3f}" if abs(middle) >= 0.0005 else f"{middle:+.0e}" if middle else "0")
