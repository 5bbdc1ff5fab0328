"""The colour scales of `vocabulary.SCALES` for matplotlib, and the bar that explains one."""

from collections.abc import Callable
from functools import cache

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, Locator

from alpha_callbacks.tables.vocabulary import SCALES, Scale


@cache
def color_map(scale: Scale) -> Colormap:
    """Return a scale as a colour map."""
    return LinearSegmentedColormap.from_list(scale, SCALES[scale])


def color_scale(scale: Scale, low: float, high: float) -> ScalarMappable:
    """Return the colours of numbers from `low` to `high`."""
    return ScalarMappable(Normalize(low, high), color_map(scale))


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
