"""The markers of categories, and their legend."""

from collections.abc import Iterable

from matplotlib.lines import Line2D

from alpha_callbacks.plots.elements.figure_text import fit
from alpha_callbacks.plots.elements.legend import Handle
from alpha_callbacks.tables.vocabulary import category_color, category_shape

_MARKERS = {"circle": "o", "square": "s", "diamond": "D"}  # as matplotlib calls them


def category_marker(category: str) -> str:
    """Return matplotlib's name for the marker of a category."""
    return _MARKERS[category_shape(category)]


def category_handles(categories: Iterable[str]) -> list[Handle]:
    """Return the legend entries of these categories."""
    return [
        Line2D([], [], color=category_color(name), marker=category_marker(name), linestyle="", markersize=5,
               label=fit(name, 1.6, 8.5))
        for name in categories
    ]  # fmt: skip
