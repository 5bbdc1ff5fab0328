"""Tables and snapshots made by hand, for tests of what comes after the analysis."""

import math
from collections.abc import Sequence
from typing import Any

from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.layer_names import block_index

LAYERS = ("model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "model.layers.1.self_attn.q_proj", "lm_head")


def row(layer: str, precision: str, alpha: float, **changes: Any) -> Row:
    """Return a usable row, or one without alpha if `status` says so."""
    values: dict[str, Any] = dict(
        layer_name=layer, category=categorize(layer), block=block_index(layer), out_features=64, in_features=48,
        stored_dtype="float32", tied_to="", precision=precision, status="ok", alpha=alpha, alpha_null=5.0, k_used=10,
        n_eigs=48, method="lossless" if precision == "fp32" else "computed", solver="gram_fp64", x_min=0.5, stderr=0.4,
        ks_distance=0.1, spectral_norm=3.0, frobenius_norm=6.0,
    )  # fmt: skip
    if precision == "fp32":
        values["alpha_error_bound"] = 0.0
    values.update(changes)
    if values["status"] != "ok":
        values["alpha"] = math.nan
    return Row(**values)


def table(layers: Sequence[str] = LAYERS, precisions: Sequence[str] = ("fp32", "bf16"), shift: float = 0.0) -> Table:
    """Return a table whose alphas are 2, 3, 4, ... plus `shift`, and a hundredth more for each further precision."""
    rows = [
        row(layer, name, 2.0 + i + shift + j / 100)
        for i, layer in enumerate(layers)
        for j, name in enumerate(precisions)
    ]
    return Table.from_rows(rows, tuple(precisions))


def snapshot(step: int, of: Table | None = None, **changes: Any) -> Snapshot:
    """Return a snapshot of a table made by hand."""
    values: dict[str, Any] = dict(
        step=step, epoch=step / 10, event="checkpoint", table=of or table(shift=step / 1000), seconds=0.5
    )
    return Snapshot(**{**values, **changes})
