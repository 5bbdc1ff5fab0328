"""The drift panel under the alphas of a category: markers for what was measured, "≤" for what is only bounded."""

import math
from collections.abc import Iterable, Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from alpha_callbacks.plots.elements.drift import scale_drift_axis
from alpha_callbacks.plots.elements.figure_text import fit
from alpha_callbacks.plots.elements.layer_groups import Group, median
from alpha_callbacks.plots.elements.legend import Handle, add_legend, say
from alpha_callbacks.tables.table import Table
from alpha_callbacks.tables.vocabulary import GREY, METRICS

_MARKERS = {"measured": "o", "lossless": "s", "bounded": "$≤$"}
_SIZES = {"measured": 3.5, "lossless": 3.0, "bounded": 6.0}
_WORDS = {
    "measured": "measured",
    "lossless": "0 (lossless, same bits)",
    "bounded": "not measured, {surely} within ± this",
}


def draw_drift_panel(
    axes: Axes,
    groups: Sequence[Group],
    table: Table,
    colors: dict[str, str],
    offsets: Mapping[str, float],
    size: tuple[float, float],
) -> None:
    """Draw the drift of every group and precision.

    Args:
        axes: the panel; group i stands at x = i.
        groups: from `group_layers`.
        table: gives precisions and reference.
        colors: colour of each precision.
        offsets: precision -> its place inside a group; the reference has none.
        size: width and height of the panel in inches.
    """
    places = {name: (colors[name], offset) for name, offset in offsets.items()}
    kinds, scale = draw_drifts(axes, groups, table, places, max_ticks=8)
    if not kinds:
        axes.lines[-1].remove()  # of 0
        axes.yaxis.set_visible(False)
        axes.spines["left"].set_visible(False)
        say(axes, "no drift to show" if len(table.precisions) > 1 else "one precision, no drift", size=9)
        return
    note = "\n(symlog scale)" if scale == "symlog" else ""
    axes.set_ylabel(fit(METRICS["drift"].axis.format(reference=table.reference), size[1] + 0.3, 9.0) + note)
    add_legend(axes, [_key(kind, groups, table.surely) for kind in kinds], *size)


def draw_drifts(
    axes: Axes,
    groups: Sequence[Group],
    table: Table,
    places: Mapping[str, tuple[str, float]],
    *,
    max_ticks: int,
    kinds: Iterable[str] = tuple(_MARKERS),
) -> tuple[list[str], str]:
    """Draw the drifts of precisions as markers, and scale the axis to them. A bar would need a scale that begins at 0.

    Args:
        axes: the panel; group i stands at x = i.
        groups: from `group_layers`.
        table: gives the reference.
        places: precision -> its colour, and its place inside a group; the reference is left out.
        max_ticks: most ticks wanted.
        kinds: the kinds of drift to draw, see `Drift`.

    Returns:
        The kinds found, and the scale of the axis.
    """
    found: dict[str, None] = {}
    values: list[float] = []
    for precision, (color, offset) in places.items():
        if precision == table.reference:
            continue
        drifts = [group.drifts(precision, table.reference) for group in groups]
        for kind in kinds:
            of_kind = [[drift.value for drift in of_group if drift.kind == kind] for of_group in drifts]
            if any(of_kind):
                found[kind] = None
                values += _draw_kind(axes, kind, of_kind, offset, color)
    axes.axhline(0, color=GREY, linewidth=0.7, zorder=1)
    return list(found), scale_drift_axis(axes, "y", values, max_ticks=max_ticks)


def _draw_kind(axes: Axes, kind: str, of_kind: Sequence[Sequence[float]], offset: float, color: str) -> list[float]:
    """Draw one kind of drift of one precision and return the values that the axis must show."""
    # The largest of several bounds holds for all of them; several measurements are shown by their median.
    middle = [(max(values) if kind == "bounded" else median(values)) if values else math.nan for values in of_kind]
    at = [i + offset for i in range(len(of_kind))]
    axes.plot(
        at,
        middle,
        linestyle="",
        marker=_MARKERS[kind],
        color=color,
        markersize=_SIZES[kind],
        markerfacecolor="white" if kind == "lossless" else color,
        markeredgewidth=0.2 if kind == "bounded" else 0.8,
        zorder=3,
        label=kind,
    )
    if kind != "measured":
        return [value for value in middle if value > 0]
    spread = [(x, min(values), max(values)) for x, values in zip(at, of_kind, strict=True) if len(values) > 1]
    if spread:
        axes.vlines(*zip(*spread, strict=True), color=color, linewidth=0.9)
    return [value for values in of_kind for value in values]


def _key(kind: str, groups: Sequence[Group], surely: str) -> Handle:
    several = any(len(group.layers) > 1 for group in groups)
    words = _WORDS[kind].format(surely=surely)
    words += " (median, smallest to largest)" if several and kind == "measured" else ""
    face = "white" if kind == "lossless" else GREY
    size = _SIZES[kind] + 0.5
    return Line2D(
        [], [], color=GREY, marker=_MARKERS[kind], markerfacecolor=face, markersize=size, linestyle="", label=words,
        markeredgewidth=0.2 if kind == "bounded" else 0.8,
    )  # fmt: skip
