"""Charts of a table with matplotlib. `import alpha_callbacks` does not import this package."""

from alpha_callbacks.plots.batch import plot_batch
from alpha_callbacks.plots.canvas import precision_colors, save
from alpha_callbacks.plots.category import plot_category
from alpha_callbacks.plots.distribution import plot_distribution
from alpha_callbacks.plots.draw import draw_all, safe_file_name
from alpha_callbacks.plots.heatmap import plot_heatmap
from alpha_callbacks.plots.layer import LayerCharts, plot_layer

__all__ = [
    "LayerCharts",
    "draw_all",
    "plot_batch",
    "plot_category",
    "plot_distribution",
    "plot_heatmap",
    "plot_layer",
    "precision_colors",
    "safe_file_name",
    "save",
]
