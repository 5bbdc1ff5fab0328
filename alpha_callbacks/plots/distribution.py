"""The distribution of alpha over all layers, one box per precision."""

from collections.abc import Sequence

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
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, LABELS, METRICS, precision_colors

_SEED = 0  # the jitter is decoration: the same table gives the same picture
_MANY = 2000  # points; beyond, they become an image inside pdf and svg


@styled
def plot_distribution(table: Table) -> tuple[Figure, Sequence[Axes]]:
    """Draw box, mean and every point of alpha for each precision.

    Returns:
        The figure and its axes, one.
    """
    count = len(table.precisions)
    width = max(7.0, 1.2 + 1.35 * count)
    figure = new_figure(width, 5.2)
    axes = add_axes(figure, 0.75, 0.98, width - 0.95, 5.2 - 0.98 - 0.75)
    axes.set_xlim(-0.5 - max(0, 3 - count) / 2, count - 0.5 + max(0, 3 - count) / 2)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.tick_params(axis="x", length=0)
    axes.set_ylabel(METRICS["alpha"].axis)
    generator = np.random.default_rng(_SEED)
    labels = []
    for i, (precision, color) in enumerate(precision_colors(table.precisions).items()):
        alphas = [alpha for layer in table.layers if np.isfinite(alpha := usable_alpha(layer, precision))]
        labels.append(_label(precision, alphas, len(table) - len(alphas)))
        if alphas:
            jitter = generator.uniform(-0.24, 0.24, len(alphas))
            _draw_column(axes, i, alphas, color, jitter)
        elif any(table.alphas(name) for name in table.precisions):
            axes.text(i, 0.5, LABELS["no_alpha"], transform=axes.get_xaxis_transform(), ha="center", color=GREY)
    axes.set_xticks(range(count), labels)
    if not axes.collections:
        axes.set_yticks([])
        say(axes, LABELS["no_alpha"])
    rows = tail_text(table)
    what = "box: quartiles and median; whiskers: up to 1.5 box heights; diamond: mean; dots: layers"
    subtitle = joined(counted(len(table), "layer"), rows, lost_text(table.layers, table.precisions))
    add_heading(figure, joined("Distribution of alpha by precision", table.model), subtitle)
    figure.text(0.14 / width, 0.1 / 5.2, fit(what, width - 0.28, 8.0), size=8, color=GREY)
    return figure, (axes,)


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


def _label(precision: str, alphas: Sequence[float], lost: int) -> str:
    """Return name, counts and the digits that the boxes cannot show."""
    lines = [fit(precision, 1.2, 8.5), f"n = {len(alphas)}" + (f", {lost} not ok" if lost else "")]
    if alphas:
        lines.append(f"median {alpha_text(float(np.median(alphas)))}")
        lines.append(f"mean {alpha_text(float(np.mean(alphas)))}")
    return "\n".join(lines)
