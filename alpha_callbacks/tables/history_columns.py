"""Columns of alpha_hill_history.csv: one row per step, layer and precision."""

from collections.abc import Callable
from typing import Any

from alpha_callbacks.tables.table import Row

HISTORY = "alpha_hill_history.csv"
RULE_SEPARATOR = "; "  # of the alerts in a cell

ROW_COLUMNS: dict[str, Callable[[Row], Any]] = {
    name: (lambda row, name=name: getattr(row, name))  # type: ignore[misc]
    for name in (
        "layer_name", "category", "modality", "block", "precision", "alpha", "alpha_ratio", "status", "method",
        "alpha_error_bound", "relative_error", "k_used", "n_eigs", "stderr", "ks_distance", "spectral_norm",
        "stable_rank", "relative_size", "stored_dtype", "reason", "alpha_spread", "tail", "tail_reason",
    )
}  # fmt: skip
HEADER = ["step", "epoch", "event", *ROW_COLUMNS, "drift", "drift_bound", "alerts"]
# Columns that files of earlier versions lack.
LATER = ("modality", "relative_size", "alpha_spread", "tail", "tail_reason", "alerts")
