"""The colour scales of `vocabulary.SCALES` for matplotlib, and the bar that explains one."""

import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator

from alpha_callbacks.tables.vocabulary import CUT, CUT_FROM, LABELS, LEAST_AROUND, SCALES, Scale

_REMARKS = {"diverging": "change_ends", "around": "around_ends"}


class Ends(NamedTuple):
    """Ends of a colour scale; `clipped` is True if some values lie beyond them."""

    low: float
    high: float
    clipped: bool


def color_ends(values: Iterable[float], scale: Scale) -> Ends | None:
    """Return where the colours of these values end; pages follow the same rule (`AH.ends`).

    A diverging scale is as long on both sides of 0, one around the median on both sides of that. None: no finite value,
    or, on a diverging scale, nothing but 0.

    Examples:
        >>> color_ends([3.0, float("nan"), 5.0], "sequential")
        Ends(low=3.0, high=5.0, clipped=False)
        >>> color_ends([0.5, -2.0], "diverging")
        Ends(low=-2.0, high=2.0, clipped=False)
        >>> color_ends([9.0, 10.0, 10.0, 12.0], "around"), color_ends([10.0, 10.0], "around")
        (Ends(low=8.0, high=12.0, clipped=False), Ends(low=9.5, high=10.5, clipped=False))
        >>> color_ends([0.0] * 60 + [1.0, 9.0], "diverging"), color_ends([0.0], "diverging")
        (Ends(low=-1.0, high=1.0, clipped=True), None)
    """
    found = np.array([value for value in values if math.isfinite(value)])
    if not found.size:
        return None
    middle = float(np.sort(found)[_place(0.5, found.size)]) if scale == "around" else 0.0
    ordered = np.sort(found if scale in ("sequential", "error") else np.abs(found - middle))
    cut = CUT if found.size > CUT_FROM else 0.0
    low, high = (float(ordered[_place(share, found.size)]) for share in (cut, 1 - cut))
    smallest, largest = float(ordered[0]), float(ordered[-1])
    if scale == "diverging":
        high = high or float(ordered[ordered > 0].min(initial=largest))  # most did not change: still show which did
        return Ends(-high, high, largest > high) if high else None
    if scale == "around":
        reach = max(high, LEAST_AROUND * abs(middle)) or 0.5
        return Ends(middle - reach, middle + reach, largest > reach)
    if low == high:  # of nearly all: show the rest as well
        low, high = smallest, largest
    if low == high:
        low, high = low - (abs(low) or 1.0) / 2, high + (abs(high) or 1.0) / 2
    return Ends(low, high, smallest < low or largest > high)


def _place(share: float, count: int) -> int:
    """Return the index of a quantile in sorted values, without interpolation: pages find the same number."""
    return math.floor(share * (count - 1) + 0.5)


def remark_on(ends: Ends, scale: Scale) -> str:
    """Return what a picture must say of the ends of its colours."""
    return LABELS[_REMARKS.get(scale, "color_ends")] if ends.clipped else ""


@cache
def color_map(scale: Scale) -> Colormap:
    """Return a scale as a colour map."""
    return LinearSegmentedColormap.from_list(scale, SCALES[scale])


def color_scale(values: Iterable[float], scale: Scale) -> tuple[ScalarMappable | None, str]:
    """Return the colours of these values, None if there is none, and a remark where some lie beyond their ends."""
    ends = color_ends(values, scale)
    if ends is None:
        return None, ""
    return ScalarMappable(Normalize(ends.low, ends.high), color_map(scale)), remark_on(ends, scale)


def add_color_bar(
    figure: Figure,
    axes: Axes,
    scale: ScalarMappable | None,
    label: str = "",
    *,
    places: Locator | None = None,
    text: Callable[[float, int | None], str] | None = None,
    clipped: bool = False,
) -> None:
    """Draw the bar that explains a colour scale.

    Args:
        figure: the figure.
        axes: the place of the bar; hidden where there is no scale.
        scale: the colours.
        label: what the numbers are.
        places: where its ticks are.
        text: what its ticks say.
        clipped: True if some values lie beyond the ends.
    """
    if scale is None:
        axes.set_axis_off()
        return
    bar = figure.colorbar(scale, cax=axes, extend="both" if clipped else "neither")
    bar.outline.set_visible(False)
    if places is not None:
        bar.locator = places
    if text is not None:
        bar.formatter = FuncFormatter(text)
    bar.update_ticks()
    if label:
        bar.set_label(label)
