"""Many layers in one chart: horizontal bars with names and values, and their drifts as dots beside them."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.drift import drift_of, scale_drift_axis, status_text, usable_alpha
from alpha_callbacks.plots.elements.figure_text import fit, joined, tail_text, text_width
from alpha_callbacks.plots.elements.layer_groups import lost_text
from alpha_callbacks.plots.elements.legend import add_heading, add_legend, legend_height, precision_handles, say
from alpha_callbacks.tables.number_text import alpha_text, counted
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, LABELS, METRICS, NOISE, precision_colors
from alpha_callbacks.utils.labels import labels

_BAR, _BETWEEN = 0.118, 0.13  # inches: one bar, as high as the text of its value, and the gap between two layers
_ALPHA_WIDTH, _DRIFT_WIDTH, _VALUES = 4.6, 2.6, 0.85
_BOTTOM, _HEADING = 0.66, 0.78
_NAME = 48  # characters of a name that fit


@styled
def plot_batch(layers: Sequence[LayerRows], table: Table, index: int, total: int) -> tuple[Figure, Sequence[Axes]]:
    """Draw a batch of layers, the first on top.

    Args:
        layers: the layers of this batch, at least one.
        table: gives precisions and reference.
        index: number of the batch, from 1.
        total: how many batches there are.

    Returns:
        The figure and its axes: alpha, drift.
    """
    colors = precision_colors(table.precisions)
    names = [fit(name, 3.6, 8.5) for name in labels([layer.first.layer_name for layer in layers], _NAME)]
    left = 0.3 + max(text_width(name, 8.5) for name in names)
    width = left + _ALPHA_WIDTH + 0.3 + _DRIFT_WIDTH + _VALUES
    pitch = _BETWEEN + _BAR * len(colors)
    height = max(1.0, pitch * len(layers))
    handles = precision_handles(colors, crosses=False)
    figure = new_figure(width, _BOTTOM + height + legend_height(handles, _ALPHA_WIDTH) + _HEADING)
    alpha_axes = add_axes(figure, left, _BOTTOM, _ALPHA_WIDTH, height)
    drift_axes = add_axes(figure, left + _ALPHA_WIDTH + 0.3, _BOTTOM, _DRIFT_WIDTH, height)
    for axes in (alpha_axes, drift_axes):
        axes.set_ylim(len(layers) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=FAINT, linewidth=0.5)
    alpha_axes.set_yticks(range(len(layers)), names)
    drift_axes.set_yticks([])
    bar = _BAR / pitch
    places = [(i - (len(colors) - 1) / 2) * bar for i in range(len(colors))]
    _draw_alphas(alpha_axes, layers, colors, places, bar)
    _draw_drifts(drift_axes, layers, table, colors, places)
    add_legend(alpha_axes, handles, _ALPHA_WIDTH, height)
    rule = tail_text(row for layer in layers for row in layer.rows)
    subtitle = joined(counted(len(layers), "layer"), rule, lost_text(layers, table.precisions))
    add_heading(figure, joined(f"alpha, batch {index} of {total}", table.model), subtitle)
    return figure, (alpha_axes, drift_axes)


def _draw_alphas(
    axes: Axes, layers: Sequence[LayerRows], colors: dict[str, str], places: Sequence[float], bar: float
) -> None:
    """Draw the bars from 0 with their values, and the noise value of each layer as a dashed tick."""
    alphas = {name: [usable_alpha(layer, name) for layer in layers] for name in colors}
    nulls = [layer.first.alpha_null for layer in layers]
    shown = [value for values in (*alphas.values(), nulls) for value in values if math.isfinite(value)]
    highest = max(shown, default=1.0)
    tallest = max((a for values in alphas.values() for a in values if math.isfinite(a)), default=0.0)
    axes.set_xlim(0, max(1.03 * highest, tallest / (1 - 0.55 / _ALPHA_WIDTH)))
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.set_xlabel(METRICS["alpha"].axis)
    half = len(colors) * bar / 2 + 0.04
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.92, "pad": 0.3}
    for (name, color), place in zip(colors.items(), places, strict=True):
        at = [i + place for i in range(len(layers))]
        axes.barh(at, [0.0 if math.isnan(a) else a for a in alphas[name]], 0.86 * bar, color=color, label=name)
        for y, layer, alpha in zip(at, layers, alphas[name], strict=True):
            status = status_text(layer, name)
            axes.annotate(status or alpha_text(alpha), (0 if status else alpha, y), (3, 0), textcoords="offset points",
                          size=6.5, va="center_baseline", color=GREY if status else INK, bbox=box, zorder=4,
                          style="italic" if status else "normal")  # fmt: skip
    axes.vlines(nulls, [i - half for i in range(len(nulls))], [i + half for i in range(len(nulls))], color=NOISE,
                linewidth=1.0, linestyle=(0, (3, 1.5)), zorder=3)  # fmt: skip
    if tallest == 0:
        say(axes, LABELS["no_alpha"])


def _draw_drifts(
    axes: Axes, layers: Sequence[LayerRows], table: Table, colors: dict[str, str], places: Sequence[float]
) -> None:
    """Draw measured drifts as dots, bounds as intervals around 0, and print both in a column at the right.

    Not bars: where drifts are decades apart, the axis is logarithmic on both sides of 0, and a length says nothing.
    """
    axes.spines["left"].set_visible(False)
    values: list[float] = []
    bounded = False
    for (name, color), place in zip(colors.items(), places, strict=True):
        if name == table.reference:
            continue
        dots: list[tuple[float, float]] = []
        for i, layer in enumerate(layers):
            drift = drift_of(layer, name, table.reference)
            words, y = drift.kind == "none", i + place
            if drift.kind == "bounded":
                bounded = True
                values += [-drift.value, drift.value]
                axes.hlines(y, -drift.value, drift.value, color=color, linewidth=2.4, alpha=0.45)
            elif not words:
                values.append(drift.value)
                dots.append((drift.value, y))
            axes.annotate(drift.text, (1, y), (4, 0), xycoords=axes.get_yaxis_transform(), va="center_baseline",
                          textcoords="offset points", size=6.5, color=GREY if words else INK,
                          style="italic" if words else "normal")  # fmt: skip
        if dots:
            axes.plot(*zip(*dots, strict=True), "o", color=color, markersize=3.4, label=name, zorder=3)
    if not values:
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        say(axes, "no drift to show" if len(table.precisions) > 1 else "one precision, no drift", size=9)
        return
    axes.axvline(0, color=GREY, linewidth=0.7, zorder=2)
    scale = scale_drift_axis(axes, "x", values, max_ticks=5)
    notes = ["symlog scale"] * (scale == "symlog") + ["lines: within ±"] * bounded
    note = f"\n({'; '.join(notes)})" if notes else ""
    axes.set_xlabel(fit(METRICS["drift"].axis.format(reference=table.reference), _DRIFT_WIDTH + 0.8, 9.0) + note)
