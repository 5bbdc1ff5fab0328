"""The frame of a heat map: rows down, categories across, the colour bar at the right, a note below."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.elements.canvas import add_axes, new_figure
from alpha_callbacks.plots.elements.figure_text import fit, joined, text_width
from alpha_callbacks.plots.elements.heat_grid import LOST, Cell, Grid, Place
from alpha_callbacks.tables.vocabulary import GREY
from alpha_callbacks.utils.labels import labels

_LEFT, _RIGHT, _TOP, _HEADING, _BOTTOM, _NARROWEST = 0.75, 1.25, 1.0, 0.75, 0.4, 6.6
_TALLEST, _CELL_HEIGHT, _PRINTED_HEIGHT, _CELL_WIDTH = 14.0, 0.22, 0.125, 0.7
_OUTSIDE = 4  # layers outside blocks that fit the note

Cells = dict[Place, Cell]


@dataclass(frozen=True)
class HeatFrame:
    """An empty heat map.

    Attributes:
        figure: the figure.
        cells: its axes; a unit square is a cell.
        bar: axes for the colour bar.
        printed: True if cells are high enough for their texts.
    """

    figure: Figure
    cells: Axes
    bar: Axes
    printed: bool

    def write_note(self, note: str) -> None:
        """Write a line at the bottom."""
        width, height = self.figure.get_size_inches()
        self.figure.text(0.14 / width, 0.1 / height, fit(note, width - 0.28, 8.0), size=8, color=GREY)


def heat_frame(grid: Grid, texts: Iterable[str] = ()) -> HeatFrame:
    """Return a frame that is as large as the grid and the texts of its cells need, every row and column labelled."""
    names = [fit(name, 3.0, 8.5) for name in labels(list(map(str, grid.rows)))] if grid.named else []
    left = max([_LEFT, *(text_width(name, 8.5) + 0.4 for name in names)])
    cell_height = min(_CELL_HEIGHT, _TALLEST / max(1, len(grid.rows)))
    wanted = [*(text_width(name, 8.5) for name in grid.columns), *(text_width(text, 7.0) for text in texts)]
    cell_width = max([_CELL_WIDTH, *(width + 0.14 for width in wanted)])
    width = max(_NARROWEST - left - _RIGHT, cell_width * len(grid.columns))
    height = max(1.4, cell_height * len(grid.rows))
    figure = new_figure(left + width + _RIGHT, _BOTTOM + height + (_TOP if any(grid.columns) else _HEADING))
    cells = add_axes(figure, left, _BOTTOM, width, height)
    bar_height = min(4.0, height)
    bar = add_axes(figure, left + width + 0.2, _BOTTOM + height - bar_height, 0.18, bar_height)
    cells.set_xlim(0, max(1, len(grid.columns)))
    cells.set_ylim(max(1, len(grid.rows)), 0)
    cells.set_xticks([i + 0.5 for i in range(len(grid.columns))], [fit(name, 2.0, 8.5) for name in grid.columns])
    shown = range(0, len(grid.rows), max(1, math.ceil(0.13 * len(grid.rows) / _TALLEST)))
    cells.set_yticks([i + 0.5 for i in shown], [names[i] if names else str(grid.rows[i]) for i in shown])
    cells.tick_params(length=0, labeltop=True, labelbottom=False)
    cells.set_ylabel("" if names else "transformer block")
    for spine in cells.spines.values():
        spine.set_visible(False)
    return HeatFrame(figure, cells, bar, cell_height >= _PRINTED_HEIGHT)


def note_of(grid: Grid, cells: Cells, outside: Sequence[str], *, lost: str, bounded: str) -> str:
    """Return a note that explains the cells without colour and lists the layers that have no cell.

    Args:
        grid: all places for cells.
        cells: the cells that have layers.
        outside: a text for each layer outside blocks.
        lost: what a cross means.
        bounded: what a white cell means.
    """
    texts = {cell.text[:1] for cell in cells.values()}
    more = f" and {len(outside) - _OUTSIDE} more" if len(outside) > _OUTSIDE else ""
    return joined(
        "grey: no such layer" if len(cells) < len(grid.rows) * len(grid.columns) else "",
        f"{LOST}: {lost}" if LOST in texts else "",
        f"white: {bounded}" if "≤" in texts else "",
        "striped: no clear tail" if any(cell.unsure for cell in cells.values()) else "",
        f"outside blocks: {', '.join(outside[:_OUTSIDE])}{more}" if outside else "",
    )
