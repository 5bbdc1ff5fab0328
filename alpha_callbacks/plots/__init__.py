"""Charts with matplotlib. `import alpha_callbacks` does not import this package.

Each function returns a figure and its axes. None uses pyplot or changes a setting of the process: in a notebook run
`%matplotlib inline` once, and make the figure the last value of a cell.
"""

from alpha_callbacks.foreign_text import safe_file_name
from alpha_callbacks.plots.batch import plot_batch
from alpha_callbacks.plots.category import plot_category
from alpha_callbacks.plots.distribution import plot_distribution
from alpha_callbacks.plots.draw_scan import draw_all
from alpha_callbacks.plots.elements.canvas import save
from alpha_callbacks.plots.esd_plot import plot_esd
from alpha_callbacks.plots.experts import plot_experts
from alpha_callbacks.plots.heatmap import plot_heatmap
from alpha_callbacks.plots.hill_plot import plot_hill
from alpha_callbacks.plots.layer import LayerCharts, plot_layer
from alpha_callbacks.tables.vocabulary import precision_colors

__all__ = [
    "LayerCharts",
    "draw_all",
    "plot_batch",
    "plot_category",
    "plot_distribution",
    "plot_esd",
    "plot_experts",
    "plot_heatmap",
    "plot_hill",
    "plot_layer",
    "precision_colors",
    "safe_file_name",
    "save",
]
