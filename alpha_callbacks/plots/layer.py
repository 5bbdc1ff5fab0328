"""One layer: a bar a precision with its value, and beside it the drift from the reference."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import ScaledTranslation

from alpha_callbacks.plots.canvas import FAINT, GREY, INK, NOISE, add_axes, new_figure, precision_colors, style
from alpha_callbacks.plots.drift import Drift, drift_of, row_of, scientific, status_text, usable_alpha
from alpha_callbacks.plots.text import alpha_text, fit, fit_title, joined, tail_text, text_width
from alpha_callbacks.table import LayerRows, Table

_WIDTH, _HEIGHT = 8.0, 4.0
_LEFT, _ALPHA_WIDTH, _DRIFT_LEFT, _DRIFT_WIDTH, _PANEL_TOP = 0.68, 3.68, 5.1, 2.1, 3.12
_BAR = 0.62
_FEWEST = 2  # a lone bar is not drawn wider than one of two


def plot_layer(layer: LayerRows, table: Table) -> tuple[Figure, Sequence[Axes]]:
    """Draw one layer.

    Returns:
        The figure and its axes: alpha, drift.
    """
    return LayerCharts(table).draw(layer)


class LayerCharts:
    """Draws the layers of a table one after the other into one figure: a new figure each time takes four times as long.

    Example:
        >>> from alpha_callbacks.table import LayerRows, Row, Table
        >>> row = Row("fc", "other", None, 64, 64, "fp32", "", "fp32", "ok", alpha=3.0, alpha_null=6.0)
        >>> figure, axes = LayerCharts(Table.from_rows([row], ("fp32",))).draw(LayerRows((row,)))
        >>> axes[0].patches[0].get_height()
        3.0
    """

    def __init__(self, table: Table) -> None:
        self._precisions = table.precisions
        self._reference = table.reference
        self._others = [name for name in table.precisions if name != table.reference]
        with style():
            self._build()

    def draw(self, layer: LayerRows) -> tuple[Figure, Sequence[Axes]]:
        """Show this layer; the figure is the one returned before, changed."""
        with style():
            self._draw_alpha(layer)
            self._draw_drift(layer)
            self._draw_words(layer)
        return self._figure, (self._alpha_axes, self._drift_axes)

    def _build(self) -> None:
        """Make every artist once."""
        colors = precision_colors(self._precisions)
        self._figure = new_figure(_WIDTH, _HEIGHT, dpi=100)
        names = [fit(name, 1.0, 8.5) for name in self._precisions]
        longest = max(text_width(name, 8.5) for name in names)
        self._turned_names = longest > 0.95 * _DRIFT_WIDTH / max(1, len(self._others))
        self._bottom = 0.5 + (min(longest, 1.0) if self._turned_names else 0.15)
        self._alpha_axes = self._panel(_LEFT, _ALPHA_WIDTH, self._precisions)
        self._drift_axes = self._panel(_DRIFT_LEFT, _DRIFT_WIDTH, self._others)
        self._alpha_axes.set_ylabel("alpha (tail exponent, no unit)")
        self._alpha_axes.yaxis.set_label_coords(-0.46 / _ALPHA_WIDTH, 0.5)  # a fixed place spares measuring all ticks
        self._alpha_axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        self._drift_axes.yaxis.tick_right()
        self._drift_axes.yaxis.set_label_position("right")
        self._drift_axes.spines["left"].set_visible(False)
        self._drift_axes.spines["right"].set_visible(True)
        self._drift_axes.set_ylabel(fit(f"alpha − alpha({self._reference}) (no unit)", 2.6, 9.0))
        self._drift_axes.yaxis.set_label_coords(1 + 0.58 / _DRIFT_WIDTH, 0.5)
        self._drift_axes.axhline(0, color=GREY, linewidth=0.7, zorder=1)
        self._drift_axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        self._drift_axes.yaxis.set_major_formatter(scientific())

        self._alpha_bars = list(
            self._alpha_axes.bar(range(len(names)), [0] * len(names), _BAR, color=[colors[n] for n in self._precisions])
        )
        self._drift_bars = list(self._drift_axes.bar(range(len(self._others)), [0] * len(self._others), _BAR))
        self._drift_colors = [colors[name] for name in self._others]
        alpha_size = _size_that_fits("10.1234", _ALPHA_WIDTH / len(names))
        self._alpha_texts = self._labels(self._alpha_axes, len(names), alpha_size)
        drift_slot = _DRIFT_WIDTH / max(1, len(self._others))
        self._turned_drift = text_width("0 (lossless)", 7.5) > drift_slot
        drift_size = 8.0 if self._turned_drift else _size_that_fits("0 (lossless)", drift_slot)
        self._drift_texts = self._labels(self._drift_axes, len(self._others), drift_size)
        (self._null_line,) = self._alpha_axes.plot([0, 1], [0, 0], "--", color=NOISE, linewidth=0.9, zorder=3)
        self._null_line.set_transform(self._alpha_axes.get_yaxis_transform())
        self._null_text = self._alpha_axes.text(
            1.015, 0, "", color=NOISE, size=8, va="center", transform=self._alpha_axes.get_yaxis_transform()
        )
        middle = {"ha": "center", "va": "center", "color": GREY, "size": 11}
        self._no_alpha = self._alpha_axes.text(0.5, 0.62, "", transform=self._alpha_axes.transAxes, **middle)
        self._no_drift = self._drift_axes.text(0.5, 0.62, "", transform=self._drift_axes.transAxes, **middle)
        self._no_drift.set_size(9)
        left = 0.14 / _WIDTH
        self._title = self._figure.text(left, 1 - 0.12 / _HEIGHT, "", weight="bold", va="top", linespacing=1.1)
        self._subtitle = self._figure.text(left, 1 - 0.44 / _HEIGHT, "", color=GREY, size=9, va="top")
        self._note = self._figure.text(left, 0.1 / _HEIGHT, "", color=GREY, size=8, va="bottom")

    def _panel(self, left: float, width: float, names: Sequence[str]) -> Axes:
        axes = add_axes(self._figure, left, self._bottom, width, _PANEL_TOP - self._bottom)
        turned = {"rotation": 90} if self._turned_names else {}
        axes.set_xticks(range(len(names)), [fit(name, 1.0, 8.5) for name in names], **turned)
        axes.tick_params(axis="x", length=0)
        missing = max(0, _FEWEST - len(names)) / 2
        axes.set_xlim(-0.5 - missing, len(names) - 0.5 + missing)
        axes.grid(axis="y", color=FAINT, linewidth=0.5)
        return axes

    def _labels(self, axes: Axes, count: int, size: float) -> list[Text]:
        """Return one empty label a bar; `_place` puts it 3 points above or below its value."""
        self._above = ScaledTranslation(0, 3 / 72, self._figure.dpi_scale_trans)
        self._below = ScaledTranslation(0, -3 / 72, self._figure.dpi_scale_trans)
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.6}
        return [axes.text(i, 0, "", size=size, ha="center", zorder=4, bbox=box) for i in range(count)]

    def _draw_alpha(self, layer: LayerRows) -> None:
        axes = self._alpha_axes
        alphas = [usable_alpha(layer, name) for name in self._precisions]
        null = layer.first.alpha_null
        highest = max((value for value in (*alphas, null) if math.isfinite(value)), default=0.0)
        axes.set_ylim(0, 1.16 * highest if highest > 0 else 1.0)
        for bar, label, alpha, name in zip(self._alpha_bars, self._alpha_texts, alphas, self._precisions, strict=True):
            status = status_text(layer, name)
            bar.set_height(0.0 if status else alpha)
            self._place(axes, label, 0.0 if status else alpha, status or alpha_text(alpha), word=bool(status))
            narrow = bool(status) and text_width(status, label.get_fontsize()) > _ALPHA_WIDTH / len(alphas)
            label.set_rotation(90 if narrow else 0)
        known = math.isfinite(null)
        self._null_line.set_data([0, 1], [null, null] if known else [0, 0])
        self._null_line.set_visible(known)
        self._null_text.set_visible(known)
        if known:
            self._null_text.set_y(null)
            self._null_text.set_text(f"noise (MP)\n{null:.3f}")
        self._no_alpha.set_text("" if any(map(math.isfinite, alphas)) else "no usable alpha")

    def _draw_drift(self, layer: LayerRows) -> None:
        axes = self._drift_axes
        drifts = [drift_of(layer, name, self._reference) for name in self._others]
        self._drift_limits(drifts)
        for i, drift in enumerate(drifts):
            bar, label, color = self._drift_bars[i], self._drift_texts[i], self._drift_colors[i]
            _shape_bar(bar, drift, color)
            end = 0.0 if math.isnan(drift.value) else drift.value
            self._place(axes, label, end, drift.text, word=drift.kind == "none")
            label.set_rotation(90 if self._turned_drift else 0)
        self._no_drift.set_text("" if drifts else "one precision,\nno drift")

    def _drift_limits(self, drifts: Sequence[Drift]) -> None:
        """Leave room for labels on the sides where there are some; hide the scale where all drifts are exactly 0."""
        ends = [drift.value for drift in drifts if drift.kind == "measured"]
        ends += [side * drift.value for drift in drifts if drift.kind == "bounded" for side in (-1, 1)]
        low, high = min(ends, default=0.0), max(ends, default=0.0)
        low, high = min(low, 0.0), max(high, 0.0)
        if low == high:
            low, high = -1.0, 1.0
        size = self._drift_texts[0].get_fontsize() if self._drift_texts else 8.0
        room = (text_width("0 (lossless)", size) if self._turned_drift else size / 72) + 0.12
        share = room / (_PANEL_TOP - self._bottom)
        below = any(drift.kind == "measured" and drift.value < 0 for drift in drifts)
        span = (high - low) / (1 - share * (1 + below))
        axes = self._drift_axes
        axes.set_ylim(low - (span * share if below else 0.04 * span), high + span * share)
        axes.yaxis.set_visible(any(ends))
        axes.spines["right"].set_visible(any(ends))

    def _draw_words(self, layer: LayerRows) -> None:
        first = layer.first
        room = _WIDTH - 0.28
        title, size = fit_title(first.layer_name, room)
        self._title.set_text(title)
        self._title.set_size(size)
        subtitle = joined(
            first.category,
            f"{first.out_features} × {first.in_features}",
            f"stored as {first.stored_dtype}" if first.stored_dtype else "",
            tail_text(layer.rows),
            f"tied to {first.tied_to}" if first.tied_to else "",
        )
        self._subtitle.set_text(fit(subtitle, room, 9.0))
        self._note.set_text(fit(self._notes(layer), room, 8.0))

    def _notes(self, layer: LayerRows) -> str:
        """Say what the picture cannot: why an alpha is missing, what a hatched bar means."""
        reasons = {
            f"{row.status}: {row.reason}": None
            for name in self._precisions
            if (row := row_of(layer, name)) is not None and not row.ok and row.reason
        }
        if reasons:
            return joined(*reasons)
        if any(drift_of(layer, name, self._reference).kind == "bounded" for name in self._others):
            return "hatched: not measured; the drift is proved to lie within ± this bound"
        return ""

    def _place(self, axes: Axes, label: Text, y: float, text: str, *, word: bool) -> None:
        label.set_transform(axes.transData + (self._below if y < 0 else self._above))
        label.set_va("top" if y < 0 else "bottom")
        label.set_y(y)
        label.set_text(text)
        label.set_color(GREY if word else INK)
        label.set_style("italic" if word else "normal")


def _shape_bar(bar: Rectangle, drift: Drift, color: str) -> None:
    """Show a measured drift solid from 0; a bound as the hatched interval that the drift lies in."""
    bounded = drift.kind == "bounded"
    bar.set_y(-drift.value if bounded else 0.0)
    bar.set_height(0.0 if math.isnan(drift.value) else 2 * drift.value if bounded else drift.value)
    bar.set_visible(bool(drift.value > 0 or drift.value < 0))  # a bar of height 0 would leave its outline
    bar.set_facecolor("white" if bounded else color)
    bar.set_edgecolor(color)
    bar.set_hatch("////" if bounded else "")


def _size_that_fits(text: str, width: float) -> float:
    """Return the largest font size of 9 to 6.5 at which the text is narrower than `width` inches."""
    sizes = (9.0, 8.5, 8.0, 7.5, 7.0)
    return next((size for size in sizes if text_width(text, size) < 0.96 * width), 6.5)
