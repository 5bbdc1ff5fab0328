"""Grouped bars of alpha, shared by the charts of a category and the cards of it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from alpha_callbacks.plots.elements.canvas import GREY, NOISE, precision_colors
from alpha_callbacks.plots.elements.drift import status_text, usable_alpha
from alpha_callbacks.plots.elements.groups import Group, median
from alpha_callbacks.plots.elements.text import alpha_text

BARS = 0.82  # share of a group that its bars fill
FEWEST = 5  # groups that an axis has room for at least, so that a lone one is not as wide as the figure
MOST_PRINTED = 40  # groups whose values are printed
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.92, "pad": 0.5}


@dataclass(frozen=True)
class Series:
    """One precision: its bars stand at i + offset, so wide, and so many inches wide."""

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


def draw_alphas(axes: Axes, groups: Sequence[Group], bars: Sequence[Series], *, merged: bool = False) -> None:
    """Draw a bar per layer; where some group has several layers, their medians with whiskers.

    Args:
        axes: the panel; group i stands at x = i.
        groups: from `group_layers`.
        bars: from `make_series`.
        merged: draw all bars of a precision as one artist, much faster.
    """
    several = any(len(group.layers) > 1 for group in groups)
    for series in bars:
        if several:
            _draw_whiskers(axes, groups, series)
        else:
            _draw_bars(axes, groups, series, merged)


def merged_bars(axes: Axes, at: Sequence[float], heights: Sequence[float], series: Series) -> None:
    """Draw bars from 0 as one artist. It does not move the limits of the axes."""
    half = series.width / 2
    bars = [
        Path([(x - half, 0), (x - half, y), (x + half, y), (x + half, 0), (x - half, 0)], closed=True)
        for x, y in zip(at, heights, strict=True)
    ]
    if bars:
        path = Path.make_compound_path(*bars)
        axes.add_artist(PathPatch(path, facecolor=series.color, linewidth=0, snap=True, label=series.precision))


def draw_null(axes: Axes, groups: Sequence[Group], *, width: float = 0.9) -> None:
    """Draw the noise value as one dashed line over all neighbours that share it."""
    nulls = [group.alpha_null for group in groups]
    start = 0
    for end in range(1, len(nulls) + 1):
        if end == len(nulls) or nulls[end] != nulls[start]:
            axes.hlines(nulls[start], start - 0.5, end - 0.5, color=NOISE, linewidth=width, linestyle="--", zorder=3)
            start = end


def tops_of(groups: Sequence[Group], precisions: Sequence[str]) -> list[float]:
    """Return the largest alpha of each group, 0 where there is none."""
    return [max((max(group.alphas(name), default=0.0) for name in precisions), default=0.0) for group in groups]


def highest_of(groups: Sequence[Group], tops: Sequence[float]) -> float:
    """Return the largest of all alphas and noise values, 0 where there is none."""
    return max([0.0, *tops, *(group.alpha_null for group in groups if math.isfinite(group.alpha_null))])


def print_alphas(
    axes: Axes,
    groups: Sequence[Group],
    bars: Sequence[Series],
    reference: str,
    *,
    size: float = 7.0,
    text: Callable[[float], str] = alpha_text,
) -> None:
    """Print values where they fit: over each bar, else that of the reference over each group."""
    each = all(series.inches >= 0.13 for series in bars) and all(len(group.layers) == 1 for group in groups)
    tops = tops_of(groups, [series.precision for series in bars])
    for i, (group, top) in enumerate(zip(groups, tops, strict=True)):
        for x, name in [(i + s.offset, s.precision) for s in bars] if each else [(float(i), reference)]:
            value = median(group.alphas(name))
            if math.isfinite(value):
                axes.annotate(text(value), (x, value if each else top), (0, 4), textcoords="offset points", size=size,
                              rotation=90, ha="center", va="bottom", bbox=_LABEL_BOX, zorder=4)  # fmt: skip


def _draw_bars(axes: Axes, groups: Sequence[Group], series: Series, merged: bool) -> None:
    """Draw one bar per group; a layer without alpha gets a cross, and its status in words where they fit."""
    alphas = [usable_alpha(group.layers[0], series.precision) for group in groups]
    at = [i + series.offset for i in range(len(groups))]
    heights = [0.0 if math.isnan(alpha) else alpha for alpha in alphas]
    if merged:
        merged_bars(axes, at, heights, series)
    else:
        axes.bar(at, heights, series.width, color=series.color, label=series.precision)
    _cross(axes, [x for x, alpha in zip(at, alphas, strict=True) if math.isnan(alpha)], series.color)
    if series.inches < 0.07 or len(groups) > MOST_PRINTED:
        return
    for x, group in zip(at, groups, strict=True):
        if status := status_text(group.layers[0], series.precision):
            axes.annotate(status, (x, 0), (0, 5), textcoords="offset points", size=6.5, color=GREY,
                          rotation=90, ha="center", va="bottom", style="italic")  # fmt: skip


def _draw_whiskers(axes: Axes, groups: Sequence[Group], series: Series) -> None:
    """Draw the median of each group with a whisker from its smallest to its largest."""
    alphas = {i + series.offset: group.alphas(series.precision) for i, group in enumerate(groups)}
    found = {x: values for x, values in alphas.items() if values}
    axes.vlines(list(found), list(map(min, found.values())), list(map(max, found.values())), color=series.color, lw=1)
    axes.plot(list(found), list(map(median, found.values())), "o", color=series.color, label=series.precision,
              markersize=min(4.0, 0.6 * series.inches * 72))  # fmt: skip
    _cross(axes, [x for x, values in alphas.items() if not values], series.color)


def _cross(axes: Axes, at: Sequence[float], color: str) -> None:
    axes.plot(at, [0.0] * len(at), "x", color=color, markersize=4, clip_on=False, zorder=4)
