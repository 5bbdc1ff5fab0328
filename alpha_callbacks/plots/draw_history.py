"""A training history -> its charts as files."""

from collections.abc import Sequence
from pathlib import Path

from alpha_callbacks.comparison.read_history import AlphaHistory
from alpha_callbacks.plots.elements.canvas import check_formats, save
from alpha_callbacks.plots.history_heatmap import plot_history
from alpha_callbacks.plots.history_lines import plot_history_lines


def draw_history(
    history: AlphaHistory, directory: Path, *, precision: str | None = None, formats: Sequence[str] = ("png",)
) -> list[Path]:
    """Write heat map and lines of alpha and of its change since the start; return the files.

    Raises:
        OptionError: unknown format or precision.
    """
    check_formats(formats)
    paths: list[Path] = []
    for value in ("alpha", "change"):
        for name, plot in (("heatmap", plot_history), ("lines", plot_history_lines)):
            paths += save(plot(history, value, precision)[0], directory / f"history_{name}_{value}", formats)
    return paths
