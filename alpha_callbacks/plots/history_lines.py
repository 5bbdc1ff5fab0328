"""Small multiples: one panel per category, one line per block, over the steps of a training run."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from alpha_callbacks.comparison.history_series import Series, by_category, change, folded
from alpha_callbacks.comparison.read_history import AlphaHistory
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.color_scale import add_color_bar, color_map
from alpha_callbacks.plots.elements.figure_text import fit, joined
from alpha_callbacks.plots.elements.legend import add_heading
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, LABELS, METRICS, OUTSIDE_COLORS

_PANEL, _HIGH, _GAP, _ROW_GAP = 2.55, 1.75, 0.55, 0.62
_LEFT, _TOP, _BOTTOM, _RIGHT = 0.65, 0.95, 0.5, 1.0
_ACROSS = 4
_MANY_LINES = 150  # of one category; larger ones show medians per block
_POINTS = 12  # up to so many states each one has a dot
_KEY, _KEY_SIZE = 0.13, 7.0  # a line of the legend below a panel: inches, font size
# Layers outside blocks: the first ones have colours of their own, the others share the last one.
_OUTSIDE = (INK, *OUTSIDE_COLORS, GREY)


@styled
def plot_history_lines(
    history: AlphaHistory, value: str = "alpha", precision: str | None = None
) -> tuple[Figure, Sequence[Axes]]:
    """Draw a value of every layer over the steps: one panel per category, blocks coloured from first to last.

    Args:
        history: from `read_history`.
        value: "alpha", "alpha_ratio" or "change".
        precision: the precision to show; None: the reference.

    Returns:
        The figure and its axes: one per category, then the colour bar where there are blocks.
    """
    raw = history.series(precision, "alpha" if value == "change" else value)
    most = max(raw.categories.count(name) for name in set(raw.categories))
    series = by_category(folded(change(raw) if value == "change" else raw, len(raw) if most <= _MANY_LINES else 0))
    names = list(dict.fromkeys(series.categories))
    across = min(_ACROSS, len(names))
    down = math.ceil(len(names) / across)
    keys = [_keys(series, name) for name in names]
    below = [_KEY * max(map(len, keys[row * across : (row + 1) * across])) for row in range(down)]
    width = _LEFT + max(across * (_PANEL + _GAP), 5.6) - _GAP + _RIGHT
    height = _TOP + down * (_HIGH + _ROW_GAP) - _ROW_GAP + sum(below) + _BOTTOM
    figure = new_figure(width, height)
    blocks = [block for block in series.blocks if block is not None]
    ends = min(blocks, default=0), max(max(blocks, default=0), 1)
    colors = ListedColormap(color_map("sequential")(np.linspace(0, 0.92, 256)))  # its yellow is pale on white
    scale = ScalarMappable(Normalize(*ends), colors)
    panels = []
    for i, name in enumerate(names):
        row, column = divmod(i, across)
        bottom = height - _TOP - row * (_HIGH + _ROW_GAP) - sum(below[:row]) - _HIGH
        axes = add_axes(figure, _LEFT + column * (_PANEL + _GAP), bottom, _PANEL, _HIGH)
        _draw(axes, series, name, scale)
        handles = [Line2D([], [], color=color, label=label) for label, color in keys[i].items()]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, -0.42 / _HIGH), borderaxespad=0, borderpad=0,
                    handlelength=1.2, handletextpad=0.5, labelspacing=0.2, fontsize=_KEY_SIZE)  # fmt: skip
        axes.set_title(fit(name, _PANEL, 9.5, weight="bold"), loc="left", size=9.5, weight="bold", color=INK, pad=4)
        if i + across >= len(names):
            axes.set_xlabel("step")
        panels.append(axes)
    if len(set(blocks)) > 1:
        bar_axes = add_axes(figure, width - 0.75, height - _TOP - _HIGH, 0.14, _HIGH)
        add_color_bar(figure, bar_axes, scale, "block", places=MaxNLocator(5, integer=True))
        panels.append(bar_axes)
    medians = f"median of each block ({counted(len(raw), 'layer')})" if len(series) < len(raw) else ""
    counts = counted(len(series), "line"), counted(len(series.steps), "state")
    subtitle = joined(*counts, medians, "own scale in each panel")
    add_heading(figure, f"{METRICS[value].heading} over training, {precision or history.reference}", subtitle)
    return figure, panels


def _outside(series: Series, category: str) -> dict[int, str]:
    """Return the colour of each layer of a category outside blocks, by its place in the series."""
    rows = [i for i, name in enumerate(series.categories) if name == category and series.blocks[i] is None]
    return {row: _OUTSIDE[min(i, len(_OUTSIDE) - 1)] for i, row in enumerate(rows)}


def _keys(series: Series, category: str) -> dict[str, str]:
    """Return label -> colour of the layers that a panel must name: those outside blocks."""
    colors = _outside(series, category)
    named = {fit(series.labels[i], _PANEL - 0.3, _KEY_SIZE): color for i, color in colors.items() if color != GREY}
    if more := len(colors) - len(named):
        named[f"{more} more"] = GREY
    return {} if list(named) == [category] else named  # the title says lm_head already


def _draw(axes: Axes, series: Series, category: str, scale: ScalarMappable) -> None:
    axes.grid(color=FAINT, linewidth=0.5)
    marker = "o" if len(series.steps) <= _POINTS else ""
    outside = _outside(series, category)
    found = False
    for i, (name, block, values) in enumerate(zip(series.categories, series.blocks, series.values, strict=True)):
        if name != category or np.isnan(values).all():
            continue
        found = True
        lonely = np.isfinite(values).sum() == 1  # a line of one point would not be seen
        color = outside[i] if block is None else scale.to_rgba(np.array([float(block)]))[0]
        axes.plot(series.steps, values, color=color, linewidth=1.0, marker="o" if lonely else marker, markersize=2.6,
                  zorder=2.0 if i in outside and color == GREY else 2.1)  # fmt: skip
    if not found:
        axes.text(0.5, 0.5, LABELS["no_alpha"], transform=axes.transAxes, ha="center", color=GREY)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    first, last = series.steps[0], series.steps[-1]
    axes.set_xlim(first, last if last > first else first + 1)
