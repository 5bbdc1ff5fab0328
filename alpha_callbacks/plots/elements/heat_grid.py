"""Layers -> the cells of a heat map: one per block and category."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

import numpy as np

from alpha_callbacks.plots.elements.drift import drift_of, row_of, usable_alpha
from alpha_callbacks.plots.elements.layer_groups import MOST_PER_BLOCK, median
from alpha_callbacks.tables.number_text import bound_text
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.tables.vocabulary import LABELS, in_order

T = TypeVar("T")
Place = tuple[int | str | None, str]
Value = Literal["alpha", "alpha_ratio", "drift", "relative_error", "relative_size"]

LOST = LABELS["lost"]


@dataclass(frozen=True)
class Cell:
    """What one cell shows: a number with its text, or nan with a text in place of a colour.

    `unsure`: the number is an alpha of layers none of which has a clear tail.
    """

    value: float
    text: str
    unsure: bool = False


@dataclass(frozen=True)
class Grid(Generic[T]):
    """The places of layers in a heat map.

    Attributes:
        rows: blocks. Where no layer is inside a block: the names of all layers, or None as the only row.
        columns: categories; a single one without a name where rows are names.
        places: the layers of each cell.
        outside: layers outside blocks, which have no cell.
    """

    rows: tuple[int | str | None, ...]
    columns: tuple[str, ...]
    places: dict[Place, list[T]]
    outside: tuple[T, ...]

    @property
    def layers(self) -> list[T]:
        """Return the layers that have a cell."""
        return [layer for layers in self.places.values() for layer in layers]

    @property
    def named(self) -> bool:
        """True if rows are the names of layers."""
        return isinstance(next(iter(self.rows), None), str)

    @property
    def most(self) -> int:
        """The number of layers in the fullest cell."""
        return max((len(layers) for layers in self.places.values()), default=0)


def arrange(layers: Sequence[T], row: Callable[[T], Row], *, named: bool = True) -> Grid[T]:
    """Return where layers stand.

    Args:
        layers: in the order of the network.
        row: gives the name, category and block of each.
        named: where no layer is inside a block, give each layer a row; False: one row, with one cell per category.
    """
    inside = [layer for layer in layers if row(layer).block is not None]
    places: dict[Place, list[T]] = {}
    for layer in inside or layers:
        one = row(layer)
        place = (one.block, one.group) if inside or not named else (one.layer_name, "")
        places.setdefault(place, []).append(layer)
    rows = dict.fromkeys(place for place, _ in places)
    return Grid(
        tuple(sorted(rows, key=lambda block: block if isinstance(block, int) else -1)),  # names stay in order
        tuple(in_order(category for _, category in places)),
        places,
        tuple(layer for layer in layers if inside and row(layer).block is None),
    )


def make_grid(table: Table, *, named: bool = True) -> Grid[LayerRows]:
    """Return the grid of a table; `named` as in `arrange`."""
    return arrange(table.layers, lambda layer: layer.first, named=named)


def cell_of(layers: Iterable[LayerRows], value: Value, precision: str, reference: str) -> Cell:
    """Return the cell of these layers: their median, or the bound of a drift that was not measured."""
    layers = list(layers)
    if value != "drift":
        middle = median(_number(layer, value, precision) for layer in layers)
        if not math.isfinite(middle):
            return Cell(middle, LOST)
        of_tail = value in ("alpha", "alpha_ratio")
        return Cell(middle, _text(middle, value), of_tail and all(_unsure(layer, precision) for layer in layers))
    known = [drift for layer in layers if (drift := drift_of(layer, precision, reference)).kind != "none"]
    if any(drift.kind == "bounded" for drift in known):  # no colour: it would claim a measurement
        return Cell(math.nan, bound_text(max(abs(drift.value) for drift in known)))
    middle = median(drift.value for drift in known)
    return Cell(middle, LOST if math.isnan(middle) else f"{middle:+.1e}" if middle else "0")


def with_quartiles(cell: Cell, layers: Sequence[LayerRows], value: Value, precision: str) -> Cell:
    """Return the cell of many layers (experts) with their quartiles in its text."""
    numbers = [number for layer in layers if math.isfinite(number := _number(layer, value, precision))]
    if len(numbers) <= MOST_PER_BLOCK:
        return cell
    low, high = (_text(float(quartile), value) for quartile in np.percentile(numbers, (25, 75)))
    return replace(cell, text=f"{cell.text} [{low}–{high}]")


def _unsure(layer: LayerRows, precision: str) -> bool:
    row = row_of(layer, precision)
    return row is not None and row.tail in ("doubtful", "none")


def _text(number: float, value: Value) -> str:
    return f"{number:.2%}" if value in ("relative_error", "relative_size") else f"{number:.3f}"


def _number(layer: LayerRows, value: Value, precision: str) -> float:
    if value in ("relative_error", "relative_size"):
        row = row_of(layer, precision)
        found: float = math.nan if row is None else getattr(row, value)
        return found
    alpha = usable_alpha(layer, precision)
    return alpha if value == "alpha" else alpha / (layer.first.alpha_null or math.nan)
