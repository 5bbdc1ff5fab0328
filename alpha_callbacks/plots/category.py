"""One category over all blocks: bars of alpha at the reference, and below them the drift of other precisions."""

import math
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.elements.alpha_panel import FILE_LOOK, draw_alpha_panel
from alpha_callbacks.plots.elements.bars import FEWEST, draw_crosses, make_series, set_groups
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.drift_panel import draw_drift_panel
from alpha_callbacks.plots.elements.figure_text import fit, joined, tail_text, text_width
from alpha_callbacks.plots.elements.layer_groups import Group, group_layers, lost_text, shape_text
from alpha_callbacks.plots.elements.legend import add_heading, add_legend, legend_height, precision_handles
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import FAINT, METRICS, precision_colors

_LEFT, _RIGHT = 1.0, 0.2
_EACH = 16  # up to so many blocks each one has a label
_ALPHA_HEIGHT, _DRIFT_HEIGHT, _GAP, _HEADING = 3.3, 1.6, 0.42, 0.78


@styled
def plot_category(table: Table, category: str) -> tuple[Figure, Sequence[Axes]]:
    """Draw the layers of one category, block by block ("vision_attn_q": of the vision part).

    A block with many layers of the category (experts) shows their median, quartiles, smallest and largest.

    Returns:
        The figure and its axes: alpha, drift.
    """
    layers = [layer for layer in table.layers if layer.first.group == category]
    groups = group_layers(layers)
    several = any(len(group.layers) > 1 for group in groups)
    colors = precision_colors(table.precisions)
    lost = lost_text(layers, table.precisions)
    crosses = any(not group.alphas(name) for group in groups for name in colors)
    others = [name for name in colors if name != table.reference]
    handles = precision_handles(colors, dots=others, crosses=crosses)
    width = min(18.0, max(8.0, _LEFT + _RIGHT + len(groups) * max(0.2, 0.05 * len(colors))))
    inner = width - _LEFT - _RIGHT
    figure, (alpha_axes, drift_axes) = _frame(groups, width, legend_height(handles, inner))
    (bar,) = make_series([table.reference], len(groups), inner)  # bars of all precisions would look equal
    bars = [replace(bar, color=colors[table.reference])]
    draw_alpha_panel(alpha_axes, groups, bars, table.reference, height=_ALPHA_HEIGHT, look=FILE_LOOK)
    alpha_axes.set_ylabel(METRICS["alpha"].axis)
    add_legend(alpha_axes, handles, inner, _ALPHA_HEIGHT)
    dots = {series.precision: series.offset for series in make_series(others, len(groups), inner)} if others else {}
    draw_drift_panel(drift_axes, groups, table, colors, dots, (inner, _DRIFT_HEIGHT))
    for name, offset in dots.items():
        lost_at = [i + offset for i, group in enumerate(groups) if not group.alphas(name)]
        draw_crosses(drift_axes, lost_at, colors[name])
    number = counted(len(layers), "layer") + (
        ", median of each block with quartiles, smallest and largest" if several else ""
    )
    rule = tail_text(row for layer in layers for row in layer.rows)
    add_heading(figure, joined(f"alpha of {category}", table.model), joined(number, shape_text(layers), rule, lost))
    return figure, (alpha_axes, drift_axes)


def _frame(groups: Sequence[Group], width: float, legend: float) -> tuple[Figure, tuple[Axes, Axes]]:
    """Return the figure with its two panels and their common x-axis."""
    inner = width - _LEFT - _RIGHT
    slot = inner / max(len(groups), FEWEST)
    labels = [fit(group.label, 1.6, 8.0) for group in groups]
    longest = max((text_width(label, 8.0) for label in labels), default=0.0)
    numbers = all(label.isdigit() for label in labels)
    turned = not numbers and longest > 0.9 * slot
    bottom = 0.45 + (longest + 0.08 if turned else 0.14)
    figure = new_figure(width, bottom + _DRIFT_HEIGHT + _GAP + _ALPHA_HEIGHT + legend + _HEADING)
    drift = add_axes(figure, _LEFT, bottom, inner, _DRIFT_HEIGHT)
    alpha = add_axes(figure, _LEFT, bottom + _DRIFT_HEIGHT + _GAP, inner, _ALPHA_HEIGHT)
    every = max(1, math.ceil((longest + 0.06 if numbers else 0.12) / slot))
    if numbers and len(groups) > _EACH:
        every = max(5, every)
    for axes in (alpha, drift):
        set_groups(axes, len(groups))
        axes.tick_params(axis="x", length=0, labelsize=8)
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
    alpha.set_xticks([])
    drift.set_xticks(range(0, len(groups), every), labels[::every], rotation=90 if turned else 0)
    inside = any(group.layers[0].first.block is not None for group in groups)
    drift.set_xlabel("transformer block" if numbers else "block, layer" if inside else "layer")
    return figure, (alpha, drift)
