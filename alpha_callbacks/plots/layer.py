"""One layer: one bar per precision with its value, and beside it the drift from the reference."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from alpha_callbacks.plots.elements.canvas import add_axes, new_figure, style
from alpha_callbacks.plots.elements.drift import drift_of, row_of
from alpha_callbacks.plots.elements.figure_text import fit, fit_title, joined, tail_text, text_width
from alpha_callbacks.plots.elements.layer_panels import AlphaPanel, DriftPanel
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.tables.vocabulary import GREY, precision_colors

_WIDTH, _HEIGHT, _MARGIN = 8.0, 4.0, 0.14
_ALPHA_LEFT, _ALPHA_WIDTH, _DRIFT_LEFT, _DRIFT_WIDTH, _TOP = 0.68, 3.68, 5.1, 2.1, 3.12


def plot_layer(layer: LayerRows, table: Table | None = None) -> tuple[Figure, Sequence[Axes]]:
    """Draw one layer.

    Args:
        layer: its rows.
        table: gives precisions and reference; None: those of the layer.

    Returns:
        The figure and its axes: alpha, drift.
    """
    precisions = tuple(row.precision for row in layer.rows)
    return LayerCharts(table or Table((layer,), precisions)).draw(layer)


class LayerCharts:
    """Draws the layers of a table one after another into one figure, in half the time that new figures take.

    Examples:
        >>> from alpha_callbacks.tables.table import LayerRows, Row, Table
        >>> row = Row("fc", "other", None, 64, 64, "fp32", "", "fp32", "ok", alpha=3.0, alpha_null=6.0)
        >>> figure, axes = LayerCharts(Table.from_rows([row], ("fp32",))).draw(LayerRows((row,)))
        >>> axes[0].patches[0].get_height()
        3.0
    """

    def __init__(self, table: Table) -> None:
        self._precisions, self._reference = table.precisions, table.reference
        self._surely = table.surely
        self._others = [name for name in table.precisions if name != table.reference]
        with style():
            self._build(precision_colors(table.precisions))

    def draw(self, layer: LayerRows) -> tuple[Figure, Sequence[Axes]]:
        """Show this layer; returns the same figure each time, redrawn."""
        with style():
            self._alpha_panel.draw(layer)
            self._drift_panel.draw(layer)
            self._draw_words(layer)
        return self._figure, self._axes

    def _build(self, colors: dict[str, str]) -> None:
        """Make every artist once."""
        self._figure = new_figure(_WIDTH, _HEIGHT, dpi=100)
        others = {name: color for name, color in colors.items() if name != self._reference}
        longest = max(text_width(name, 8.5) for name in colors)
        turned = longest > 0.95 * _DRIFT_WIDTH / max(1, len(others))
        bottom = 0.5 + (min(longest, 1.0) if turned else 0.15)
        height = _TOP - bottom
        alpha = add_axes(self._figure, _ALPHA_LEFT, bottom, _ALPHA_WIDTH, height)
        drift = add_axes(self._figure, _DRIFT_LEFT, bottom, _DRIFT_WIDTH, height)
        self._alpha_panel = AlphaPanel(alpha, (_ALPHA_WIDTH, height), colors)
        self._drift_panel = DriftPanel(drift, (_DRIFT_WIDTH, height), others, self._reference)
        for axes, names in ((alpha, list(colors)), (drift, list(others))):
            axes.set_xticks(range(len(names)), [fit(name, 1.0, 8.5) for name in names])
            axes.tick_params(axis="x", labelrotation=90 if turned else 0)
        self._axes = (alpha, drift)
        left = _MARGIN / _WIDTH
        self._title = self._figure.text(left, 1 - 0.12 / _HEIGHT, "", weight="bold", va="top", linespacing=1.1)
        self._subtitle = self._figure.text(left, 1 - 0.44 / _HEIGHT, "", color=GREY, size=9, va="top")
        self._note = self._figure.text(left, 0.1 / _HEIGHT, "", color=GREY, size=8, va="bottom")

    def _draw_words(self, layer: LayerRows) -> None:
        first = layer.first
        room = _WIDTH - 2 * _MARGIN
        title, size = fit_title(first.layer_name, room)
        self._title.set_text(title)
        self._title.set_fontsize(size)
        subtitle = joined(
            first.group,
            f"{first.out_features} × {first.in_features}",
            f"stored as {first.stored_dtype}" if first.stored_dtype else "",
            tail_text(layer.rows),
            f"tied to {first.tied_to}" if first.tied_to else "",
        )
        self._subtitle.set_text(fit(subtitle, room, 9.0))
        self._note.set_text(fit(self._notes(layer), room, 8.0))

    def _notes(self, layer: LayerRows) -> str:
        """Explain what the picture cannot show: why an alpha is missing, what a hatched bar means."""
        rows = [row for name in self._precisions if (row := row_of(layer, name)) is not None]
        reasons = dict.fromkeys(f"{row.status}: {row.reason}" for row in rows if not row.ok and row.reason)
        if reasons:
            return joined(*reasons)
        if any(drift_of(layer, name, self._reference).kind == "bounded" for name in self._others):
            return f"hatched: not measured; the drift {self._surely} lies within ± this bound"
        return ""
