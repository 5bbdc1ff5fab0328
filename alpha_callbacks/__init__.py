"""Watch the heavy-tail exponent alpha-Hill of every weight matrix, at several numeric precisions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alpha_callbacks.analyze import analyze_weight
    from alpha_callbacks.checkpoint import open_checkpoint
    from alpha_callbacks.errors import AlphaCallbacksError
    from alpha_callbacks.estimators import HillFit, hill_alpha, tail_size
    from alpha_callbacks.hf_callback import AlphaHillTrainerCallback
    from alpha_callbacks.lightning_callback import AlphaHillCallback
    from alpha_callbacks.loop import analyze_weights
    from alpha_callbacks.monitor import Monitor
    from alpha_callbacks.null import alpha_null
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.plots.category import plot_category
    from alpha_callbacks.plots.distribution import plot_distribution
    from alpha_callbacks.plots.esd import plot_esd
    from alpha_callbacks.plots.heatmap import plot_heatmap
    from alpha_callbacks.plots.hill import plot_hill
    from alpha_callbacks.plots.layer import plot_layer
    from alpha_callbacks.precision import Precision, register
    from alpha_callbacks.results import Plots, ScanResult
    from alpha_callbacks.scanner import merge, scan
    from alpha_callbacks.sinks import Host, MemorySink, Sink
    from alpha_callbacks.snapshot import Snapshot
    from alpha_callbacks.sources import module_inventory
    from alpha_callbacks.spectra import open_spectra
    from alpha_callbacks.table import LayerRows, Row, Table
    from alpha_callbacks.weight import Weight

__version__ = "0.1.0"

_HOMES = {
    "AlphaCallbacksError": "errors",
    "AlphaHillCallback": "lightning_callback",
    "AlphaHillTrainerCallback": "hf_callback",
    "AnalysisOptions": "options",
    "HillFit": "estimators",
    "Host": "sinks",
    "LayerRows": "table",
    "MemorySink": "sinks",
    "Monitor": "monitor",
    "Plots": "results",
    "Precision": "precision",
    "Row": "table",
    "ScanResult": "results",
    "Sink": "sinks",
    "Snapshot": "snapshot",
    "Table": "table",
    "Weight": "weight",
    "alpha_null": "null",
    "analyze_weight": "analyze",
    "analyze_weights": "loop",
    "hill_alpha": "estimators",
    "merge": "scanner",
    "module_inventory": "sources",
    "open_checkpoint": "checkpoint",
    "open_spectra": "spectra",
    "plot_category": "plots.category",
    "plot_distribution": "plots.distribution",
    "plot_esd": "plots.esd",
    "plot_heatmap": "plots.heatmap",
    "plot_hill": "plots.hill",
    "plot_layer": "plots.layer",
    "register": "precision",
    "scan": "scanner",
    "tail_size": "estimators",
}

__all__ = [
    "AlphaCallbacksError",
    "AlphaHillCallback",
    "AlphaHillTrainerCallback",
    "AnalysisOptions",
    "HillFit",
    "Host",
    "LayerRows",
    "MemorySink",
    "Monitor",
    "Plots",
    "Precision",
    "Row",
    "ScanResult",
    "Sink",
    "Snapshot",
    "Table",
    "Weight",
    "alpha_null",
    "analyze_weight",
    "analyze_weights",
    "hill_alpha",
    "merge",
    "module_inventory",
    "open_checkpoint",
    "open_spectra",
    "plot_category",
    "plot_distribution",
    "plot_esd",
    "plot_heatmap",
    "plot_hill",
    "plot_layer",
    "register",
    "scan",
    "tail_size",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import alpha_callbacks` (and `--help`) stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
