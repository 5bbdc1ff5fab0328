"""Blocks x categories, one cell each: where in the network alpha rises or falls from A to B."""

import math
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from alpha_callbacks.categories import short_name
from alpha_callbacks.comparing.comparison import Comparison, Pair
from alpha_callbacks.plots.canvas import GREY, add_axes, new_figure, styled
from alpha_callbacks.plots.category_colors import in_order
from alpha_callbacks.plots.compare_scatter import side_names
from alpha_callbacks.plots.drift import tick_places
from alpha_callbacks.plots.grid import LOST, Cell, Grid
from alpha_callbacks.plots.groups import median
from alpha_callbacks.plots.heatmap import Cells, draw_cells
from alpha_callbacks.plots.legend import add_heading, say
from alpha_callbacks.plots.text import bound_text, counted, fit, joined, text_width

_LEFT, _RIGHT, _TOP, _BOTTOM = 0.75, 1.25, 1.0, 0.4
_TALLEST, _CELL_HEIGHT, _PRINTED_HEIGHT, _CELL_WIDTH = 14.0, 0.22, 0.125, 0.7
_OUTLIERS = 98  # percentile of |delta| at which the colours end, so that one layer does not make the others pale
_ROUNDING = 1e-9  # below it an unresolved change is one of printed digits


@styled
def plot_comparison_heatmap(comparison: Comparison) -> tuple[Figure, Sequence[Axes]]:
    """Draw delta of every layer inside a block; several layers in one cell (experts) show their median.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    grid, places, outside = _grid(comparison)
    cells: Cells = {place: _cell(pairs) for place, pairs in places.items()}
    scale, clipped = _scale([cell.value for cell in cells.values()])
    cell_height = min(_CELL_HEIGHT, _TALLEST / max(1, len(grid.blocks)))
    cell_width = max([_CELL_WIDTH, *(text_width(name, 8.5) + 0.14 for name in grid.columns)])
    width, height = max(4.6, cell_width * len(grid.columns)), max(1.4, cell_height * len(grid.blocks))
    figure = new_figure(_LEFT + width + _RIGHT, _BOTTOM + height + _TOP)
    axes = add_axes(figure, _LEFT, _BOTTOM, width, height)
    bar_height = min(4.0, height)
    bar_axes = add_axes(figure, _LEFT + width + 0.2, _BOTTOM + height - bar_height, 0.18, bar_height)
    _frame(axes, grid)
    draw_cells(axes, grid, cells, scale, printed=cell_height >= _PRINTED_HEIGHT)
    _color_bar(figure, bar_axes, scale, clipped)
    if not any(math.isfinite(cell.value) for cell in cells.values()):
        say(axes, "no layer to compare")
    several = max((len(pairs) for pairs in places.values()), default=0)
    shown = [pair for pairs in places.values() for pair in pairs if pair.ok]
    many = f"median of up to {several} layers a cell" if several > 1 else ""
    add_heading(figure, "Change of alpha, B − A", joined(*side_names(comparison), counted(len(shown), "layer"), many))
    note = joined(
        "hatched: no such layer" if len(cells) < len(grid.blocks) * len(grid.columns) else "",
        "white: not told apart, to within ±" if any("≤" in cell.text for cell in cells.values()) else "",
        f"{LOST}: not compared" if any(cell.text == LOST for cell in cells.values()) else "",
        f"outside blocks: {', '.join(outside[:4])}" if outside else "",
    )
    figure.text(0.14 / (_LEFT + width + _RIGHT), 0.1 / (_BOTTOM + height + _TOP),
                fit(note, _LEFT + width + _RIGHT - 0.28, 8.0), size=8, color=GREY)  # fmt: skip
    return figure, (axes, bar_axes)


def _grid(comparison: Comparison) -> tuple[Grid, dict[tuple[int | None, str], list[Pair]], list[str]]:
    inside = [pair for pair in comparison.pairs if pair.row.block is not None]
    places: dict[tuple[int | None, str], list[Pair]] = {}
    for pair in inside or comparison.pairs:
        places.setdefault((pair.row.block, pair.row.category), []).append(pair)
    blocks = sorted({block for block, _ in places}, key=lambda block: -1 if block is None else block)
    outside = [pair for pair in comparison.pairs if inside and pair.row.block is None]
    texts = [f"{short_name(pair.row.layer_name)} {_cell([pair]).text}" for pair in outside]
    return Grid(tuple(blocks), tuple(in_order(name for _, name in places)), {}, ()), places, texts


def _cell(pairs: Sequence[Pair]) -> Cell:
    middle = median(pair.known_delta for pair in pairs)
    if math.isnan(middle):
        return Cell(middle, LOST)
    unresolved = [pair.delta_error for pair in pairs if pair.ok and not pair.moved]
    if middle == 0 and max(unresolved, default=0.0) > _ROUNDING:  # no colour: it would claim a measurement
        return Cell(math.nan, bound_text(max(unresolved)))
    return Cell(middle, f"{middle:+.3f}" if abs(middle) >= 0.0005 else f"{middle:+.0e}" if middle else "0")


def _scale(values: Sequence[float]) -> tuple[ScalarMappable | None, bool]:
    """Return colours that are white at 0, and whether some values lie beyond their ends; None without a change."""
    finite = np.abs([value for value in values if math.isfinite(value)])
    end = float(np.percentile(finite, _OUTLIERS)) if len(finite) else 0.0
    end = end or float(finite.max(initial=0.0))
    if not end:
        return None, False
    return ScalarMappable(Normalize(-end, end), matplotlib.colormaps["coolwarm"]), bool((finite > end).any())


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


def _color_bar(figure: Figure, axes: Axes, scale: ScalarMappable | None, clipped: bool) -> None:
    if scale is None:
        axes.set_axis_off()
        return
    bar = figure.colorbar(scale, cax=axes, extend="both" if clipped else "neither")
    bar.outline.set_visible(False)
    bar.locator = tick_places(9)
    bar.formatter = FuncFormatter(lambda value, position: f"{value:+.3g}" if value else "0")
    bar.update_ticks()
    bar.set_label("change of alpha (no unit)")
