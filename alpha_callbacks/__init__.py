"""Watch the heavy-tail exponent alpha-Hill of every weight matrix, at several numeric precisions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from alpha_callbacks.analyze import analyze_weight
    from alpha_callbacks.checkpoint import open_checkpoint
    from alpha_callbacks.comparing.comparison import Comparison, compare
    from alpha_callbacks.comparing.history_reader import read_history
    from alpha_callbacks.csv_reader import read_results
    from alpha_callbacks.errors import AlphaCallbacksError
    from alpha_callbacks.estimators import HillFit, hill_alpha, tail_size
    from alpha_callbacks.evaluation.evaluate import evaluate
    from alpha_callbacks.evaluation.language_model import load_language_model
    from alpha_callbacks.evaluation.sensitivity import fisher_trace
    from alpha_callbacks.hf_callback import AlphaHillTrainerCallback
    from alpha_callbacks.lightning_callback import AlphaHillCallback
    from alpha_callbacks.loop import analyze_weights
    from alpha_callbacks.monitor import Monitor
    from alpha_callbacks.null import alpha_null
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.planning.exporters import export_plan
    from alpha_callbacks.planning.options import RecommendOptions
    from alpha_callbacks.planning.plan import Choice, Plan
    from alpha_callbacks.planning.plan_files import read_plan, write_plan
    from alpha_callbacks.planning.recommend import Recommendation, recommend
    from alpha_callbacks.planning.writers import write_model
    from alpha_callbacks.plots.category import plot_category
    from alpha_callbacks.plots.compare_scatter import plot_comparison
    from alpha_callbacks.plots.distribution import plot_distribution
    from alpha_callbacks.plots.esd import plot_esd
    from alpha_callbacks.plots.heatmap import plot_heatmap
    from alpha_callbacks.plots.hill import plot_hill
    from alpha_callbacks.plots.history_heatmap import plot_history
    from alpha_callbacks.plots.layer import plot_layer
    from alpha_callbacks.precision import Precision, register
    from alpha_callbacks.report.build import write_report
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
    "Choice": "planning.plan",
    "Comparison": "comparing.comparison",
    "HillFit": "estimators",
    "Host": "sinks",
    "LayerRows": "table",
    "MemorySink": "sinks",
    "Monitor": "monitor",
    "Plan": "planning.plan",
    "Plots": "results",
    "Precision": "precision",
    "RecommendOptions": "planning.options",
    "Recommendation": "planning.recommend",
    "Row": "table",
    "ScanResult": "results",
    "Sink": "sinks",
    "Snapshot": "snapshot",
    "Table": "table",
    "Weight": "weight",
    "alpha_null": "null",
    "analyze_weight": "analyze",
    "analyze_weights": "loop",
    "compare": "comparing.comparison",
    "evaluate": "evaluation.evaluate",
    "export_plan": "planning.exporters",
    "fisher_trace": "evaluation.sensitivity",
    "hill_alpha": "estimators",
    "load_language_model": "evaluation.language_model",
    "merge": "scanner",
    "module_inventory": "sources",
    "open_checkpoint": "checkpoint",
    "open_spectra": "spectra",
    "plot_category": "plots.category",
    "plot_comparison": "plots.compare_scatter",
    "plot_distribution": "plots.distribution",
    "plot_esd": "plots.esd",
    "plot_heatmap": "plots.heatmap",
    "plot_hill": "plots.hill",
    "plot_history": "plots.history_heatmap",
    "plot_layer": "plots.layer",
    "read_history": "comparing.history_reader",
    "read_plan": "planning.plan_files",
    "read_results": "csv_reader",
    "recommend": "planning.recommend",
    "register": "precision",
    "scan": "scanner",
    "tail_size": "estimators",
    "write_model": "planning.writers",
    "write_plan": "planning.plan_files",
    "write_report": "report.build",
}

__all__ = [
    "AlphaCallbacksError",
    "AlphaHillCallback",
    "AlphaHillTrainerCallback",
    "AnalysisOptions",
    "Choice",
    "Comparison",
    "HillFit",
    "Host",
    "LayerRows",
    "MemorySink",
    "Monitor",
    "Plan",
    "Plots",
    "Precision",
    "RecommendOptions",
    "Recommendation",
    "Row",
    "ScanResult",
    "Sink",
    "Snapshot",
    "Table",
    "Weight",
    "alpha_null",
    "analyze_weight",
    "analyze_weights",
    "compare",
    "evaluate",
    "export_plan",
    "fisher_trace",
    "hill_alpha",
    "load_language_model",
    "merge",
    "module_inventory",
    "open_checkpoint",
    "open_spectra",
    "plot_category",
    "plot_comparison",
    "plot_distribution",
    "plot_esd",
    "plot_heatmap",
    "plot_hill",
    "plot_history",
    "plot_layer",
    "read_history",
    "read_plan",
    "read_results",
    "recommend",
    "register",
    "scan",
    "tail_size",
    "write_model",
    "write_plan",
    "write_report",
]


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import alpha_callbacks` (and `--help`) stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
