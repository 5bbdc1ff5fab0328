"""One category as a card, for a picture 400 pixels wide: the reference as bars, other precisions as dots of drift."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from alpha_callbacks.plots.cards.card_frame import (
    BOTTOM,
    DPI,
    HEADING,
    HEIGHT,
    INNER,
    LEFT,
    SIZE,
    WIDTH,
    add_title,
    label_blocks,
)
from alpha_callbacks.plots.elements.alpha_panel import CARD_LOOK, draw_alpha_panel
from alpha_callbacks.plots.elements.bars import Series, draw_crosses, make_series, set_groups
from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, styled
from alpha_callbacks.plots.elements.drift import drift_of, status_text
from alpha_callbacks.plots.elements.drift_panel import draw_drifts
from alpha_callbacks.plots.elements.figure_text import fit, joined
from alpha_callbacks.plots.elements.layer_groups import Group, group_layers
from alpha_callbacks.plots.elements.legend import add_legend, legend_height, precision_handles
from alpha_callbacks.plots.elements.light_ticks import LightTicks, set_ticks
from alpha_callbacks.tables.number_text import bound_text, counted
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.tables.vocabulary import GREY, INK, METRICS, precision_colors
from alpha_callbacks.weights.layer_names import UPDATE

_DRIFT_HEIGHT, _GAP, _LINE = 0.8, 0.25, 0.18
_NARROWEST_BAR, _MOST_DPI = 2.0, 320  # pixels


@styled
def bar_card(table: Table, category: str, title: str = "") -> tuple[Figure, Sequence[Axes]]:
    """Draw the layers of one category, block by block.

    Bars show the reference alone: side by side, alphas of several precisions look equal. Measured drifts have a panel
    of their own; drifts that are zero or only bounded are stated in words.

    Args:
        table: the rows.
        category: the layers to draw.
        title: put after the category, such as "step 1000".

    Returns:
        The figure and its axes: alpha and, if there is one, drift.
    """
    layers = [layer for layer in table.layers if layer.first.group == category]
    groups = group_layers(layers)
    copies = _copies(layers, table)  # equal bars beside one another would say no more than the remark
    shown = [name for name in table.precisions if name not in copies]
    bars, others = ([name for name in shown if (name == table.reference) == bar] for bar in (True, False))
    remarks = shared_remarks(layers, table)
    if any(len(group.layers) > 1 for group in groups):
        remarks.append("median of each block, quartiles, smallest to largest")
    measured = any(drift_of(layer, name, table.reference).kind == "measured" for name in others for layer in layers)
    crosses = any(not group.alphas(name) for group in groups for name in (shown if measured else bars))
    colors = precision_colors(shown)
    dots = [name for name in others if measured]
    handles = precision_handles({name: colors[name] for name in [*bars, *dots]}, dots=dots, crosses=crosses)
    over = HEADING + legend_height(handles, INNER)
    bottom = BOTTOM + _LINE * len(remarks)
    panel = _DRIFT_HEIGHT + _GAP if measured else 0.0
    height = max(0.5, HEIGHT - bottom - panel - over)

    series = make_series(bars, len(groups), INNER)
    figure = new_figure(WIDTH, HEIGHT, dpi=_dpi(series))
    axes = [add_axes(figure, LEFT, bottom + panel, INNER, height)]
    _draw_alphas(axes[0], groups, table, series, height)
    add_title(figure, joined(category, title), WIDTH - 0.2)
    add_legend(axes[0], handles, INNER, height)
    if measured:
        axes.append(add_axes(figure, LEFT, bottom, INNER, _DRIFT_HEIGHT))
        _draw_drift_panel(axes[1], groups, table, make_series(others, len(groups), INNER))
    _label_groups(axes, groups)
    for i, remark in enumerate(reversed(remarks)):
        line = fit(remark, WIDTH - 0.2, SIZE)
        figure.text(0.1 / WIDTH, (0.06 + i * _LINE) / HEIGHT, line, size=SIZE, color=GREY)
    return figure, axes


def _copies(layers: Sequence[LayerRows], table: Table) -> list[str]:
    """Return the precisions at which every layer that has an alpha at the reference has the same bits."""
    reference = table.reference
    known = [layer for layer in layers if not status_text(layer, reference)]
    others = [name for name in table.precisions if name != reference and known]
    return [name for name in others if all(drift_of(each, name, reference).kind == "lossless" for each in known)]


def shared_remarks(layers: Sequence[LayerRows], table: Table) -> list[str]:
    """Return one line per statement on which precisions have the alpha of the reference, exactly or within a bound."""
    reference = table.reference
    same = _copies(layers, table)
    partly: list[str] = []
    for name in table.precisions:
        alone = sum(bool(status_text(layer, reference)) and not status_text(layer, name) for layer in layers)
        if alone:
            partly.append(f"{name}: {counted(alone, 'layer')} with an alpha where {reference} has none")
    within, worst = list[str](), 0.0
    for name in table.precisions:
        drifts = [(layer, drift) for layer in layers if (drift := drift_of(layer, name, reference)).kind != "none"]
        if name in (reference, *same) or not drifts:
            continue
        kinds = {drift.kind for _, drift in drifts}
        bounds = [(layer, drift.value) for layer, drift in drifts if drift.kind == "bounded"]
        largest = max((bound for _, bound in bounds), default=0.0)
        if bounds and "measured" not in kinds:
            within.append(name)
            worst = max(worst, largest)
        elif bounds:
            partly.append(f"{name}: {counted(len(bounds), 'layer')} not measured, within {_bound(largest)}")
    return [
        *([f"{', '.join(same)}: same bits as {reference}, same alpha"] if same else []),
        *([f"{', '.join(within)}: same as {reference} within {_bound(worst)} (proved)"] if within else []),
        *partly,
    ]


def _bound(bound: float) -> str:
    return bound_text(bound).removeprefix("≤ ")


def _dpi(bars: Sequence[Series]) -> int:
    """Return pixels per inch: more where a hundred blocks would leave no pixels for a bar."""
    narrowest = min((series.inches for series in bars), default=1.0)
    return min(_MOST_DPI, max(DPI, math.ceil(_NARROWEST_BAR / narrowest)))


def _draw_alphas(axes: Axes, groups: Sequence[Group], table: Table, bars: Sequence[Series], height: float) -> None:
    draw_alpha_panel(axes, groups, bars, table.reference, height=height, look=CARD_LOOK)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.annotate(METRICS["alpha"].title, (0.1 / WIDTH, 0.5), xycoords=("figure fraction", "axes fraction"), size=SIZE,
                  rotation=90, va="center")  # fmt: skip


def _draw_drift_panel(axes: Axes, groups: Sequence[Group], table: Table, dots: Sequence[Series]) -> None:
    """Draw the measured drifts, and a cross where there is no alpha; other drifts are told in words."""
    places = {series.precision: (series.color, series.offset) for series in dots}
    _, scale = draw_drifts(axes, groups, table, places, max_ticks=4, kinds=["measured"])
    for series in dots:
        lost = [i + series.offset for i, group in enumerate(groups) if not group.alphas(series.precision)]
        draw_crosses(axes, lost, series.color)
    words = f"drift: {METRICS['drift'].axis.format(reference=table.reference)}" + (
        ", symlog scale" if scale == "symlog" else ""
    )
    axes.annotate(fit(words, INNER, SIZE), (0, 1), (0, 3), xycoords="axes fraction", textcoords="offset points",
                  size=SIZE, color=INK)  # fmt: skip


def _label_groups(panels: Sequence[Axes], groups: Sequence[Group]) -> None:
    """Label the x-axis: every group if there are few, else round numbers of blocks."""
    for axes in panels:
        set_groups(axes, len(groups))
        LightTicks(axes, "left", size=SIZE, grid=True)
        axes.xaxis.set_visible(False)
    bottom, blocks = panels[-1], [group.layers[0].first.block for group in groups]
    if len(groups) > CARD_LOOK.most_printed:
        label_blocks(bottom, blocks)
    else:
        labels = [fit(group.label.removesuffix(UPDATE), 0.95 * INNER / max(len(groups), 5), SIZE) for group in groups]
        set_ticks(bottom, "x", range(len(groups)), labels)
        LightTicks(bottom, "bottom", size=SIZE, length=0)
