"""Watch the heavy-tail exponent alpha-Hill of every weight matrix, at several numeric precisions."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from alpha_callbacks._version import __version__ as __version__

if TYPE_CHECKING:  # what static checkers read; a test compares it with the table below
    from alpha_callbacks.analysis.analyze import analyze_weight as analyze_weight
    from alpha_callbacks.analysis.parallel import analyze_weights as analyze_weights
    from alpha_callbacks.checkpoints.checkpoint import Checkpoint as Checkpoint
    from alpha_callbacks.checkpoints.checkpoint import Reader as Reader
    from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint as open_checkpoint
    from alpha_callbacks.comparison.comparison import Comparison as Comparison
    from alpha_callbacks.comparison.comparison import compare as compare
    from alpha_callbacks.comparison.read_history import read_history as read_history
    from alpha_callbacks.control.control_log import ControlLog as ControlLog
    from alpha_callbacks.control.hf_control import AlphaControlTrainerCallback as AlphaControlTrainerCallback
    from alpha_callbacks.control.layerwise_control import LayerwiseControl as LayerwiseControl
    from alpha_callbacks.control.lightning_control import AlphaControlCallback as AlphaControlCallback
    from alpha_callbacks.control.parameter_groups import split_per_layer as split_per_layer
    from alpha_callbacks.control.rules import MeasuredLayer as MeasuredLayer
    from alpha_callbacks.control.rules import Rule as Rule
    from alpha_callbacks.control.rules import layer_multipliers as layer_multipliers
    from alpha_callbacks.errors import AlphaCallbacksError as AlphaCallbacksError
    from alpha_callbacks.estimators.estimator import Estimator as Estimator
    from alpha_callbacks.estimators.hill import HillFit as HillFit
    from alpha_callbacks.estimators.hill import hill_alpha as hill_alpha
    from alpha_callbacks.estimators.hill import tail_size as tail_size
    from alpha_callbacks.estimators.marchenko_pastur import alpha_null as alpha_null
    from alpha_callbacks.evaluation.evaluate import evaluate as evaluate
    from alpha_callbacks.evaluation.language_model import load_language_model as load_language_model
    from alpha_callbacks.evaluation.sensitivity import fisher_trace as fisher_trace
    from alpha_callbacks.options import AnalysisOptions as AnalysisOptions
    from alpha_callbacks.planning.export_plan import Export as Export
    from alpha_callbacks.planning.export_plan import export_plan as export_plan
    from alpha_callbacks.planning.plan import Choice as Choice
    from alpha_callbacks.planning.plan import Plan as Plan
    from alpha_callbacks.planning.plan_json import read_plan as read_plan
    from alpha_callbacks.planning.plan_json import write_plan as write_plan
    from alpha_callbacks.planning.recommend import recommend as recommend
    from alpha_callbacks.planning.recommend_options import RecommendOptions as RecommendOptions
    from alpha_callbacks.planning.recommendation import Recommendation as Recommendation
    from alpha_callbacks.planning.write_model import Rounding as Rounding
    from alpha_callbacks.planning.write_model import write_model as write_model
    from alpha_callbacks.plots.category import plot_category as plot_category
    from alpha_callbacks.plots.compare_scatter import plot_comparison as plot_comparison
    from alpha_callbacks.plots.distribution import plot_distribution as plot_distribution
    from alpha_callbacks.plots.esd_plot import plot_esd as plot_esd
    from alpha_callbacks.plots.experts import plot_experts as plot_experts
    from alpha_callbacks.plots.heatmap import plot_heatmap as plot_heatmap
    from alpha_callbacks.plots.hill_plot import plot_hill as plot_hill
    from alpha_callbacks.plots.history_heatmap import plot_history as plot_history
    from alpha_callbacks.plots.layer import plot_layer as plot_layer
    from alpha_callbacks.precisions.encoding import Encoding as Encoding
    from alpha_callbacks.precisions.precision import Family as Family
    from alpha_callbacks.precisions.precision import Precision as Precision
    from alpha_callbacks.precisions.precision import Storage as Storage
    from alpha_callbacks.precisions.registry import register as register
    from alpha_callbacks.report.scan_page import write_report as write_report
    from alpha_callbacks.scanning.merge import merge as merge
    from alpha_callbacks.scanning.scan import scan as scan
    from alpha_callbacks.scanning.write_results import Plots as Plots
    from alpha_callbacks.scanning.write_results import ScanResult as ScanResult
    from alpha_callbacks.sinks.alert import Alert as Alert
    from alpha_callbacks.sinks.sink import Host as Host
    from alpha_callbacks.sinks.sink import MemorySink as MemorySink
    from alpha_callbacks.sinks.sink import Sink as Sink
    from alpha_callbacks.sinks.sink import SinkFactory as SinkFactory
    from alpha_callbacks.sinks.snapshot import Snapshot as Snapshot
    from alpha_callbacks.tables.read_results import read_results as read_results
    from alpha_callbacks.tables.spectra_files import open_spectra as open_spectra
    from alpha_callbacks.tables.table import LayerRows as LayerRows
    from alpha_callbacks.tables.table import Row as Row
    from alpha_callbacks.tables.table import Table as Table
    from alpha_callbacks.training.alert_rules import AlertRule as AlertRule
    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback as AlphaHillTrainerCallback
    from alpha_callbacks.training.lightning_callback import AlphaHillCallback as AlphaHillCallback
    from alpha_callbacks.training.monitor import Monitor as Monitor
    from alpha_callbacks.weights.module_weights import module_inventory as module_inventory
    from alpha_callbacks.weights.stored_tensor import StoredTensor as StoredTensor
    from alpha_callbacks.weights.weight import Weight as Weight

_HOMES = {
    "Alert": "sinks.alert",
    "AlertRule": "training.alert_rules",
    "AlphaCallbacksError": "errors",
    "AlphaControlCallback": "control.lightning_control",
    "AlphaControlTrainerCallback": "control.hf_control",
    "AlphaHillCallback": "training.lightning_callback",
    "AlphaHillTrainerCallback": "training.hf_callback",
    "AnalysisOptions": "options",
    "Checkpoint": "checkpoints.checkpoint",
    "Choice": "planning.plan",
    "Comparison": "comparison.comparison",
    "ControlLog": "control.control_log",
    "Encoding": "precisions.encoding",
    "Estimator": "estimators.estimator",
    "Export": "planning.export_plan",
    "Family": "precisions.precision",
    "HillFit": "estimators.hill",
    "Host": "sinks.sink",
    "LayerRows": "tables.table",
    "LayerwiseControl": "control.layerwise_control",
    "MeasuredLayer": "control.rules",
    "MemorySink": "sinks.sink",
    "Monitor": "training.monitor",
    "Plan": "planning.plan",
    "Plots": "scanning.write_results",
    "Precision": "precisions.precision",
    "Reader": "checkpoints.checkpoint",
    "RecommendOptions": "planning.recommend_options",
    "Recommendation": "planning.recommendation",
    "Rounding": "planning.write_model",
    "Row": "tables.table",
    "Rule": "control.rules",
    "ScanResult": "scanning.write_results",
    "Sink": "sinks.sink",
    "SinkFactory": "sinks.sink",
    "Snapshot": "sinks.snapshot",
    "Storage": "precisions.precision",
    "StoredTensor": "weights.stored_tensor",
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
    "layer_multipliers": "control.rules",
    "load_language_model": "evaluation.language_model",
    "merge": "scanning.merge",
    "module_inventory": "weights.module_weights",
    "open_checkpoint": "checkpoints.open_checkpoint",
    "open_spectra": "tables.spectra_files",
    "plot_category": "plots.category",
    "plot_comparison": "plots.compare_scatter",
    "plot_distribution": "plots.distribution",
    "plot_esd": "plots.esd_plot",
    "plot_experts": "plots.experts",
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
    "split_per_layer": "control.parameter_groups",
    "tail_size": "estimators.hill",
    "write_model": "planning.write_model",
    "write_plan": "planning.plan_json",
    "write_report": "report.scan_page",
}

# Callbacks are imported by name only: `import *` would load Lightning and Transformers with all that they bring, and
# these set environment variables and touch the random state.
_CALLBACKS = {name for name, home in _HOMES.items() if home.rpartition(".")[2].startswith(("hf_", "lightning_"))}

__all__ = sorted(_HOMES.keys() - _CALLBACKS)


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import alpha_callbacks` (and `--help`) stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names, also those that are not imported yet."""
    return sorted({*globals(), *_HOMES})
