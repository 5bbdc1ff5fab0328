"""A comparison as CSV: one row per layer, and statistics per category."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from alpha_callbacks.comparison.comparison import Comparison
from alpha_callbacks.comparison.other_estimators import other_delta, shared_estimators
from alpha_callbacks.comparison.paired_layers import Pair
from alpha_callbacks.comparison.paired_statistics import COMPARISON_COLUMNS, by_category, summarize_deltas
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.tables.results_csv import bound_cell, cell
from alpha_callbacks.tables.table import Row
from alpha_callbacks.utils.atomic_files import write_text

COMPARISON = "comparison.csv"
COMPARISON_SUMMARY = "comparison_summary.csv"

_DIGITS = 12
_YES = {True: "yes", False: "no"}
_OTHER = ("alpha_a", "alpha_b", "delta", "moved")  # of each other estimator
_PAIR: dict[str, Callable[[Pair], Any]] = {
    "layer_name": lambda pair: pair.row.layer_name,
    "category": lambda pair: pair.row.category,
    "modality": lambda pair: pair.row.modality,
    "block": lambda pair: pair.row.block,
    "side": lambda pair: pair.side,
    "alpha_a": lambda pair: pair.a.alpha if pair.a else None,
    "alpha_b": lambda pair: pair.b.alpha if pair.b else None,
    "delta": lambda pair: pair.delta,
    "delta_error": lambda pair: pair.delta_error,
    "delta_in_stderr": lambda pair: pair.delta_in_stderr,
    "alpha_ratio_a": lambda pair: pair.a.alpha_ratio if pair.a else None,
    "alpha_ratio_b": lambda pair: pair.b.alpha_ratio if pair.b else None,
    "delta_ratio": lambda pair: pair.delta_ratio,
    "relative_error": lambda pair: pair.relative_error,
    "sqnr_db": lambda pair: pair.sqnr_db,
    "reason": lambda pair: pair.reason,
    "delta_spread": lambda pair: pair.spread,
    "moved": lambda pair: _YES[pair.moved] if pair.ok else "",
}
_BOTH: dict[str, Callable[[Row], Any]] = {
    name: (lambda row, name=name: getattr(row, name))  # type: ignore[misc]
    for name in (
        "out_features", "in_features", "precision", "status", "method", "k_used", "n_eigs", "threshold", "stderr",
        "ks_distance", "spectral_norm", "stable_rank", "stored_dtype", "tied_to", "layer_name", "tail",
    )
}  # fmt: skip
_FEW = {"delta_spread": 4, "delta_in_stderr": 4}
_UNKNOWN = {"out_features": 0, "in_features": 0}  # of a history, whose file has no shapes


def comparison_header(estimators: Sequence[str] = ()) -> list[str]:
    """Return the columns of comparison.csv of two tables that have fits of these other estimators."""
    both = [f"{name}_{side}" for name in _BOTH for side in ("a", "b")]
    return [*_PAIR, *both, *(f"{name}_{what}" for name in estimators for what in _OTHER)]


def write_comparison(comparison: Comparison, directory: Path) -> None:
    """Write comparison.csv (every layer, also those on one side only) and comparison_summary.csv."""
    estimators = shared_estimators(comparison)
    lines = [_line(pair, estimators) for pair in comparison.pairs]
    write_text(directory / COMPARISON, csv_text([comparison_header(estimators), *lines]))
    summaries = [summarize_deltas(comparison.pairs), *by_category(comparison)]
    rows = [[cell(getattr(summary, name), _DIGITS) for name in COMPARISON_COLUMNS] for summary in summaries]
    write_text(directory / COMPARISON_SUMMARY, csv_text([list(COMPARISON_COLUMNS), *rows]))


def _line(pair: Pair, estimators: Sequence[str]) -> list[Any]:
    line = [
        bound_cell(value(pair)) if name == "delta_error" else cell(value(pair), _FEW.get(name, _DIGITS))
        for name, value in _PAIR.items()
    ]
    for name, value in _BOTH.items():
        for row in (pair.a, pair.b):
            found = None if row is None else value(row)
            line.append("" if found == _UNKNOWN.get(name, ...) else cell(found, _DIGITS))
    for name in estimators:
        other = other_delta(pair, name)
        line += [cell(value, _DIGITS) for value in (other.alpha_a, other.alpha_b, other.delta)]
        line.append("" if other.moved is None else _YES[other.moved])
    return line
