"""The ticks of an axis as one artist: the two texts and three lines that matplotlib keeps of each are slow."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.markers import TICKDOWN, TICKLEFT, TICKRIGHT, MarkerStyle
from matplotlib.text import Text
from matplotlib.ticker import FixedFormatter, FixedLocator

from alpha_callbacks.tables.vocabulary import FAINT, GREY, INK

_MARKS = {"bottom": TICKDOWN, "left": TICKLEFT, "right": TICKRIGHT}
_ANCHORS = {"bottom": ("center", "top"), "left": ("right", "center_baseline"), "right": ("left", "center_baseline")}


class LightTicks(Artist):
    """Draws the major ticks of one axis where its locator and formatter have them, in place of the axis itself.

    Args:
        axes: the axes.
        side: where the labels are.
        size: font size of the labels in points.
        length: of a tick, in points; 0: none.
        pad: between tick and label, in points.
        width: of a tick, in points.
        grid: draw a line across the axes at each tick.
    """

    def __init__(
        self, axes: Axes, side: Literal["bottom", "left", "right"], *, size: float, length: float = 3.5,
        pad: float = 3.5, width: float = 0.8, grid: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self._home, self._side = axes, side
        self._away = length + pad
        self._axis = axes.xaxis if side == "bottom" else axes.yaxis
        self._axis.set_visible(False)
        self._grid = Line2D([], [], color=FAINT, linewidth=0.8) if grid else None
        self._mark = Line2D([], [], color=GREY, marker=MarkerStyle(_MARKS[side]), markersize=length, linestyle="",
                            markeredgewidth=width) if length else None  # fmt: skip
        across, along = _ANCHORS[side]
        self._label = Text(size=size, color=INK, ha=across, va=along)
        for part in (self._grid, self._mark, self._label):
            if part is not None:
                part.set_figure(axes.figure)
        self.set_zorder(0.5)
        axes.add_artist(self)

    def draw(self, renderer: Any) -> None:
        """Draw grid, ticks and labels."""
        low, high = sorted(self._axis.get_view_interval())
        places = np.asarray(self._axis.get_majorticklocs(), dtype=float)
        texts = self._axis.get_major_formatter().format_ticks(list(places))
        room = 1e-9 * (high - low)
        shown = (places >= low - room) & (places <= high + room)
        places, texts = places[shown], [text for text, kept in zip(texts, shown, strict=True) if kept]
        box, upright = self._home.bbox, self._side == "bottom"
        transform = self._home.get_xaxis_transform() if upright else self._home.get_yaxis_transform()
        edge = float(self._side == "right")
        pairs = [(place, 0.0) if upright else (edge, place) for place in places]
        spots = transform.transform(pairs) if pairs else np.zeros((0, 2))
        if self._grid is not None:
            for x, y in spots:
                self._grid.set_data(*(([x, x], [box.y0, box.y1]) if upright else ([box.x0, box.x1], [y, y])))
                self._grid.draw(renderer)
        if self._mark is not None:
            self._mark.set_data(spots[:, 0], spots[:, 1])
            self._mark.draw(renderer)
        away = self._away * renderer.dpi / 72
        shift = {"bottom": (0.0, -away), "left": (-away, 0.0), "right": (away, 0.0)}[self._side]
        for spot, text in zip(spots + shift, texts, strict=True):
            self._label.set_position(spot)
            self._label.set_text(text)
            self._label.draw(renderer)


def set_ticks(axes: Axes, which: Literal["x", "y"], places: Sequence[float], labels: Sequence[str]) -> None:
    """Do what `axes.set_xticks` and `axes.set_yticks` do without making a tick."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(list(places)))
    axis.set_major_formatter(FixedFormatter(list(labels)))
