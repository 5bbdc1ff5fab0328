"""What one place on a category's x-axis shows: one layer, or the many experts of one block."""

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from alpha_callbacks.plots.elements.drift import Drift, drift_of, status_text, usable_alpha
from alpha_callbacks.tables.table import LayerRows
from alpha_callbacks.weights.layer_names import short_name

MOST_PER_BLOCK = 4  # layers of one category in one block that get a bar each; more show their median


@dataclass(frozen=True)
class Group:
    """One layer, or several of one block.

    Attributes:
        label: its label on the axis: the number of the block, or a name outside blocks.
        layers: the layers, at least one.
    """

    label: str
    layers: tuple[LayerRows, ...]

    def alphas(self, precision: str) -> list[float]:
        """Return the usable alphas."""
        return [alpha for layer in self.layers if math.isfinite(alpha := usable_alpha(layer, precision))]

    def drifts(self, precision: str, reference: str) -> list[Drift]:
        """Return the drift of each layer, as far as it is known."""
        return [drift_of(layer, precision, reference) for layer in self.layers]

    @property
    def alpha_null(self) -> float:
        """The noise value, nan where none is known."""
        return median(layer.first.alpha_null for layer in self.layers)


def group_layers(layers: Sequence[LayerRows]) -> list[Group]:
    """Return the groups of one category in the order of the table."""
    per_block = Counter(layer.first.block for layer in layers)
    many = max((count for block, count in per_block.items() if block is not None), default=0) > MOST_PER_BLOCK
    grouped: dict[int | str, list[LayerRows]] = {}
    for layer in layers:
        block = layer.first.block
        grouped.setdefault(block if many and block is not None else layer.first.layer_name, []).append(layer)
    return [
        Group(_label(group[0], many or per_block[group[0].first.block] == 1), tuple(group))
        for group in grouped.values()
    ]


def median(values: Iterable[float]) -> float:
    """Return the median of the finite values, nan if there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return float(statistics.median(finite)) if finite else math.nan


def lost_text(layers: Iterable[LayerRows], precisions: Sequence[str]) -> str:
    """Return how many alphas are missing and why, "" if all are there."""
    lost = Counter(status for layer in layers for name in precisions if (status := status_text(layer, name)))
    return "no alpha: " + ", ".join(f"{count} {status}" for status, count in lost.items()) if lost else ""


def shape_text(layers: Iterable[LayerRows]) -> str:
    """Return the shape of all layers, or how many shapes there are."""
    shapes = {(layer.first.out_features, layer.first.in_features) for layer in layers}
    if len(shapes) == 1:
        ((rows, columns),) = shapes
        return f"{rows} × {columns}"
    return f"{len(shapes)} shapes"


def _label(layer: LayerRows, alone: bool) -> str:
    first = layer.first
    if first.block is None:
        return short_name(first.layer_name)
    return str(first.block) if alone else f"{first.block} {short_name(first.layer_name).split('.')[-1]}"
