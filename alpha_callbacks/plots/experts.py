"""Experts x blocks, one cell each, and beside it how far those of each block spread: one panel per projection."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from alpha_callbacks.errors import OptionError
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.color_scale import add_color_bar, color_scale
from alpha_callbacks.plots.elements.figure_text import fit, joined, text_width
from alpha_callbacks.plots.elements.heat_grid import Value, cell_of
from alpha_callbacks.plots.elements.layer_groups import lost_text
from alpha_callbacks.plots.elements.legend import add_heading, say
from alpha_callbacks.tables.expert_grid import ExpertGrid, expert_grid
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.tables.vocabulary import FAINT, GREY, HOLE, INK, LABELS, METRICS, category_color, in_order

ExpertValue = Literal["alpha", "alpha_ratio"]
EXPERT_VALUES: tuple[ExpertValue, ...] = ("alpha", "alpha_ratio")
_MOST_WIDE, _LEAST_WIDE, _CELL = 11.0, 4.5, 0.075  # inches
_TALLEST, _LOWEST, _ROW = 4.5, 0.8, 0.17
_SPREAD, _GAP, _BETWEEN, _TOP, _BOTTOM, _RIGHT = 1.9, 0.16, 0.62, 1.0, 0.72, 1.1


@styled
def plot_experts(
    table: Table, value: ExpertValue = "alpha", precision: str | None = None
) -> tuple[Figure, Sequence[Axes]]:
    """Draw one value of every routed expert: a map of experts by block, and the spread of each block beside it.

    Args:
        table: the rows, with at least five experts in a block.
        value: "alpha", or "alpha_ratio" (alpha / alpha of noise), which can be compared between shapes.
        precision: the precision to show; None takes the reference.

    Returns:
        The figure and its axes: for each projection its map and its spread, then the colour bar.

    Raises:
        OptionError: the table has no such experts.
    """
    precision = precision or table.reference
    grid = expert_grid(table.layers)
    if not grid:
        raise OptionError("plot_experts: expected a table with at least 5 routed experts in a block, found none.")
    names = in_order(grid.places)
    values = {name: _values(grid, grid.places[name], value, precision, table.reference) for name in names}
    known = np.concatenate([found[np.isfinite(found)] for found in values.values()])
    colors, remark = color_scale(known.tolist(), METRICS[value].scale)
    figure, panels, bar = _frame(grid, len(names))
    for name, (cells, spread) in zip(names, panels, strict=True):
        _draw_map(cells, values[name], colors, grid)
        _draw_spread(spread, values[name], category_color(name), known)
        cells.set_title(fit(name, 6.0, 9.0), loc="left", size=9.0, color=INK, pad=4)
    cells, spread = panels[-1]
    cells.set_xlabel("expert")
    spread.set_xlabel(METRICS[value].title)
    add_color_bar(figure, bar, colors, fit(METRICS[value].bar, 3.0, 9.0), clipped=bool(remark))
    layers = [layer for places in grid.places.values() for layer in places.values()]
    extent = f"{counted(len(layers), 'layer')}, {counted(len(grid.rows), 'block')}, up to {grid.columns} experts"
    heading = joined(f"{METRICS[value].heading} of experts, {precision}", table.model)
    add_heading(figure, heading, joined(extent, lost_text(layers, [precision]), remark))
    note = joined(
        "right: from the smallest to the largest of a block, thick between its quartiles, dot at its median",
        "grey cell: no such layer, or no usable alpha" if any(map(_has_holes, values.values())) else "",
    )
    width, height = figure.get_size_inches()
    figure.text(0.14 / width, 0.1 / height, fit(note, width - 0.28, 8.0), size=8, color=GREY)
    return figure, (*(axes for panel in panels for axes in panel), bar)


def _values(
    grid: ExpertGrid, places: Mapping[tuple[int, int], LayerRows], value: Value, precision: str, reference: str
) -> np.ndarray:
    """Return the values of one projection, shape (blocks, experts); nan where there is none."""
    found = np.full((len(grid.rows), grid.columns), math.nan)
    for place, layer in places.items():
        found[place] = cell_of([layer], value, precision, reference).value
    return found


def _has_holes(values: np.ndarray) -> bool:
    return bool(np.isnan(values).any())


def _frame(grid: ExpertGrid, panels: int) -> tuple[Figure, list[tuple[Axes, Axes]], Axes]:
    """Return a figure with a map and a spread for each projection, and the axes of the colour bar."""
    left = 0.62 + max(text_width(fit(name, 2.0, 8.0), 8.0) for name in grid.rows)
    wide = min(_MOST_WIDE, max(_LEAST_WIDE, _CELL * grid.columns))
    tall = _height(len(grid.rows))
    height = _BOTTOM + panels * tall + (panels - 1) * _BETWEEN + _TOP
    figure = new_figure(left + wide + _GAP + _SPREAD + _RIGHT, height)
    found = []
    for panel in range(panels):
        bottom = height - _TOP - tall - panel * (tall + _BETWEEN)
        found.append(
            (
                add_axes(figure, left, bottom, wide, tall),
                add_axes(figure, left + wide + _GAP, bottom, _SPREAD, tall),
            )
        )
    bar_height = min(4.0, height - _BOTTOM - _TOP)
    bar = add_axes(figure, left + wide + _GAP + _SPREAD + 0.2, height - _TOP - bar_height, 0.16, bar_height)
    return figure, found, bar


def _height(rows: int) -> float:
    """Return the height of a panel in inches."""
    return min(_TALLEST, max(_LOWEST, _ROW * rows))


def _draw_map(axes: Axes, values: np.ndarray, colors: ScalarMappable | None, grid: ExpertGrid) -> None:
    rows, columns = values.shape
    axes.set_facecolor(HOLE)
    if colors is None:
        say(axes, LABELS["no_alpha"])
    else:
        axes.imshow(
            np.ma.masked_invalid(values), cmap=colors.cmap, aspect="auto", interpolation="nearest",
            norm=colors.norm, extent=(-0.5, columns - 0.5, rows - 0.5, -0.5),  # type: ignore[arg-type]
        )  # fmt: skip
    axes.set_xlim(-0.5, columns - 0.5)
    axes.set_ylim(rows - 0.5, -0.5)
    every = max(1, math.ceil(0.13 * rows / _height(rows)))
    axes.set_yticks(range(0, rows, every), [fit(name, 2.0, 8.0) for name in grid.rows[::every]], size=8)
    axes.tick_params(length=0, pad=3)
    axes.set_ylabel("block")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _draw_spread(axes: Axes, values: np.ndarray, color: str, known: np.ndarray) -> None:
    """Draw the spread of each row beside it, on an axis that all panels share."""
    rows = len(values)
    axes.set_ylim(rows - 0.5, -0.5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    if known.size:
        low, high = float(known.min()), float(known.max())
        room = 0.06 * (high - low) or 0.1
        axes.set_xlim(low - room, high + room)
    thick = min(6.0, 0.45 * 72 * _height(rows) / max(rows, 1))
    for row, line in enumerate(values):
        usable = line[np.isfinite(line)]
        if usable.size:
            first, middle, third = np.percentile(usable, (25, 50, 75))
            axes.plot([usable.min(), usable.max()], [row, row], color=color, linewidth=1.0, solid_capstyle="butt")
            axes.plot([first, third], [row, row], color=color, linewidth=thick, alpha=0.5, solid_capstyle="butt")
            axes.plot([middle], [row], "o", color=INK, markersize=min(3.5, thick))
