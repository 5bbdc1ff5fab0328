"""What the charts of one spectrum share: the frame, and the ticks of the logarithmic x-axis."""

import math

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from alpha_callbacks.plots.elements.canvas import add_axes, new_figure
from alpha_callbacks.plots.elements.legend import add_heading
from alpha_callbacks.plots.elements.spectrum_subject import Subject
from alpha_callbacks.tables.vocabulary import FAINT

_WIDTH = 6.4


def spectrum_axes(what: Subject, height: float, x: str, y: str) -> tuple[Figure, Axes]:
    """Return a figure with the heading of a spectrum, and its axes with these labels."""
    figure = new_figure(_WIDTH, height)
    axes = add_axes(figure, 0.8, 0.6, _WIDTH - 1.0, height - 1.35)
    axes.set_xscale("log")
    axes.grid(color=FAINT, linewidth=0.5)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    add_heading(figure, what.title, what.subtitle)
    return figure, axes


def set_x_range(axes: Axes, left: float, right: float) -> None:
    """Show this part of a logarithmic x-axis, with two or more ticks at round numbers whose labels do not overlap."""
    axes.set_xlim(left, right)
    decades = math.log10(right / left)
    steps = (1.0,) if decades > 4 else (1.0, 2.0, 5.0) if decades > 0.8 else (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 7.0)
    axes.xaxis.set_major_locator(LogLocator(subs=steps, numticks=20))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())  # dozens of ticks without labels would take a third of the time
