"""Alpha of B against alpha of A, and beside it the difference, which the diagonal hides."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.comparison_findings import nothing_text
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.comparison.paired_statistics import summarize_deltas
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.category_markers import category_handles, category_marker
from alpha_callbacks.plots.elements.figure_text import fit, joined
from alpha_callbacks.plots.elements.layer_groups import median
from alpha_callbacks.plots.elements.legend import add_heading, add_legend, legend_height, say
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.statistics import TOO_FEW
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, category_color, in_order

_LEFT, _GAP, _SIDE, _BOTTOM = 0.75, 1.0, 4.4, 0.6
_MANY = 2000  # points; beyond, they become an image inside pdf and svg


@styled
def plot_comparison(comparison: Comparison) -> tuple[Figure, Sequence[Axes]]:
    """Draw alpha in B over alpha in A with the diagonal, and delta over alpha in A.

    Returns:
        The figure and its axes: alphas, differences.
    """
    used = comparison.compared
    names = in_order(pair.row.group for pair in used)
    handles = category_handles(names)
    width = _LEFT + 2 * _SIDE + _GAP + 0.2
    above = 0.85 + legend_height(handles, 2 * _SIDE)
    figure = new_figure(width, _BOTTOM + _SIDE + above)
    alphas = add_axes(figure, _LEFT, _BOTTOM, _SIDE, _SIDE)
    deltas = add_axes(figure, _LEFT + _SIDE + _GAP, _BOTTOM, _SIDE, _SIDE)
    label_a, label_b = (fit(f"alpha of {name}", _SIDE, 9.0) for name in side_names(comparison))
    for axes in (alphas, deltas):
        axes.grid(color=FAINT, linewidth=0.5)
        axes.set_xlabel(label_a)
    alphas.set_ylabel(label_b)
    deltas.set_ylabel("change of alpha, B − A")
    if used:
        _points(alphas, used, names, lambda pair: pair.b.alpha if pair.b else math.nan)
        low, high = (pick((*alphas.get_xlim(), *alphas.get_ylim())) for pick in (min, max))
        alphas.plot([low, high], [low, high], color=GREY, linewidth=0.8, zorder=1)
        alphas.set_xlim(low, high)
        alphas.set_ylim(low, high)
        _points(deltas, used, names, lambda pair: pair.known_delta)
        deltas.axhline(0, color=GREY, linewidth=0.8, zorder=1)
        if len(used) >= TOO_FEW:
            _draw_median(deltas, median(pair.known_delta for pair in used))
        add_legend(alphas, handles, 2 * _SIDE, _SIDE)
    else:
        for axes in (alphas, deltas):
            axes.set_axis_off()
            say(axes, "no layer to compare")
    add_heading(figure, "alpha of A and of B", subtitle(comparison))
    return figure, (alphas, deltas)


def _points(axes: Axes, pairs: Sequence[Pair], names: Sequence[str], height: Callable[[Pair], float]) -> None:
    for name in names:
        mine = [(pair.a.alpha, height(pair)) for pair in pairs if pair.row.group == name and pair.a]
        look: dict[str, Any] = {
            "color": category_color(name),
            "marker": category_marker(name),
            "rasterized": len(pairs) > _MANY,
        }
        axes.scatter([x for x, _ in mine], [y for _, y in mine], 17, alpha=0.8, linewidths=0, zorder=3, **look)


def _draw_median(axes: Axes, middle: float) -> None:
    axes.axhline(middle, color=INK, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1)
    axes.annotate(f"median {middle:+.2g}", (1, middle), (-2, 3), xycoords=("axes fraction", "data"),
                  textcoords="offset points", ha="right", size=8, color=INK)  # fmt: skip


def side_names(comparison: Comparison) -> tuple[str, str]:
    """Return "A: <label> (<precision>)" and the same of B."""
    first, second = (
        f"{side}: {label}" + (f" ({precision})" if precision != label else "")
        for side, label, precision in zip("AB", comparison.labels, comparison.precisions, strict=True)
    )
    return first, second


def subtitle(comparison: Comparison) -> str:
    """Return a line that says how many layers are compared and how well their order agrees."""
    whole = summarize_deltas(comparison.pairs)
    if not whole.count:
        return nothing_text(comparison)
    told = not (whole.few or math.isnan(whole.spearman_alpha))
    rank = f"rank correlation {whole.spearman_alpha:.4f}" if told else ""
    ratio = f"of alpha / noise {whole.spearman_ratio:.4f}" if told and not math.isnan(whole.spearman_ratio) else ""
    out = counted(len(comparison.left_out), "layer") + " not compared" if comparison.left_out else ""
    return joined(counted(whole.count, "layer"), rank, ratio, out)
