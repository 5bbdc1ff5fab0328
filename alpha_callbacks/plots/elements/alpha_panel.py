"""The panel of a category's alphas, in a file or on a card: bars, the noise line, values, limits."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from alpha_callbacks.plots.elements.bars import Series, draw_alphas
from alpha_callbacks.plots.elements.layer_groups import Group, median
from alpha_callbacks.plots.elements.legend import say
from alpha_callbacks.tables.number_text import alpha_text
from alpha_callbacks.tables.vocabulary import LABELS, NOISE

_LABEL_BOX = {"facecolor": "white", "edgecolor": "none", "alpha": 0.92, "pad": 0.5}


@dataclass(frozen=True)
class PanelLook:
    """What depends on the size of a picture.

    Attributes:
        merged: draw all bars of a precision as one artist, which is much faster.
        noise_width: width of the noise line in points.
        most_printed: groups up to which their values are printed.
        room: inches that a value needs above its bar.
        text_size: font size of the values.
        upright: write values from bottom to top, where a bar is narrower than its value.
    """

    merged: bool
    noise_width: float
    most_printed: int
    room: float
    text_size: float
    upright: bool


FILE_LOOK = PanelLook(merged=False, noise_width=0.9, most_printed=24, room=0.55, text_size=7.0, upright=True)
CARD_LOOK = PanelLook(merged=True, noise_width=1.5, most_printed=8, room=0.2, text_size=8.0, upright=False)


def draw_alpha_panel(
    axes: Axes, groups: Sequence[Group], bars: Sequence[Series], reference: str, *, height: float, look: PanelLook
) -> None:
    """Draw the alphas of a category on an axis from 0.

    Args:
        axes: the panel; group i stands at x = i.
        groups: from `group_layers`.
        bars: from `make_series`.
        reference: the precision whose values are printed where there is no room for all.
        height: of the panel in inches.
        look: `FILE_LOOK` or `CARD_LOOK`.
    """
    draw_alphas(axes, groups, bars, merged=look.merged, labelled=len(groups) <= FILE_LOOK.most_printed)
    _draw_noise(axes, groups, look.noise_width)
    tops = [_highest_alpha(group, bars) for group in groups]
    tallest = max(tops, default=0.0)
    printed = len(groups) <= look.most_printed and height > 1.5 * look.room
    room = tallest / (1 - look.room / height) if printed else 0.0
    noise = [group.alpha_null for group in groups if math.isfinite(group.alpha_null)]
    axes.set_ylim(0, max(1.06 * max(tallest, *noise, 0.0), room) or 1.0)
    if tallest == 0:
        say(axes, LABELS["no_alpha"])
    elif printed:
        _print_alphas(axes, groups, bars, tops, reference, look)


def _highest_alpha(group: Group, bars: Sequence[Series]) -> float:
    return max((alpha for series in bars for alpha in group.alphas(series.precision)), default=0.0)


def _draw_noise(axes: Axes, groups: Sequence[Group], width: float) -> None:
    """Draw the noise value as one dashed line over all neighbours that share it."""
    nulls = [group.alpha_null for group in groups]
    start = 0
    for end in range(1, len(nulls) + 1):
        if end == len(nulls) or nulls[end] != nulls[start]:
            axes.hlines(nulls[start], start - 0.5, end - 0.5, color=NOISE, linewidth=width, linestyle="--", zorder=3)
            start = end


def _print_alphas(
    axes: Axes, groups: Sequence[Group], bars: Sequence[Series], tops: Sequence[float], reference: str, look: PanelLook
) -> None:
    """Print values where they fit: over each bar, else that of the reference over each group."""
    each = all(series.inches >= 0.13 for series in bars) and all(len(group.layers) == 1 for group in groups)
    for i, (group, top) in enumerate(zip(groups, tops, strict=True)):
        for x, name in [(i + s.offset, s.precision) for s in bars] if each else [(float(i), reference)]:
            value = median(group.alphas(name))
            if math.isfinite(value):
                axes.annotate(
                    alpha_text(value),
                    (x, value if each else top),
                    (0, 4),
                    textcoords="offset points",
                    size=look.text_size,
                    rotation=90 if look.upright else 0,
                    ha="center",
                    va="bottom",
                    bbox=_LABEL_BOX,
                    zorder=4,
                )
