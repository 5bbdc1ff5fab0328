"""Grouped bars of alpha, one colour per precision."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from alpha_callbacks.plots.elements.drift import status_text, usable_alpha
from alpha_callbacks.plots.elements.layer_groups import Group, median
from alpha_callbacks.tables.vocabulary import GREY, precision_colors

BARS = 0.82  # share of a group that its bars fill
FEWEST = 5  # an axis has room for at least so many groups, or a single one would be as wide as the figure


@dataclass(frozen=True)
class Series:
    """The bars of one precision: at i + offset, with their width in groups and in inches."""

    precision: str
    color: str
    offset: float
    width: float
    inches: float


def make_series(precisions: Sequence[str], groups: int, inner: float) -> list[Series]:
    """Return where the bars of each precision stand on an axis `inner` inches wide."""
    width = BARS / len(precisions)
    inches = width * inner / max(groups, FEWEST)
    return [
        Series(name, color, BARS * ((i + 0.5) / len(precisions) - 0.5), width, inches)
        for i, (name, color) in enumerate(precision_colors(precisions).items())
    ]


def set_groups(axes: Axes, groups: int) -> None:
    """Give the x-axis room for this many groups, group i at x = i."""
    middle, half = (groups - 1) / 2, max(groups, FEWEST) / 2
    axes.set_xlim(middle - half, middle + half)


def draw_alphas(axes: Axes, groups: Sequence[Group], bars: Sequence[Series], *, merged: bool, labelled: bool) -> None:
    """Draw one bar per layer; where a group has several layers, their medians with whiskers.

    Args:
        axes: the panel; group i stands at x = i.
        groups: from `group_layers`.
        bars: from `make_series`.
        merged: draw all bars of a precision as one artist, which is much faster.
        labelled: say in words why an alpha is missing, where the words fit.
    """
    several = any(len(group.layers) > 1 for group in groups)
    for series in bars:
        if several:
            _draw_whiskers(axes, groups, series)
        else:
            _draw_bars(axes, groups, series, merged, labelled)


def _merged_bars(axes: Axes, at: Sequence[float], heights: Sequence[float], series: Series) -> None:
    """Draw bars from 0 as one artist. It does not move the limits of the axes."""
    half = series.width / 2
    bars = [
        Path([(x - half, 0), (x - half, y), (x + half, y), (x + half, 0), (x - half, 0)], closed=True)
        for x, y in zip(at, heights, strict=True)
    ]
    if bars:
        path = Path.make_compound_path(*bars)
        axes.add_artist(PathPatch(path, facecolor=series.color, linewidth=0, snap=True, label=series.precision))


def _draw_bars(axes: Axes, groups: Sequence[Group], series: Series, merged: bool, labelled: bool) -> None:
    """Draw one bar per group; a layer without alpha gets a cross, and its status in words where they fit."""
    alphas = [usable_alpha(group.layers[0], series.precision) for group in groups]
    at = [i + series.offset for i in range(len(groups))]
    heights = [0.0 if math.isnan(alpha) else alpha for alpha in alphas]
    if merged:
        _merged_bars(axes, at, heights, series)
    else:
        axes.bar(at, heights, series.width, color=series.color, label=series.precision)
    draw_crosses(axes, [x for x, alpha in zip(at, alphas, strict=True) if math.isnan(alpha)], series.color)
    if series.inches < 0.07 or not labelled:
        return
    for x, group in zip(at, groups, strict=True):
        if status := status_text(group.layers[0], series.precision):
            axes.annotate(status, (x, 0), (0, 5), textcoords="offset points", size=6.5, color=GREY,
                          rotation=90, ha="center", va="bottom", style="italic")  # fmt: skip


def _draw_whiskers(axes: Axes, groups: Sequence[Group], series: Series) -> None:
    """Draw the median of each group, a thick line between its quartiles, a thin one from smallest to largest."""
    alphas = {i + series.offset: group.alphas(series.precision) for i, group in enumerate(groups)}
    found = {x: values for x, values in alphas.items() if values}
    axes.vlines(list(found), list(map(min, found.values())), list(map(max, found.values())), color=series.color, lw=1)
    quartiles = [np.percentile(values, (25, 75)) for values in found.values()]
    axes.vlines(list(found), [q[0] for q in quartiles], [q[1] for q in quartiles], color=series.color, alpha=0.45,
                lw=min(7.0, 0.8 * series.inches * 72))  # fmt: skip
    axes.plot(list(found), list(map(median, found.values())), "o", color=series.color, label=series.precision,
              markersize=min(4.0, 0.6 * series.inches * 72))  # fmt: skip
    draw_crosses(axes, [x for x, values in alphas.items() if not values], series.color)


def draw_crosses(axes: Axes, at: Sequence[float], color: str) -> None:
    """Draw a cross on the axis at each place where there is no alpha."""
    if not at:
        return
    axes.plot(at, [0.0] * len(at), "x", color=color, markersize=4, clip_on=False, zorder=4)
