"""Table -> the cells of a heat map: one a block and category."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from alpha_callbacks.categories import CATEGORIES
from alpha_callbacks.plots.drift import drift_of, row_of, usable_alpha
from alpha_callbacks.plots.groups import median
from alpha_callbacks.plots.text import bound_text
from alpha_callbacks.table import LayerRows, Table

Value = Literal["alpha", "alpha_ratio", "drift", "relative_error"]

LOST = "×"  # the text of a cell whose layers have no usable alpha


@dataclass(frozen=True)
class Cell:
    """What one cell shows: a number with its text, or nan with a text in place of a colour."""

    value: float
    text: str


@dataclass(frozen=True)
class Grid:
    """Where layers stand in a heat map.

    Attributes:
        blocks: rows; None only where no layer of the table is inside a block.
        columns: categories.
        places: the layers of each cell.
        outside: layers outside blocks, which have no cell.
    """

    blocks: tuple[int | None, ...]
    columns: tuple[str, ...]
    places: dict[tuple[int | None, str], list[LayerRows]]
    outside: tuple[LayerRows, ...]

    @property
    def layers(self) -> list[LayerRows]:
        """Return the layers that have a cell."""
        return [layer for layers in self.places.values() for layer in layers]


def make_grid(table: Table) -> Grid:
    """Return the grid of a table."""
    inside = [layer for layer in table.layers if layer.first.block is not None]
    places: dict[tuple[int | None, str], list[LayerRows]] = {}
    for layer in inside or table.layers:
        places.setdefault((layer.first.block, layer.first.category), []).append(layer)
    return Grid(
        tuple(sorted({block for block, _ in places}, key=lambda block: -1 if block is None else block)),
        tuple(sorted({category for _, category in places}, key=_rank)),
        places,
        tuple(layer for layer in table.layers if layer.first.block is None) if inside else (),
    )


def cell_of(layers: Iterable[LayerRows], value: Value, precision: str, reference: str) -> Cell:
    """Return the cell of these layers: their median, or for a drift that is not measured its bound."""
    if value != "drift":
        middle = median(_number(layer, value, precision) for layer in layers)
        text = f"{middle:.2%}" if value == "relative_error" else f"{middle:.3f}"
        return Cell(middle, text if math.isfinite(middle) else LOST)
    known = [drift for layer in layers if (drift := drift_of(layer, precision, reference)).kind != "none"]
    if any(drift.kind == "bounded" for drift in known):  # no colour: it would claim a measurement
        return Cell(math.nan, bound_text(max(abs(drift.value) for drift in known)))
    middle = median(drift.value for drift in known)
    return Cell(middle, LOST if math.isnan(middle) else f"{middle:+.1e}" if middle else "0")


def _number(layer: LayerRows, value: Value, precision: str) -> float:
    if value == "relative_error":
        row = row_of(layer, precision)
        return math.nan if row is None else row.relative_error
    alpha = usable_alpha(layer, precision)
    return alpha if value == "alpha" else alpha / (layer.first.alpha_null or math.nan)


def _rank(category: str) -> tuple[int, str]:
    """Order columns as the table of categories does."""
    return (CATEGORIES.index(category) if category in CATEGORIES else len(CATEGORIES), category)
