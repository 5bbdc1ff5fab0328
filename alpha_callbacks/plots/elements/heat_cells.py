"""The cells of a heat map, in a file or on a card."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from alpha_callbacks.plots.elements.cell_texts import CellTexts
from alpha_callbacks.plots.elements.color_scale import color_map, color_scale
from alpha_callbacks.plots.elements.heat_frame import Cells
from alpha_callbacks.plots.elements.heat_grid import LOST, Cell, Grid, Place, Value, cell_of
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import HATCH, HOLE, INK, METRICS, ink_on

_NO_CELL = Cell(math.nan, "")
_STRIPES = 0.3  # opacity: the colour and the number below stay readable


def heat_colors(table: Table, grid: Grid, value: Value, precision: str) -> tuple[ScalarMappable | None, str]:
    """Return colours and a remark on their ends; where all precisions share them, their pictures can be compared."""
    names = table.precisions if METRICS[value].shared else [precision]
    found = [cell_of(layers, value, name, table.reference).value for layers in grid.places.values() for name in names]
    return color_scale(found, METRICS[value].scale)


def draw_cells(
    axes: Axes, grid: Grid, cells: Cells, colors: ScalarMappable | None, *, printed: bool, across: bool = False
) -> None:
    """Draw coloured cells; hatched ones where there is no layer or no alpha; white ones where only a bound is known.

    Colours are striped where no layer has a clear tail.

    Args:
        axes: a unit square is a cell.
        grid: which cells there are.
        cells: what they show.
        colors: their colours; None where all values are 0.
        printed: write their texts.
        across: blocks along x, categories along y, the texts upright.
    """
    squares: list[list[tuple[float, float]]] = []
    shown: list[Any] = []
    faces = _faces(cells, colors)
    texts = CellTexts(axes, size=7, upright=across)
    striped: dict[str, list[list[tuple[float, float]]]] = {}  # ink -> squares
    for row, block in enumerate(grid.rows):
        for column, category in enumerate(grid.columns):
            cell = cells.get((block, category), _NO_CELL)
            x, y = (row, column) if across else (column, row)
            empty, ink = cell.text in ("", LOST), INK
            if math.isfinite(cell.value):
                ink = ink_on(*faces[block, category][:3])
                squares.append([(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)])
                shown.append(faces[block, category])
                if cell.unsure:
                    striped.setdefault(ink, []).append(squares[-1])
            else:
                _draw_empty(axes, x, y, hatched=empty)
            if cell.text and (printed or empty):
                texts.add(x + 0.5, y + 0.5, cell.text, ink)
    # One artist for all coloured cells: one patch per cell takes ten times as long.
    axes.add_collection(PolyCollection(squares, facecolors=shown, edgecolors="white", linewidths=0.8), autolim=False)
    for ink, places in striped.items():
        axes.add_collection(PolyCollection(places, facecolors="none", edgecolors=to_rgba(ink, _STRIPES), linewidths=0,
                                           hatch="//"), autolim=False)  # fmt: skip


def _faces(cells: Cells, colors: ScalarMappable | None) -> dict[Place, Any]:
    """Return the colour of each cell that has one, found for all of them at once."""
    values = {place: cell.value for place, cell in cells.items() if math.isfinite(cell.value)}
    if colors is None:
        return dict.fromkeys(values, color_map("diverging")(0.5))
    return dict(zip(values, colors.to_rgba(np.array(list(values.values()))), strict=True))


def _draw_empty(axes: Axes, x: float, y: float, *, hatched: bool) -> None:
    face, hatch = (HOLE, "////") if hatched else ("white", "")
    axes.add_patch(Rectangle((x, y), 1, 1, facecolor=face, linewidth=0.8, edgecolor=HATCH, hatch=hatch))
