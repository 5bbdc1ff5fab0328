"""Watch the heavy-tail exponent alpha-Hill of every weight matrix, at several numeric precisions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alpha_callbacks._version import __version__ as __version__

if TYPE_CHECKING:
    from alpha_callbacks.analysis.analyze import analyze_weight
    from alpha_callbacks.analysis.parallel import analyze_weights
    from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
    from alpha_callbacks.comparison.comparison import Comparison, compare
    from alpha_callbacks.comparison.read_history import read_history
    from alpha_callbacks.errors import AlphaCallbacksError
    from alpha_callbacks.estimators.hill import HillFit, hill_alpha, tail_size
    from alpha_callbacks.estimators.marchenko_pastur import alpha_null
    from alpha_callbacks.evaluation.evaluate import evaluate
    from alpha_callbacks.evaluation.language_model import load_language_model
    from alpha_callbacks.evaluation.sensitivity import fisher_trace
    from alpha_callbacks.options import AnalysisOptions
    from alpha_callbacks.planning.export_plan import export_plan
    from alpha_callbacks.planning.plan import Choice, Plan
    from alpha_callbacks.planning.plan_json import read_plan, write_plan
    from alpha_callbacks.planning.recommend import recommend
    from alpha_callbacks.planning.recommend_options import RecommendOptions
    from alpha_callbacks.planning.recommendation import Recommendation
    from alpha_callbacks.planning.write_model import write_model
    from alpha_callbacks.plots.category import plot_category
    from alpha_callbacks.plots.compare_scatter import plot_comparison
    from alpha_callbacks.plots.distribution import plot_distribution
    from alpha_callbacks.plots.esd_plot import plot_esd
    from alpha_callbacks.plots.heatmap import plot_heatmap
    from alpha_callbacks.plots.hill_plot import plot_hill
    from alpha_callbacks.plots.history_heatmap import plot_history
    from alpha_callbacks.plots.layer import plot_layer
    from alpha_callbacks.precisions.precision import Precision
    from alpha_callbacks.precisions.registry import register
    from alpha_callbacks.report.scan_page import write_report
    from alpha_callbacks.scanning.scan import merge, scan
    from alpha_callbacks.scanning.write_results import Plots, ScanResult
    from alpha_callbacks.sinks.sink import Host, MemorySink, Sink
    from alpha_callbacks.sinks.snapshot import Snapshot
    from alpha_callbacks.tables.read_results import read_results
    from alpha_callbacks.tables.spectra_files import open_spectra
    from alpha_callbacks.tables.table import LayerRows, Row, Table
    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
    from alpha_callbacks.training.lightning_callback import AlphaHillCallback
    from alpha_callbacks.training.monitor import Monitor
    from alpha_callbacks.weights.module_weights import module_inventory
    from alpha_callbacks.weights.weight import Weight

_HOMES = {
    "AlphaCallbacksError": "errors",
    "AlphaHillCallback": "training.lightning_callback",
    "AlphaHillTrainerCallback": "training.hf_callback",
    "AnalysisOptions": "options",
    "Choice": "planning.plan",
    "Comparison": "comparison.comparison",
    "HillFit": "estimators.hill",
    "Host": "sinks.sink",
    "LayerRows": "tables.table",
    "MemorySink": "sinks.sink",
    "Monitor": "training.monitor",
    "Plan": "planning.plan",
    "Plots": "scanning.write_results",
    "Precision": "precisions.precision",
    "RecommendOptions": "planning.recommend_options",
    "Recommendation": "planning.recommendation",
    "Row": "tables.table",
    "ScanResult": "scanning.write_results",
    "Sink": "sinks.sink",
    "Snapshot": "sinks.snapshot",
    "Table": "tables.table",
    "Weight": "weights.weight",
    "alpha_null": "estimators.marchenko_pastur",
    "analyze_weight": "analysis.analyze",
    "analyze_weights": "analysis.parallel",
    "compare": "comparison.comparison",
    "evaluate": "evaluation.evaluate",
    "export_plan": "planning.export_plan",
    "fisher_trace": "evaluation.sensitivity",
    "hill_alpha": "estimators.hill",
    "load_language_model": "evaluation.language_model",
    "merge": "scanning.scan",
    "module_inventory": "weights.module_weights",
    "open_checkpoint": "checkpoints.open_checkpoint",
    "open_spectra": "tables.spectra_files",
    "plot_category": "plots.category",
    "plot_comparison": "plots.compare_scatter",
    "plot_distribution": "plots.distribution",
    "plot_esd": "plots.esd_plot",
    "plot_heatmap": "plots.heatmap",
    "plot_hill": "plots.hill_plot",
    "plot_history": "plots.history_heatmap",
    "plot_layer": "plots.layer",
    "read_history": "comparison.read_history",
    "read_plan": "planning.plan_json",
    "read_results": "tables.read_results",
    "recommend": "planning.recommend",
    "register": "precisions.registry",
    "scan": "scanning.scan",
    "tail_size": "estimators.hill",
    "write_model": "planning.write_model",
    "write_plan": "planning.plan_json",
    "write_report": "report.scan_page",
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
