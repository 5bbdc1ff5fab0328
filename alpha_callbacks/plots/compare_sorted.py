"""All changes of alpha sorted by size, and the layers that changed most, by name."""

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.comparison_findings import nothing_text
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.comparison.paired_statistics import movers, summarize_deltas
from alpha_callbacks.plots.compare_scatter import side_names
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.category_markers import category_handles, category_marker
from alpha_callbacks.plots.elements.figure_text import fit, joined, text_width
from alpha_callbacks.plots.elements.legend import add_heading, add_legend, legend_height, say
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.vocabulary import FAINT, GREY, category_color, in_order
from alpha_callbacks.utils.labels import labels

_LEFT, _SIDE, _WIDEST, _TOP_WIDTH, _HEIGHT, _BOTTOM = 0.8, 4.8, 3.4, 2.8, 4.3, 0.55
_TOP = 14  # layers shown by name
_NAME = 46  # characters of a name that fit
_MANY = 2000


@styled
def plot_comparison_sorted(comparison: Comparison) -> tuple[Figure, Sequence[Axes]]:
    """Draw every delta from the smallest to the largest, and the largest |delta| as bars with names.

    Returns:
        The figure and its axes: all layers, layers that changed most.
    """
    pairs = sorted(comparison.compared, key=lambda pair: pair.known_delta)
    names = in_order(pair.row.group for pair in pairs)
    handles = category_handles(names)
    top_pairs = movers(comparison, _TOP)
    top_names = [fit(name, _WIDEST, 8.5) for name in labels([pair.row.layer_name for pair in top_pairs], _NAME)]
    between = 0.5 + max((text_width(name, 8.5) for name in top_names), default=0.0)
    width = _LEFT + _SIDE + between + _TOP_WIDTH + 0.2
    figure = new_figure(width, _BOTTOM + _HEIGHT + 0.85 + legend_height(handles, width - _LEFT - 0.3))
    every = add_axes(figure, _LEFT, _BOTTOM, _SIDE, _HEIGHT)
    top = add_axes(figure, _LEFT + _SIDE + between, _BOTTOM, _TOP_WIDTH, _HEIGHT)
    if pairs:
        _draw_every(every, pairs, names)
        _draw_top(top, top_pairs, top_names)
        add_legend(every, handles, width - _LEFT - 0.3, _HEIGHT)
    else:
        every.set_axis_off()
        top.set_axis_off()
        say(every, "no layer to compare")
    whole = summarize_deltas(pairs)
    stay = f"{whole.unmoved} unchanged within the error bounds" if whole.unmoved else ""
    a, b = side_names(comparison)
    counts = f"{counted(whole.count, 'layer')}: {whole.rises} rise, {whole.falls} fall"
    told = joined(counts, stay) if pairs else nothing_text(comparison)
    add_heading(figure, "Changes of alpha, sorted", joined(a, b, told))
    return figure, (every, top)


def _draw_every(axes: Axes, pairs: Sequence[Pair], names: Sequence[str]) -> None:
    axes.grid(axis="y", color=FAINT, linewidth=0.5)
    axes.axhline(0, color=GREY, linewidth=0.8, zorder=1)
    axes.set_xlabel("layers, sorted")
    axes.set_ylabel("change of alpha, B − A")
    for name in names:
        places = [i for i, pair in enumerate(pairs, 1) if pair.row.group == name]
        deltas = [pairs[i - 1].known_delta for i in places]
        color = category_color(name)
        if len(pairs) <= _MANY:
            axes.vlines(places, 0, deltas, color=color, linewidth=0.6, alpha=0.55, zorder=2)
        axes.scatter(places, deltas, s=13, color=color, marker=category_marker(name), linewidths=0, zorder=3,
                     rasterized=len(pairs) > _MANY)  # fmt: skip
    bounded = [(i, pair) for i, pair in enumerate(pairs, 1) if pair.bounded]
    if bounded:
        at, deltas = [i for i, _ in bounded], [pair.known_delta for _, pair in bounded]
        errors = [pair.delta_error for _, pair in bounded]
        axes.errorbar(at, deltas, errors, fmt="none", ecolor=GREY, elinewidth=0.8, zorder=1)


def _draw_top(axes: Axes, pairs: Sequence[Pair], names: Sequence[str]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.spines["left"].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("change of alpha, B − A")
    if not pairs:
        axes.set_yticks([])
        axes.set_xticks([])
        say(axes, "no layer changed")
        return
    axes.set_ylim(max(len(pairs), 4) - 0.4, -0.6)
    axes.barh(range(len(pairs)), [pair.delta for pair in pairs], 0.72,
              color=[category_color(pair.row.group) for pair in pairs])  # fmt: skip
    axes.set_yticks(range(len(pairs)), names)
    low, high = (pick(0.0, *(pair.delta for pair in pairs)) for pick in (min, max))
    room = 0.34 * (high - low)  # for the numbers at the ends of the bars
    axes.set_xlim(low - (room if low < 0 else 0), high + (room if high > 0 else 0))
    for i, pair in enumerate(pairs):
        away, side = (4, "left") if pair.delta > 0 else (-4, "right")
        place: dict[str, Any] = {"textcoords": "offset points", "ha": side, "va": "center"}
        axes.annotate(f"{pair.delta:+.3g}", (pair.delta, i), (away, 0), size=8, **place)
