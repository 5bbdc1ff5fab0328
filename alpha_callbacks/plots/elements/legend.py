"""Legends and headings that know their size before they are drawn."""

import math
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from alpha_callbacks.plots.elements.figure_text import fit, plain, text_width
from alpha_callbacks.tables.vocabulary import GREY, INK, LABELS, NOISE

Handle = Patch | Line2D

_SIZE = 8.5
_BESIDE = 0.42  # inches that the key and the gaps of one entry take
_ROW = 0.175
_ABOVE = 0.07  # gap between axes and legend


def precision_handles(colors: dict[str, str], *, dots: Collection[str] = (), crosses: bool) -> list[Handle]:
    """Return the legend of an alpha panel: precisions, the noise line, and the cross for a missing alpha.

    Args:
        colors: precision -> colour.
        dots: the precisions that are drawn as dots; the others are bars.
        crosses: whether there are crosses.
    """
    handles: list[Handle] = []
    for name, color in colors.items():
        label = fit(name, 1.4, _SIZE)
        dot = Line2D([], [], color=color, marker="o", markersize=4, linestyle="", label=label)
        handles.append(dot if name in dots else Patch(color=color, label=label))
    handles.append(Line2D([], [], color=NOISE, linestyle="--", linewidth=0.9, label=LABELS["noise"]))
    if crosses:
        handles.append(Line2D([], [], color=GREY, marker="x", linestyle="", markersize=4, label="no alpha"))
    return handles


def legend_height(handles: Sequence[Handle], width: float) -> float:
    """Return the height of the legend that `add_legend` draws."""
    return _ROW * math.ceil(len(handles) / _columns(handles, width)) if handles else 0.0


def add_legend(axes: Axes, handles: Sequence[Handle], width: float, height: float) -> None:
    """Put a legend over axes of this size in inches, left aligned, in as many rows as it needs."""
    if not handles:
        return
    columns = _columns(handles, width)
    axes.legend(
        handles=_by_row(handles, columns),
        ncols=columns,
        loc="lower left",
        bbox_to_anchor=(0, 1 + _ABOVE / height),
        borderaxespad=0,
        borderpad=0,
        handlelength=1.4,
        handletextpad=0.5,
        columnspacing=1.3,
        labelspacing=0.3,
    )


def add_heading(figure: Figure, title: str, subtitle: str) -> None:
    """Write title and subtitle at the upper left; they take 0.6 inches."""
    width, height = figure.get_size_inches()
    for text, size, top, weight, color in (
        (title, 12.0, 0.12, "bold", INK),
        (subtitle, 9.0, 0.4, "normal", GREY),
    ):
        line = fit(text, width - 0.28, size, weight=weight)
        figure.text(0.14 / width, 1 - top / height, line, size=size, weight=weight, color=color, va="top")


def say(axes: Axes, text: str, *, size: float = 11.0) -> None:
    """Write a text into the middle of a panel that has nothing to show."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 3}
    axes.text(0.5, 0.6, plain(text), transform=axes.transAxes, ha="center", va="center", color=GREY, size=size,
              bbox=box, zorder=5)  # fmt: skip


def _columns(handles: Sequence[Handle], width: float) -> int:
    widths = [text_width(str(handle.get_label()), _SIZE) + _BESIDE for handle in handles]
    if sum(widths) <= width:
        return len(handles)
    return max(1, min(len(handles), int(width / max(widths))))


def _by_row(handles: Sequence[Handle], columns: int) -> list[Handle]:
    """Return the handles so that matplotlib, which fills columns, shows them in reading order."""
    full, rest = divmod(len(handles), columns)
    lengths = [full + (column < rest) for column in range(columns)]
    return [handles[row * columns + column] for column in range(columns) for row in range(lengths[column])]
