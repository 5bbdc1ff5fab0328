"""The distribution of alpha, or of its ratio to noise, over all layers: one box per precision that differs."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.drift import usable_alpha
from alpha_callbacks.plots.elements.figure_text import fit, joined, tail_text
from alpha_callbacks.plots.elements.layer_groups import lost_text
from alpha_callbacks.plots.elements.legend import add_heading, say
from alpha_callbacks.tables.number_text import alpha_text, counted
from alpha_callbacks.tables.same_bits import alike
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, LABELS, METRICS, NOISE, precision_colors

DistributionValue = Literal["alpha", "alpha_ratio"]

_COLUMN = 1.35  # inches
_SEED = 0  # the jitter is decoration: the same table gives the same picture
_MANY = 2000  # points; beyond, they become an image inside pdf and svg


@styled
def plot_distribution(table: Table, value: DistributionValue | None = None) -> tuple[Figure, Sequence[Axes]]:
    """Draw box, mean and every point for each precision; precisions whose boxes would look the same share one.

    Args:
        table: the rows.
        value: "alpha", or "alpha_ratio" (alpha / alpha of noise), which can be compared between shapes; None: the ratio
            where there are several shapes.

    Returns:
        The figure and its axes, one.
    """
    value = value or ("alpha" if one_shape(table) else "alpha_ratio")
    columns = {name: [_value(layer, name, value) for layer in table.layers] for name in table.precisions}
    groups, colors = alike(columns), precision_colors(table.precisions)
    count = len(groups)
    width = max(7.0, 1.2 + _COLUMN * count)
    figure = new_figure(width, 5.2)
    axes = add_axes(figure, 0.75, 0.98, width - 0.95, 5.2 - 0.98 - 0.75)
    axes.set_xlim(-0.5 - max(0, 3 - count) / 2, count - 0.5 + max(0, 3 - count) / 2)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(METRICS[value].axis)
    generator = np.random.default_rng(_SEED)
    labels = []
    for i, group in enumerate(groups):
        known = [number for number in columns[group[0]] if math.isfinite(number)]
        labels.append(_label(group, known, len(table) - len(known)))
        if known:
            _draw_column(axes, i, known, colors[group[0]], generator.uniform(-0.24, 0.24, len(known)))
        elif any(table.alphas(name) for name in table.precisions):
            axes.text(i, 0.5, LABELS["no_alpha"], transform=axes.get_xaxis_transform(), ha="center", color=GREY)
    axes.set_xticks(range(count), labels)
    if not axes.collections:
        axes.set_yticks([])
        say(axes, LABELS["no_alpha"])
    elif value == "alpha_ratio":
        axes.axhline(1, color=NOISE, linewidth=1.0, linestyle="--", zorder=1)
    rows = tail_text(table)
    what = "box: quartiles and median; whiskers: up to 1.5 box heights; diamond: mean; dots: layers"
    what = joined(what, f"dashed: {LABELS['noise']}" if value == "alpha_ratio" else "")
    subtitle = joined(counted(len(table), "layer"), rows, lost_text(table.layers, table.precisions))
    add_heading(figure, joined(f"Distribution of {METRICS[value].heading}", table.model), subtitle)
    figure.text(0.14 / width, 0.1 / 5.2, fit(what, width - 0.28, 8.0), size=8, color=GREY)
    return figure, (axes,)


def one_shape(table: Table) -> bool:
    """Return whether all weights have the same shape, so that their alphas can be compared as they are."""
    return len({(layer.first.out_features, layer.first.in_features) for layer in table.layers}) <= 1


def _value(layer: LayerRows, precision: str, value: DistributionValue) -> float:
    alpha = usable_alpha(layer, precision)
    return alpha if value == "alpha" else alpha / (layer.first.alpha_null or math.nan)


def _draw_column(axes: Axes, x: int, alphas: Sequence[float], color: str, jitter: np.ndarray) -> None:
    """Draw the points of one precision, its box over them, and the mean.

    Not Axes.boxplot: it reads every rcParam, which makes matplotlib import pyplot and choose a window system.
    """
    opacity = float(np.clip(120 / len(alphas), 0.1, 0.6))
    axes.scatter(x + jitter, alphas, s=9, color=color, alpha=opacity, linewidths=0, rasterized=len(alphas) > _MANY)
    low, middle, high = (float(quartile) for quartile in np.percentile(alphas, [25, 50, 75]))
    reach = 1.5 * (high - low)
    bottom = min(alpha for alpha in alphas if alpha >= low - reach)
    top = max(alpha for alpha in alphas if alpha <= high + reach)
    left, right, cap = x - 0.28, x + 0.28, 0.14
    axes.add_patch(
        Rectangle((left, low), right - left, high - low, fill=False, edgecolor=color, linewidth=1.4, zorder=3)
    )
    for end, side in ((bottom, low), (top, high)):
        axes.plot([x, x], [side, end], color=color, linewidth=1.2, zorder=3)
        axes.plot([x - cap, x + cap], [end, end], color=color, linewidth=1.2, zorder=3)
    axes.plot([left, right], [middle, middle], color=INK, linewidth=1.6, zorder=4, label="median")
    axes.plot(
        [x], [float(np.mean(alphas))], "D", color=INK, markerfacecolor="white", markersize=6, zorder=5, label="mean"
    )


def _label(names: Sequence[str], known: Sequence[float], lost: int) -> str:
    """Return names, counts and the digits that the boxes cannot show."""
    lines = [fit(" ≈ ".join(names), _COLUMN * max(1, len(names) / 2), 8.5)]
    lines.append(f"n = {len(known)}" + (f", {lost} not ok" if lost else ""))
    if known:
        lines.append(f"median {alpha_text(float(np.median(known)))}")
        lines.append(f"mean {alpha_text(float(np.mean(known)))}")
    return "\n".join(lines)
