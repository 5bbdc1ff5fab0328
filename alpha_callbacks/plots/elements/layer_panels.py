"""The two panels of a layer's chart. Their artists are made once and moved from layer to layer."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator, ScalarFormatter
from matplotlib.transforms import ScaledTranslation

from alpha_callbacks.plots.elements.drift import Drift, drift_of, status_text, usable_alpha
from alpha_callbacks.plots.elements.figure_text import fit, text_width
from alpha_callbacks.tables.number_text import alpha_text
from alpha_callbacks.tables.table import LayerRows
from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK, LABELS, METRICS, NOISE

_BAR = 0.62
_FEWEST = 2  # a single bar is as wide as one of two
_STEPS = [1, 2, 2.5, 5, 10]


class AlphaPanel:
    """Bars of alpha from 0, their values, and the noise line.

    Args:
        axes: empty axes.
        size: their width and height in inches.
        colors: colour of each precision.
    """

    def __init__(self, axes: Axes, size: tuple[float, float], colors: dict[str, str]) -> None:
        self._axes, self._names = axes, list(colors)
        self._slot = size[0] / len(colors)
        self._font_size = _size_that_fits("10.1234", self._slot)
        _prepare(axes, len(colors))
        axes.set_ylabel(METRICS["alpha"].axis)
        axes.yaxis.set_label_coords(-0.46 / size[0], 0.5)  # a fixed place, so tick labels need not be measured
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        self._bars = list(axes.bar(range(len(colors)), [0] * len(colors), _BAR, color=list(colors.values())))
        self._labels = _Labels(axes, len(colors), self._font_size)
        across = axes.get_yaxis_transform()
        (self._null_line,) = axes.plot([0, 1], [0, 0], "--", color=NOISE, linewidth=0.9, zorder=3, transform=across)
        self._null_text = axes.text(1.015, 0, "", color=NOISE, size=8, va="center", transform=across)
        self._nothing = _words(axes, 11)

    def draw(self, layer: LayerRows) -> None:
        """Show this layer."""
        alphas = [usable_alpha(layer, name) for name in self._names]
        null = layer.first.alpha_null
        highest = max((value for value in (*alphas, null) if math.isfinite(value)), default=0.0)
        self._axes.set_ylim(0, 1.16 * highest if highest > 0 else 1.0)
        for i, (name, alpha) in enumerate(zip(self._names, alphas, strict=True)):
            status = status_text(layer, name)
            height = 0.0 if status else alpha
            self._bars[i].set_height(height)
            turned = bool(status) and text_width(status, self._font_size) > self._slot
            self._labels.place(i, height, status or alpha_text(alpha), word=bool(status), turned=turned)
        known = math.isfinite(null)
        self._null_line.set_visible(known)
        self._null_text.set_visible(known)
        if known:
            self._null_line.set_ydata([null, null])
            self._null_text.set_y(null)
            self._null_text.set_text(f"{LABELS['noise']}\n{null:.3f}")
        self._nothing.set_text("" if any(map(math.isfinite, alphas)) else LABELS["no_alpha"])


class DriftPanel:
    """Bars of the drift from the reference; a bound is the hatched interval that the drift lies in.

    Args:
        axes: empty axes.
        size: their width and height in inches.
        colors: colour of each precision but the reference.
        reference: what the drift is measured from.
    """

    def __init__(self, axes: Axes, size: tuple[float, float], colors: dict[str, str], reference: str) -> None:
        self._axes, self._size, self._colors, self._reference = axes, size, colors, reference
        slot = size[0] / max(1, len(colors))
        self._turned = text_width("0 (lossless)", 7.5) > slot
        self._font_size = 8.0 if self._turned else _size_that_fits("0 (lossless)", slot)
        _prepare(axes, len(colors))
        axes.yaxis.tick_right()
        axes.yaxis.set_label_position("right")
        axes.yaxis.set_label_coords(1 + 0.58 / size[0], 0.5)
        axes.spines["left"].set_visible(False)
        axes.set_ylabel(fit(METRICS["drift"].bar.format(reference=reference), 2.6, 9.0))
        axes.axhline(0, color=GREY, linewidth=0.7, zorder=1)
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
        power_once = ScalarFormatter(useOffset=False)
        power_once.set_powerlimits((0, 0))
        axes.yaxis.set_major_formatter(power_once)
        self._bars = list(axes.bar(range(len(colors)), [0] * len(colors), _BAR))
        self._labels = _Labels(axes, len(colors), self._font_size)
        if not colors:
            _words(axes, 9).set_text("one precision,\nno drift")

    def draw(self, layer: LayerRows) -> None:
        """Show this layer."""
        drifts = [drift_of(layer, name, self._reference) for name in self._colors]
        self._set_limits(drifts)
        for i, (drift, color) in enumerate(zip(drifts, self._colors.values(), strict=True)):
            _shape_bar(self._bars[i], drift, color)
            end = 0.0 if math.isnan(drift.value) else drift.value
            self._labels.place(i, end, drift.text, word=drift.kind == "none", turned=self._turned)

    def _set_limits(self, drifts: Sequence[Drift]) -> None:
        """Leave room for labels on the sides where there are some; hide the scale where all drifts are exactly 0."""
        ends = [0.0, *(drift.value for drift in drifts if drift.kind == "measured")]
        ends += [side * drift.value for drift in drifts if drift.kind == "bounded" for side in (-1, 1)]
        low, high = min(ends), max(ends)
        scaled = low < high
        if not scaled:
            low, high = -1.0, 1.0
        room = (text_width("0 (lossless)", self._font_size) if self._turned else self._font_size / 72) + 0.12
        share = room / self._size[1]
        below = any(drift.kind == "measured" and drift.value < 0 for drift in drifts)
        span = (high - low) / (1 - share * (1 + below))
        self._axes.set_ylim(low - (span * share if below else 0.04 * span), high + span * share)
        self._axes.yaxis.set_visible(scaled)
        self._axes.spines["right"].set_visible(scaled)


class _Labels:
    """One label per bar, three points above or below its end."""

    def __init__(self, axes: Axes, count: int, size: float) -> None:
        figure = axes.figure
        self._above = axes.transData + ScaledTranslation(0, 3 / 72, figure.dpi_scale_trans)
        self._below = axes.transData + ScaledTranslation(0, -3 / 72, figure.dpi_scale_trans)
        box: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.9, "pad": 0.6}
        self._texts = [axes.text(i, 0, "", size=size, ha="center", zorder=4, bbox=box) for i in range(count)]

    def place(self, i: int, y: float, text: str, *, word: bool, turned: bool) -> None:
        label = self._texts[i]
        label.set_transform(self._below if y < 0 else self._above)
        label.set_verticalalignment("top" if y < 0 else "bottom")
        label.set_y(y)
        label.set_text(text)
        label.set_color(GREY if word else INK)
        label.set_fontstyle("italic" if word else "normal")
        label.set_rotation(90 if turned else 0)


def _prepare(axes: Axes, count: int) -> None:
    missing = max(0, _FEWEST - count) / 2
    axes.set_xlim(-0.5 - missing, count - 0.5 + missing)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y", color=FAINT, linewidth=0.5)


def _words(axes: Axes, size: float) -> Text:
    return axes.text(0.5, 0.62, "", transform=axes.transAxes, ha="center", va="center", color=GREY, size=size)


def _shape_bar(bar: Rectangle, drift: Drift, color: str) -> None:
    bounded = drift.kind == "bounded"
    bar.set_visible(drift.value > 0 or drift.value < 0)  # a bar of height 0 would leave its outline
    bar.set_y(-drift.value if bounded else 0.0)
    bar.set_height(0.0 if math.isnan(drift.value) else 2 * drift.value if bounded else drift.value)
    bar.set_facecolor("white" if bounded else color)
    bar.set_edgecolor(color)
    bar.set_hatch("////" if bounded else "")


def _size_that_fits(text: str, width: float) -> float:
    """Return the largest font size from 9 down to 6.5 at which the text is narrower than `width` inches."""
    return next((size for size in (9.0, 8.5, 8.0, 7.5, 7.0) if text_width(text, size) < 0.96 * width), 6.5)
