"""Table -> the columns that the scripts of the page read."""

import math
from collections.abc import Callable
from typing import Any

from alpha_callbacks.report.packing import Kind, coded, packed
from alpha_callbacks.tables.low_bit import low_bit, shares
from alpha_callbacks.tables.same_bits import same_columns
from alpha_callbacks.tables.statistics import TOO_FEW
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.utils.labels import TILE, labels

_NUMBERS: dict[str, Kind] = {
    "alpha": "f8",
    "alpha_error_bound": "f4",
    "k_used": "u4",
    "n_eigs": "u4",
    "x_min": "f8",
    "stderr": "f4",
    "alpha_spread": "f4",
    "ks_distance": "f4",
    "spectral_norm": "f4",
    "frobenius_norm": "f4",
    "stable_rank": "f4",
    "relative_error": "f4",
    "spectral_error": "f4",
    "overflow": "u4",
    "underflow": "u4",
    "effective_bits": "f4",
}
_WORDS = ("status", "method", "solver", "reason", "tail", "tail_reason")
_LAYER_WORDS = ("stored_dtype", "tied_to", "threshold")


def layer_columns(table: Table) -> dict[str, Any]:
    """Return the content of the rows: one value per layer, or one per layer and precision, precisions side by side.

    Alphas and thresholds keep every bit, other numbers 24 bits (relative error 6e-8).
    """
    rows = [row_of(layer, name) for layer in table.layers for name in table.precisions]
    drifts = [_drift(layer, name, table.reference) for layer in table.layers for name in table.precisions]
    share = shares(table)
    return {
        "precisions": list(table.precisions),
        "reference": table.precisions.index(table.reference),
        "low_bit": [table.precisions.index(name) for name in low_bit(table)],
        "same": [table.precisions.index(first) for first in same_columns(table).values()],
        "name": [layer.first.layer_name for layer in table.layers],
        "block": [layer.first.block for layer in table.layers],
        "label": labels([layer.first.layer_name for layer in table.layers if layer.first.block is None], TILE),
        "few": TOO_FEW,
        "surely": table.surely,
        "out_features": packed([layer.first.out_features for layer in table.layers], "u4"),
        "in_features": packed([layer.first.in_features for layer in table.layers], "u4"),
        "share": packed([share.get(layer.first.layer_name, math.nan) for layer in table.layers]),
        "alpha_null": packed([layer.first.alpha_null for layer in table.layers], "f8"),
        "category": coded(layer.first.group for layer in table.layers),
        **{name: coded(getattr(layer.first, name) for layer in table.layers) for name in _LAYER_WORDS},
        **{name: packed([getattr(row, name) for row in rows], kind) for name, kind in _NUMBERS.items()},
        **{name: coded(getattr(row, name) for row in rows) for name in _WORDS},
        "estimates": [_estimates(row) for row in rows] if any(row.estimates for row in rows) else [],
        "drift": packed([drift for drift, _ in drifts]),
        "drift_bound": packed([bound for _, bound in drifts]),
    }


def _estimates(row: Row) -> list[list[Any]]:
    """Return [estimator, alpha, eigenvalues, KS distance, low, high, reason] of each other fit of a row."""
    return [
        [
            fit.estimator,
            *(_known(value) for value in (fit.alpha, fit.n_tail, fit.ks_distance, fit.low, fit.high)),
            fit.reason,
        ]
        for fit in row.estimates
    ]


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def row_of(layer: LayerRows, precision: str) -> Row:
    """Return the row of a precision; where a layer has none, a row with the status "skipped"."""
    row = next((row for row in layer.rows if row.precision == precision), None)
    if row is not None:
        return row
    first = layer.first
    return Row(
        first.layer_name, first.category, first.block, first.out_features, first.in_features, first.stored_dtype,
        first.tied_to, precision, "skipped", "not computed", modality=first.modality,
    )  # fmt: skip


def _drift(layer: LayerRows, precision: str, reference: str) -> tuple[float, float]:
    """Return (drift, bound); one of them is nan, both where an alpha is missing."""
    known = {row.precision for row in layer.rows if row.ok}
    if not {precision, reference} <= known:
        return math.nan, math.nan
    return layer.drift(precision, reference), layer.drift_bound(precision, reference)


def usable(table: Table, precision: str, value: Callable[[Row], float]) -> list[tuple[LayerRows, float]]:
    """Return (layer, value) of the layers whose row is ok and whose value is a number."""
    found = [(layer, row_of(layer, precision)) for layer in table.layers]
    return [(layer, value(row)) for layer, row in found if row.ok and math.isfinite(value(row))]
