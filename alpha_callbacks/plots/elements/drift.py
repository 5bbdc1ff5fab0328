"""The drift of an alpha from the reference as far as it is known, and an axis to show it on."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from alpha_callbacks.tables.number_text import bound_text, drift_text
from alpha_callbacks.tables.table import LayerRows, Row

_LINEAR_DECADES = 2.0  # over a wider range than this, small values would vanish on a linear axis


@dataclass(frozen=True)
class Drift:
    """Drift of one precision of one layer.

    Attributes:
        kind: "measured"; "lossless" (same bits, exactly 0); "bounded" (only |drift| <= value is known); "none".
        value: the drift, or the bound where kind is "bounded"; nan where kind is "none".
        text: what to print.
    """

    kind: Literal["measured", "lossless", "bounded", "none"]
    value: float
    text: str


def row_of(layer: LayerRows, precision: str) -> Row | None:
    """Return the row of this precision, None where a layer has none."""
    return next((row for row in layer.rows if row.precision == precision), None)


def usable_alpha(layer: LayerRows, precision: str) -> float:
    """Return alpha, nan where there is none to show."""
    row = row_of(layer, precision)
    return row.alpha if row is not None and row.ok and math.isfinite(row.alpha) else math.nan


def status_text(layer: LayerRows, precision: str) -> str:
    """Return why there is no alpha, "" where there is one."""
    row = row_of(layer, precision)
    if row is None:
        return "missing"
    if not row.ok:
        return row.status
    return "" if math.isfinite(row.alpha) else "no alpha"


def drift_of(layer: LayerRows, precision: str, reference: str) -> Drift:
    """Return alpha(precision) - alpha(reference), or its bound.

    A shared alpha with an error bound is never reported as a measured 0.
    """
    for name in (precision, reference):
        status = status_text(layer, name)
        if status:
            return Drift("none", math.nan, status if name == precision else f"no {reference} alpha")
    bound = layer.drift_bound(precision, reference)
    if math.isfinite(bound):
        return Drift("bounded", bound, bound_text(bound))
    drift = layer.drift(precision, reference)
    if not math.isfinite(drift):
        return Drift("none", math.nan, "unknown")
    if layer[precision].method == layer[reference].method == "lossless":
        return Drift("lossless", 0.0, "0 (lossless)")
    return Drift("measured", drift, drift_text(drift))


def scale_drift_axis(
    axes: Axes, which: Literal["x", "y"], values: Sequence[float], *, max_ticks: int
) -> Literal["linear", "symlog"]:
    """Scale an axis to signed values: linear, or symlog where most of them are decades apart.

    Args:
        axes: the axes.
        which: the axis.
        values: everything drawn along it; zeros and nan are allowed.
        max_ticks: most ticks wanted.

    Returns:
        The scale chosen, for the axis label.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    set_limits = axes.set_xlim if which == "x" else axes.set_ylim
    finite = [value for value in values if math.isfinite(value) and value != 0]
    if not finite:  # nothing but exact zeros
        set_limits(-1, 1)
        axis.set_major_locator(FixedLocator([0]))
        axis.set_major_formatter(FuncFormatter(tick_text))
        return "linear"
    low, high = min(0.0, *finite), max(0.0, *finite)
    largest = max(-low, high)
    smallest = float(np.percentile(np.abs(finite), 10))  # a percentile, as a single drift near 0 would stretch the axis
    axis.set_major_formatter(FuncFormatter(tick_text))
    if math.log10(largest / smallest) <= _LINEAR_DECADES:
        margin = 0.12 * (high - low)
        set_limits(low - margin, high + margin)
        axis.set_major_locator(tick_places(max_ticks))
        return "linear"
    first, last = math.floor(math.log10(smallest)), math.ceil(math.log10(largest))
    (axes.set_xscale if which == "x" else axes.set_yscale)("symlog", linthresh=10.0**first, linscale=1.0)
    step = math.ceil((last - first) / max(1, (max_ticks - 1) // ((low < 0) + (high > 0))))
    decades = [10.0**power for power in range(last, first, -step)]
    axis.set_major_locator(FixedLocator([side * d for side in (-1, 0, 1) for d in (decades if side else [0.0])]))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(tick_text))  # again: set_scale replaced it
    edge, rest = 2 * 10.0**last, 0.6 * 10.0**first
    set_limits(-edge if low < 0 else -rest, edge if high > 0 else rest)
    return "symlog"


def tick_text(value: float, position: int | None = None) -> str:
    """Return a tick label in scientific notation, without an exponent of 0.

    Examples:
        >>> tick_text(-2e-9), tick_text(1.5e-3), tick_text(-1.0), tick_text(0.0)
        ('-2e-09', '1.5e-03', '-1', '0')
    """
    del position  # matplotlib's, not needed
    return f"{value:.1e}".replace(".0e", "e").replace("e+00", "") if value else "0"


def tick_places(most: int) -> MaxNLocator:
    """Return a locator whose ticks need no more digits than `tick_text` writes."""
    return MaxNLocator(most - 1, steps=[1, 2, 5, 10])
