"""Comparison -> its charts as files."""

from collections.abc import Sequence
from pathlib import Path

from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.plots.compare_heatmap import plot_comparison_heatmap
from alpha_callbacks.plots.compare_scatter import plot_comparison
from alpha_callbacks.plots.compare_sorted import plot_comparison_sorted
from alpha_callbacks.plots.elements.canvas import check_formats, save

_CHARTS = {
    "comparison_scatter": plot_comparison,
    "comparison_heatmap": plot_comparison_heatmap,
    "comparison_sorted": plot_comparison_sorted,
}


def draw_comparison(comparison: Comparison, directory: Path, *, formats: Sequence[str] = ("png",)) -> list[Path]:
    """Write every chart of a comparison and return the files.

    Raises:
        OptionError: unknown format.
    """
    check_formats(formats)
    return [path for name, plot in _CHARTS.items() for path in save(plot(comparison)[0], directory / name, formats)]
