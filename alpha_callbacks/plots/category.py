"""One category over all blocks: grouped bars of alpha, and below them the drift from the reference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.canvas import FAINT, GREY, NOISE, add_axes, new_figure, precision_colors, styled
from alpha_callbacks.plots.drift import status_text, usable_alpha
from alpha_callbacks.plots.drift_panel import draw_drift_panel
from alpha_callbacks.plots.groups import Group, group_layers, lost_text, median, shape_text
from alpha_callbacks.plots.legend import add_heading, add_legend, legend_height, precision_handles, say
from alpha_callbacks.plots.text import alpha_text, counted, fit, joined, tail_text, text_width
from alpha_callbacks.table import Table

_LEFT, _RIGHT = 1.0, 0.2
_ALPHA_HEIGHT, _DRIFT_HEIGHT, _GAP, _HEADING = 3.3, 1.6, 0.42, 0.78
_BARS = 0.82  # share of a group that its bars fill
_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.92, "pad": 0.5}
_MAX_PRINTED = 40  # groups whose values are printed
_FEWEST = 5  # groups that the axis has room for at least, so that a lone one is not as wide as the figure


@dataclass(frozen=True)
class _Series:
    """One precision: its bars stand at i + offset, so wide, and so many inches wide."""

    precision: str
    color: str
    offset: float
    width: float
    inches: float


@styled
def plot_category(table: Table, category: str) -> tuple[Figure, Sequence[Axes]]:
    """Draw the layers of one category, block by block.

    A block with many layers of the category (experts) shows their median with a whisker from the smallest to the
    largest.

    Returns:
        The figure and its axes: alpha, drift.
    """
    layers = [layer for layer in table.layers if layer.first.category == category]
    groups = group_layers(layers)
    several = any(len(group.layers) > 1 for group in groups)
    colors = precision_colors(table.precisions)
    offsets = [_BARS * ((i + 0.5) / len(colors) - 0.5) for i in range(len(colors))]
    lost = lost_text(layers, table.precisions)
    crosses = any(not group.alphas(name) for group in groups for name in colors)
    handles = precision_handles(colors, crosses=crosses)
    width = min(18.0, max(8.0, _LEFT + _RIGHT + len(groups) * max(0.24, 0.09 * len(colors))))
    inner = width - _LEFT - _RIGHT
    figure, (alpha_axes, drift_axes) = _frame(groups, width, legend_height(handles, inner))
    bar = _BARS / len(colors)
    inches = bar * inner / max(len(groups), _FEWEST)
    bars = [_Series(*pair, offset, bar, inches) for pair, offset in zip(colors.items(), offsets, strict=True)]
    for series in bars:
        (_draw_whiskers if several else _draw_bars)(alpha_axes, groups, series)
    _draw_null(alpha_axes, groups)
    _finish_alpha(alpha_axes, groups, table, bars)
    add_legend(alpha_axes, handles, inner, _ALPHA_HEIGHT)
    draw_drift_panel(drift_axes, groups, table, colors, offsets, (inner, _DRIFT_HEIGHT))
    number = counted(len(layers), "layer") + (", median of each block with smallest and largest" if several else "")
    rule = tail_text(row for layer in layers for row in layer.rows)
    add_heading(figure, f"alpha of {category}", joined(number, shape_text(layers), rule, lost))
    return figure, (alpha_axes, drift_axes)


def _frame(groups: Sequence[Group], width: float, legend: float) -> tuple[Figure, tuple[Axes, Axes]]:
    """Return the figure with its two panels and their common x-axis."""
    inner = width - _LEFT - _RIGHT
    slot = inner / max(len(groups), _FEWEST)
    labels = [fit(group.label, 1.6, 8.0) for group in groups]
    longest = max((text_width(label, 8.0) for label in labels), default=0.0)
    numbers = all(label.isdigit() for label in labels)
    turned = not numbers and longest > 0.9 * slot
    bottom = 0.45 + (longest + 0.08 if turned else 0.14)
    figure = new_figure(width, bottom + _DRIFT_HEIGHT + _GAP + _ALPHA_HEIGHT + legend + _HEADING)
    drift = add_axes(figure, _LEFT, bottom, inner, _DRIFT_HEIGHT)
    alpha = add_axes(figure, _LEFT, bottom + _DRIFT_HEIGHT + _GAP, inner, _ALPHA_HEIGHT)
    every = max(1, math.ceil((longest + 0.06 if numbers else 0.12) / slot))
    middle, half = (len(groups) - 1) / 2, max(len(groups), _FEWEST) / 2
    for axes in (alpha, drift):
        axes.set_xlim(middle - half, middle + half)
        axes.tick_params(axis="x", length=0, labelsize=8)
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
    alpha.set_xticks([])
    drift.set_xticks(range(0, len(groups), every), labels[::every], rotation=90 if turned else 0)
    inside = any(group.layers[0].first.block is not None for group in groups)
    drift.set_xlabel("transformer block" if numbers else "block, layer" if inside else "layer")
    return figure, (alpha, drift)


def _draw_bars(axes: Axes, groups: Sequence[Group], series: _Series) -> None:
    """Draw one bar a group; a layer without alpha gets a cross, and its status in words where they fit."""
    alphas = [usable_alpha(group.layers[0], series.precision) for group in groups]
    at = [i + series.offset for i in range(len(groups))]
    heights = [0.0 if math.isnan(alpha) else alpha for alpha in alphas]
    axes.bar(at, heights, series.width, color=series.color, label=series.precision)
    _cross(axes, [x for x, alpha in zip(at, alphas, strict=True) if math.isnan(alpha)], series.color)
    if series.inches < 0.07 or len(groups) > _MAX_PRINTED:
        return
    for x, group in zip(at, groups, strict=True):
        if status := status_text(group.layers[0], series.precision):
            axes.annotate(status, (x, 0), (0, 5), textcoords="offset points", size=6.5, color=GREY,
                          rotation=90, ha="center", va="bottom", style="italic")  # fmt: skip


def _draw_whiskers(axes: Axes, groups: Sequence[Group], series: _Series) -> None:
    """Draw the median of each group with a whisker from its smallest to its largest."""
    alphas = {i + series.offset: group.alphas(series.precision) for i, group in enumerate(groups)}
    found = {x: values for x, values in alphas.items() if values}
    axes.vlines(list(found), list(map(min, found.values())), list(map(max, found.values())), color=series.color, lw=1)
    axes.plot(list(found), list(map(median, found.values())), "o", color=series.color, label=series.precision,
              markersize=min(4.0, 0.6 * series.inches * 72))  # fmt: skip
    _cross(axes, [x for x, values in alphas.items() if not values], series.color)


def _cross(axes: Axes, at: Sequence[float], color: str) -> None:
    axes.plot(at, [0.0] * len(at), "x", color=color, markersize=4, clip_on=False, zorder=4)


def _draw_null(axes: Axes, groups: Sequence[Group]) -> None:
    """Draw the noise value as one dashed line over all neighbours that share it."""
    nulls = [group.alpha_null for group in groups]
    start = 0
    for end in range(1, len(nulls) + 1):
        if end == len(nulls) or nulls[end] != nulls[start]:
            axes.hlines(nulls[start], start - 0.5, end - 0.5, color=NOISE, linewidth=0.9, linestyle="--", zorder=3)
            start = end


def _finish_alpha(axes: Axes, groups: Sequence[Group], table: Table, bars: Sequence[_Series]) -> None:
    """Print values where they fit: over each bar, else the reference over each group; leave room for them."""
    tops = [max((max(group.alphas(name), default=0.0) for name in table.precisions), default=0.0) for group in groups]
    tallest = max(tops, default=0.0)
    highest = max([tallest, *(group.alpha_null for group in groups if math.isfinite(group.alpha_null))])
    printed = len(groups) <= _MAX_PRINTED
    room = tallest / (1 - 0.55 / _ALPHA_HEIGHT) if printed else 0.0
    axes.set_ylim(0, max(1.06 * highest, room) or 1.0)
    axes.set_ylabel("alpha (tail exponent, no unit)")
    if tallest == 0:
        say(axes, "no usable alpha")
    each = all(series.inches >= 0.13 for series in bars) and all(len(group.layers) == 1 for group in groups)
    for i, (group, top) in enumerate(zip(groups, tops, strict=True)) if printed else ():
        for x, name in [(i + s.offset, s.precision) for s in bars] if each else [(float(i), table.reference)]:
            value = median(group.alphas(name))
            if math.isfinite(value):
                axes.annotate(alpha_text(value), (x, value if each else top), (0, 4), textcoords="offset points",
                              size=7, rotation=90, ha="center", va="bottom", bbox=_LABEL_BOX, zorder=4)  # fmt: skip
