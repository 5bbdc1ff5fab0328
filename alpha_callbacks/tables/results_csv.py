"""The table as CSV: one row per layer, and summary statistics per precision."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.tables.number_text import rounded_up
from alpha_callbacks.tables.statistics import SUMMARY_COLUMNS
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.utils.atomic_files import write_text

if TYPE_CHECKING:
    from alpha_callbacks.weights.inventory import Inventory, Skipped

RESULTS = "precision_alpha_hill_results.csv"
SUMMARY = "precision_summary_statistics.csv"
COVERAGE = "coverage.csv"

DIGITS = 12  # exact alphas are good to about 1e-13

_PER_LAYER: dict[str, Callable[[Row], Any]] = {
    "numel": lambda row: row.out_features * row.in_features,
    "stored_dtype": lambda row: row.stored_dtype,
    "block": lambda row: row.block,
    "modality": lambda row: row.modality,
    "tied_to": lambda row: row.tied_to,
    "threshold": lambda row: row.threshold,
    "alpha_null": lambda row: row.alpha_null,
}
_SOURCE_NAME = "source_name"  # the last column, of sources with other names than `layer_name`
_PER_PRECISION = (
    "status",
    "method",
    "solver",
    "alpha_error_bound",
    "alpha_ratio",
    "k_used",
    "n_eigs",
    "x_min",
    "stderr",
    "ks_distance",
    "spectral_norm",
    "frobenius_norm",
    "stable_rank",
    "relative_error",
    "sqnr_db",
    "spectral_error",
    "overflow",
    "underflow",
    "effective_bits",
    "relative_size",
    "reason",
    "alpha_spread",
    "tail",
    "tail_reason",
)
_FEWER_DIGITS = {
    "alpha_spread": 4,
    "relative_error": 5,
    "sqnr_db": 5,
    "spectral_error": 4,
    "effective_bits": 8,
}
_NUMBERS = tuple(each.name for each in fields(Row) if each.type is float)


def results_header(precisions: Sequence[str], *, source_names: bool = False) -> list[str]:
    """Return the columns of the results CSV.

    Args:
        precisions: of the table.
        source_names: the source has names of its own for some layers.
    """
    leading = ["layer_name", "category", "out_features", "in_features", *(f"alpha_{p}" for p in precisions)]
    drift = [f"{name}_{p}" for p in precisions for name in ("drift", "drift_bound")]
    last = [_SOURCE_NAME] if source_names else []
    return [*leading, *_PER_LAYER, *drift, *(f"{name}_{p}" for name in _PER_PRECISION for p in precisions), *last]


def write_results(table: Table, path: Path) -> None:
    """Write one row per layer; nan is an empty cell."""
    write_text(path, results_text(table))


def results_text(table: Table) -> str:
    """Return what `write_results` writes."""
    lines = [_wide(layer, table) for layer in table.layers]
    sources = [layer.first.source_name for layer in table.layers]
    if any(sources):
        lines = [[*line, source] for line, source in zip(lines, sources, strict=True)]
    return csv_text([results_header(table.precisions, source_names=any(sources)), *lines])


def write_summary(table: Table, path: Path) -> None:
    """Write how many layers have a usable alpha of each precision, and mean, std (n - 1) and quantiles of these."""
    write_text(path, summary_text(table))


def summary_text(table: Table) -> str:
    """Return what `write_summary` writes."""
    rows = [[s.precision, *(cell(getattr(s, c), DIGITS) for c in SUMMARY_COLUMNS[1:])] for s in table.summaries()]
    return csv_text([list(SUMMARY_COLUMNS), *rows])


def write_coverage(inventory: Inventory, path: Path) -> None:
    """Write every tensor with its outcome.

    analysed; unsupported (a row without alpha); shared (analysed under another name); unknown (a matrix that no rule
    knows); skipped (with the reason).
    """
    lines: list[list[Any]] = [["name", "outcome", "shape", "stored_dtype", "reason"]]
    for w in inventory.weights:
        outcome = "unsupported" if w.unsupported else "analysed"
        reason = f"same storage as {w.tied_to}" if w.tied_to else w.unsupported
        lines.append([w.layer_name, outcome, f"{w.out_features}x{w.in_features}", w.stored_dtype, reason])
    lines += [_skipped(tensor) for tensor in inventory.skipped]
    write_text(path, csv_text(lines))


def _skipped(tensor: Skipped) -> list[Any]:
    outcome = "shared" if tensor.shared else "unknown" if tensor.unknown else "skipped"
    return [tensor.name, outcome, "x".join(map(str, tensor.shape)), tensor.stored_dtype, tensor.reason]


def _wide(layer: LayerRows, table: Table) -> list[Any]:
    first = layer.first
    row: list[Any] = [first.layer_name, first.category, first.out_features, first.in_features]
    rows = [layer[p] for p in table.precisions]
    row += [cell(each.alpha, DIGITS) for each in rows]
    row += [cell(value(first), DIGITS) for value in _PER_LAYER.values()]
    for p in table.precisions:
        row += [cell(layer.drift(p, table.reference), 4), bound_cell(layer.drift_bound(p, table.reference))]
    for name in _PER_PRECISION:
        row += [_cell_of(name, getattr(each, name)) for each in rows]
    return row


def _cell_of(name: str, value: Any) -> Any:
    return bound_cell(value) if name == "alpha_error_bound" else cell(value, _FEWER_DIGITS.get(name, DIGITS))


def as_printed(table: Table) -> Table:
    """Return a table with the digits of the CSV, so that charts and pages made of the file later are the same."""

    def rounded(row: Row) -> Row:
        known = {name: value for name in _NUMBERS if not math.isnan(value := getattr(row, name))}
        printed: dict[str, Any] = {name: float(_cell_of(name, value)) for name, value in known.items()}
        return replace(row, **printed)

    return Table.from_rows(map(rounded, table), table.precisions, table.model)


def bound_cell(bound: float) -> Any:
    """Return what the cell of a bound holds: three digits, rounded up."""
    return cell(rounded_up(bound, 3), 3)


def cell(value: Any, digits: int) -> Any:
    """Return what a cell holds: nan and None are empty, floats have that many digits."""
    if value is None:
        return ""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.{digits}g}"
    return value
