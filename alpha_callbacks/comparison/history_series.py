"""One value of every layer over the steps of a run, and how a long run is made readable."""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from alpha_callbacks.tables.vocabulary import in_order
from alpha_callbacks.utils.labels import row_labels
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.layer_names import UPDATE_CATEGORY


@dataclass(frozen=True)
class Series:
    """One value of every layer at every step.

    Attributes:
        layers: names, in module order.
        categories: one per layer.
        blocks: one per layer, None outside blocks.
        steps: measured steps, ascending.
        values: layers x steps; nan where a layer was not measured or has no alpha.
    """

    layers: tuple[str, ...]
    categories: tuple[str, ...]
    blocks: tuple[int | None, ...]
    steps: tuple[int, ...]
    values: np.ndarray

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    @lazy_property
    def labels(self) -> tuple[str, ...]:
        """The label of each layer beside its category: the number of its block where that is unique, else its name."""
        return tuple(row_labels(self.layers, self.categories, self.blocks))

    @lazy_property
    def named(self) -> tuple[bool, ...]:
        """True for the layers whose label is a name."""
        return tuple(label != str(block) for label, block in zip(self.labels, self.blocks, strict=True))


def change(series: Series) -> Series:
    """Return the change since the first alpha that each layer has."""
    known = np.isfinite(series.values)
    first = np.where(known.any(axis=1), known.argmax(axis=1), 0)
    return replace(series, values=series.values - series.values[np.arange(len(series)), first][:, None])


def of_weights(series: Series) -> Series:
    """Return the layers that are weights, without updates; those where there is nothing else."""
    rows = [i for i, category in enumerate(series.categories) if not category.endswith(UPDATE_CATEGORY)]
    return _taken(series, rows) if rows else series


def by_category(series: Series) -> Series:
    """Return the layers ordered by category; inside a category their order is kept."""
    places = {name: place for place, name in enumerate(in_order(series.categories))}
    return _taken(series, sorted(range(len(series)), key=lambda i: (places[series.categories[i]], i)))


def thinned(series: Series, most: int) -> Series:
    """Return at most this many steps, evenly chosen, including the first and the last."""
    if len(series.steps) <= most:
        return series
    chosen = np.unique(np.linspace(0, len(series.steps) - 1, most).round().astype(int))
    steps = tuple(series.steps[i] for i in chosen)
    return replace(series, steps=steps, values=series.values[:, chosen])


def folded(series: Series, most: int) -> Series:
    """Return the series if it has at most this many layers, else the median of each category and block."""
    if len(series) <= most:
        return series
    places: dict[tuple[str, int | None], list[int]] = {}
    for i, place in enumerate(zip(series.categories, series.blocks, strict=True)):
        places.setdefault(place, []).append(i)
    names = tuple(
        series.layers[rows[0]] if len(rows) == 1 else f"{category}{_where(block)}, median of {len(rows)}"
        for (category, block), rows in places.items()
    )
    with warnings.catch_warnings():  # a column of nan has the median nan
        warnings.simplefilter("ignore", RuntimeWarning)
        values = np.array([np.nanmedian(series.values[rows], axis=0) for rows in places.values()])
    categories, blocks = zip(*places, strict=True)
    return Series(names, tuple(categories), tuple(blocks), series.steps, values)


def lost(series: Series) -> int:
    """Return the number of cells without alpha."""
    return int(np.isnan(series.values).sum())


def spaced(places: Sequence[float], apart: float, order: Iterable[int]) -> list[int]:
    """Return the places that get a label, no two closer than `apart`; of two close ones, the first in `order`."""
    kept: list[int] = []
    for i in order:
        if all(abs(places[i] - places[j]) >= apart for j in kept):
            kept.append(i)
    return sorted(kept)


def _where(block: int | None) -> str:
    return "" if block is None else f", block {block}"


def _taken(series: Series, rows: list[int]) -> Series:
    layers, categories, blocks = (
        tuple(column[i] for i in rows) for column in (series.layers, series.categories, series.blocks)
    )
    return Series(layers, categories, blocks, series.steps, series.values[rows])  # type: ignore[arg-type]
