"""Layers x steps of a training run, one colour each."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.comparison.history_series import (
    Series,
    by_category,
    change,
    folded,
    lost,
    spaced,
    thinned,
)
from alpha_callbacks.comparison.read_history import AlphaHistory
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.color_scale import add_color_bar, color_scale
from alpha_callbacks.plots.elements.figure_text import fit, joined, text_width
from alpha_callbacks.plots.elements.legend import add_heading, say
from alpha_callbacks.tables.number_text import counted
from alpha_callbacks.tables.vocabulary import GREY, HATCH, INK, LABELS, METRICS

MOST_LAYERS, MOST_STEPS = 400, 600  # rows and columns of a picture; larger runs show medians per block and fewer steps
_RIGHT, _TOP, _BOTTOM = 1.25, 0.75, 0.85
_WIDTH, _ROW, _LOWEST, _TALLEST = 7.6, 0.14, 2.2, 13.0
_LABEL, _LABEL_ROW = 7.0, 0.125  # font size of the label of a row, and the inches that it needs


@styled
def plot_history(
    history: AlphaHistory, value: str = "alpha", precision: str | None = None
) -> tuple[Figure, Sequence[Axes]]:
    """Draw one value of every layer over the measured steps, with layers ordered by category and block.

    Args:
        history: from `read_history`.
        value: "alpha", "alpha_ratio", or "change" (of alpha, since the layer was first measured).
        precision: the precision to show; None: the reference.

    Returns:
        The figure and its axes: cells, colour bar.
    """
    series, note = prepared(history, value, precision)
    height = min(_TALLEST, max(_LOWEST, _ROW * len(series)))
    labels = [fit(label, 2.2, _LABEL) for label in series.labels]
    beside = 0.2 + max(text_width(label, _LABEL) for label in labels)
    left = 0.14 + max(text_width(name, 8.5) for name in series.categories) + beside
    figure = new_figure(left + _WIDTH + _RIGHT, _BOTTOM + height + _TOP)
    axes = add_axes(figure, left, _BOTTOM, _WIDTH, height)
    bar_axes = add_axes(figure, left + _WIDTH + 0.2, _BOTTOM + height - min(4.0, height), 0.18, min(4.0, height))
    scale, remark = color_scale(series.values.flat, METRICS[value].scale)
    axes.patch.set(facecolor="white", edgecolor=HATCH, hatch="//////", linewidth=0)
    high = _heights(series, height)
    if scale is None:
        say(axes, LABELS["no_alpha"] if np.isnan(series.values).all() else "no layer changed")
    else:
        colors = scale.to_rgba(np.ma.masked_invalid(np.repeat(series.values, high, axis=0)))
        extent = (0, len(series.steps), high.sum(), 0)
        axes.imshow(colors, aspect="auto", interpolation="nearest", extent=extent)
    add_color_bar(figure, bar_axes, scale, METRICS[value].bar, clipped=bool(remark))
    _label_steps(axes, series)
    _label_rows(axes, series, labels, np.concatenate([[0], high.cumsum()]), (beside, height))
    add_heading(figure, f"{METRICS[value].heading}, {precision or history.reference}", _subtitle(history, note))
    holes = "hatched: not measured, or no alpha" if lost(series) else ""
    figure.text(0.14 / (left + _WIDTH + _RIGHT), 0.1 / (_BOTTOM + height + _TOP), joined(holes, remark), size=8,
                color=GREY)  # fmt: skip
    return figure, (axes, bar_axes)


def prepared(history: AlphaHistory, value: str, precision: str | None) -> tuple[Series, str]:
    """Return the series cut to the size of a picture, and a note on what was left out."""
    raw = history.series(precision, "alpha" if value == "change" else value)
    series = by_category(folded(change(raw) if value == "change" else raw, MOST_LAYERS))
    shown = thinned(series, MOST_STEPS)
    return shown, joined(
        f"median of each block ({len(raw)} layers)" if len(series) < len(raw) else "",
        f"{len(shown.steps)} of them shown" if len(shown.steps) < len(series.steps) else "",
    )


def _subtitle(history: AlphaHistory, note: str) -> str:
    steps = history.steps
    tail = f"the tail of {history.changed_tail} changed its size" if history.changed_tail else ""
    span_text = f"steps {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"step {steps[0]}"
    return joined(counted(len(history.layers), "layer"), f"{counted(len(steps), 'state')}, {span_text}", note, tail)


def _heights(series: Series, height: float) -> np.ndarray:
    """Return the height of each row in units: 1, or as many as a name beside it needs."""
    enough = math.ceil(_LABEL_ROW * len(series) / height)
    return np.array([enough if named else 1 for named in series.named])


def _label_steps(axes: Axes, series: Series) -> None:
    columns = len(series.steps)
    axes.set_xlim(0, max(1, columns))
    axes.tick_params(length=2)
    widest = max((text_width(str(step), 8.5) for step in series.steps), default=0.2) + 0.15
    every = max(1, math.ceil(columns * widest / _WIDTH))
    places = range(0, columns, every)
    axes.set_xticks([i + 0.5 for i in places], [str(series.steps[i]) for i in places])
    axes.set_xlabel("step (one column per measured state)")
    for spine in axes.spines.values():
        spine.set_visible(False)


def _label_rows(
    axes: Axes, series: Series, labels: Sequence[str], edges: np.ndarray, size: tuple[float, float]
) -> None:
    """Write the categories at the left, and beside the rows their labels: names first, then blocks where they fit.

    Args:
        axes: the cells.
        series: the rows.
        labels: their labels, as they are drawn.
        edges: where each row begins, and where the last one ends.
        size: inches that the labels of rows take, and that all rows take.
    """
    beside, height = size
    axes.set_ylim(edges[-1], 0)
    starts = [0, *(i for i in range(1, len(series)) if series.categories[i] != series.categories[i - 1]), len(series)]
    for start, end in pairwise(starts):
        if start:
            axes.axhline(edges[start], color="white", linewidth=1.6)
        place = (0, (edges[start] + edges[end]) / 2), (-72 * beside, 0)
        axes.annotate(fit(series.categories[start], 2.5, 8.5), *place, xycoords="data", textcoords="offset points",
                      ha="right", va="center", size=8.5, color=INK)  # fmt: skip
    middles = (edges[:-1] + edges[1:]) / 2
    order = sorted(range(len(series)), key=lambda i: (not series.named[i], i not in starts, i))
    shown = spaced((middles * height / edges[-1]).tolist(), _LABEL_ROW, order)
    told = ["" if labels[i] == series.categories[i] else labels[i] for i in shown]  # lm_head is its own category
    axes.set_yticks([float(middles[i]) for i in shown], told, size=_LABEL)
