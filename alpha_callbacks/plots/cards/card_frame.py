"""The frame of a card: its size, heading, and the x-axis of blocks."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import TICKDOWN

from alpha_callbacks.plots.elements.figure_text import fit
from alpha_callbacks.plots.elements.light_ticks import LightTicks, set_ticks
from alpha_callbacks.tables.vocabulary import GREY, INK

# TensorBoard 2.21 shows an image 350 pixels wide (IMAGES) or in a box of 395 x 210 (TIME SERIES), and downsamples it
# without smoothing. Hence the shape of that box, and a width of 700 pixels: every second one is kept, and bars keep
# their widths.
WIDTH, HEIGHT, DPI = 5.0, 2.75, 140
LEFT, RIGHT, BOTTOM, HEADING = 0.6, 0.1, 0.28, 0.34
INNER = WIDTH - LEFT - RIGHT
SIZE, TITLE_SIZE = 9.0, 11.0
_TICKS_APART = 0.42  # inches


def add_title(figure: Figure, text: str, width: float) -> None:
    """Write the title at the upper left."""
    line = fit(text, width, TITLE_SIZE, weight="bold")
    figure.text(0.1 / WIDTH, 1 - 0.09 / HEIGHT, line, size=TITLE_SIZE, weight="bold", color=INK, va="top")


def label_blocks(axes: Axes, blocks: Sequence[int | None], *, start: float = 0.0, ticks: bool = True) -> None:
    """Label an x-axis of blocks at round numbers, far enough apart to be readable.

    Args:
        axes: the axes, about `INNER` wide.
        blocks: the block at x = start, start + 1, ...; None outside blocks.
        start: see `blocks`.
        ticks: a short tick at every place.
    """
    apart = 2 ** math.ceil(math.log2(max(1.0, _TICKS_APART * len(blocks) / INNER)))
    first = [i for i, block in enumerate(blocks) if i == 0 or block != blocks[i - 1]]
    shown = [i for i in first if (blocks[i] or 0) % apart == 0]
    names = ["outside" if blocks[i] is None else str(blocks[i]) for i in shown]
    set_ticks(axes, "x", [i + start for i in shown], names)
    LightTicks(axes, "bottom", size=SIZE, length=5, width=1, pad=2)
    if ticks:  # one artist; minor ticks would take more time than the bars
        axes.plot([i + start for i in range(len(blocks))], [0.0] * len(blocks), marker=TICKDOWN, markersize=2.5,
                  linestyle="", color=GREY, clip_on=False, transform=axes.get_xaxis_transform())  # fmt: skip
    axes.annotate("block", (0.1 / WIDTH, 0), (0, -72 * (BOTTOM - 0.07)), xycoords=("figure fraction", "axes fraction"),
                  textcoords="offset points", size=SIZE, color=INK)  # fmt: skip
