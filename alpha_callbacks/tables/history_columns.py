"""Columns of alpha_hill_history.csv: one row per step, layer and precision."""

import math
from collections.abc import Callable
from typing import Any

from alpha_callbacks.estimators.all_estimators import ESTIMATORS, NAMES
from alpha_callbacks.tables.table import Row

HISTORY = "alpha_hill_history.csv"
RULE_SEPARATOR = "; "  # of the alerts in a cell

OTHERS = tuple(name for name in NAMES if name not in ESTIMATORS)  # that may stand beside alpha-Hill
# Column -> (estimator, field of its fit). Those that were not asked for are empty.
ESTIMATES = {f"{name}_{field}": (name, field) for name in OTHERS for field in ("alpha", "low", "high")
             if field == "alpha" or name == "csn"}  # fmt: skip


def _of_fit(row: Row, estimator: str, field: str) -> float:
    found = next((fit for fit in row.estimates if fit.estimator == estimator), None)
    return math.nan if found is None else float(getattr(found, field))


ROW_COLUMNS: dict[str, Callable[[Row], Any]] = {
    name: (lambda row, name=name: getattr(row, name))  # type: ignore[misc]
    for name in (
        "layer_name", "category", "modality", "block", "precision", "alpha", "alpha_ratio", "status", "method",
        "alpha_error_bound", "relative_error", "k_used", "n_eigs", "stderr", "ks_distance", "spectral_norm",
        "stable_rank", "relative_size", "stored_dtype", "reason", "alpha_spread", "tail", "tail_reason",
        "solver",
    )
}  # fmt: skip
ROW_COLUMNS |= {
    column: (lambda row, of=of: _of_fit(row, *of))  # type: ignore[misc]
    for column, of in ESTIMATES.items()
}
HEADER = ["step", "epoch", "event", *ROW_COLUMNS, "drift", "drift_bound", "alerts"]
# Columns that files of earlier versions lack.
LATER = ("modality", "relative_size", "alpha_spread", "tail", "tail_reason", "solver", *ESTIMATES, "alerts")
