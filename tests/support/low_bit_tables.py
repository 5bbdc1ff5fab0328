"""Tables with low-bit columns made by hand, for tests of policies."""

import math
from collections.abc import Mapping
from typing import Any

from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.table import Row, Table
from tests.support.rows import row

BLOCK = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
         "mlp.down_proj")  # fmt: skip
LAYERS = tuple(f"model.layers.{block}.{part}" for block in range(4) for part in BLOCK)
ERRORS = {"fp32": 0.0, "bf16": 0.0, "fp8_e4m3": 0.026, "int8": 0.007, "int4_g32": 0.095, "int3_g32": 0.2}


def shape_of(layer: str) -> tuple[int, int]:
    """Return a shape of the layer's own, so that budgets can be met to a hundredth of a bit."""
    return 256, 32 * (16 + sum(map(ord, layer)) * 7 % 41)


def low_bit_row(layer: str, precision: str, alpha: float, *, error: float | None = None, **changes: Any) -> Row:
    """Return a row with an error and effective bits."""
    out_features, in_features = shape_of(layer)
    shape = {"out_features": out_features, "in_features": in_features, "n_eigs": 256, "stored_dtype": "bfloat16"}
    error = ERRORS[precision] if error is None else error
    bits = get_precision(precision).effective_bits(out_features, in_features)
    return row(layer, precision, alpha, **{**shape, "relative_error": error, "effective_bits": bits, **changes})


def low_bit_table(
    alphas: Mapping[str, float] | None = None,
    precisions: tuple[str, ...] = ("fp32", "bf16", "fp8_e4m3", "int4_g32"),
    **changes: Mapping[str, Any],
) -> Table:
    """Return a table of four Llama blocks; errors grow a little from layer to layer.

    Args:
        alphas: layer name -> alpha at every precision; default 2, 2.1, ...
        precisions: columns.
        **changes: last part of a layer name -> changed fields of its rows.
    """
    rows = []
    for i, layer in enumerate(alphas or LAYERS):
        alpha = alphas[layer] if alphas else 2 + i / 10
        own = changes.get(layer.rpartition(".")[2], {})
        rows += [
            low_bit_row(layer, name, alpha, **{"error": ERRORS[name] * (1 + i / 100), **own}) for name in precisions
        ]
    return Table.from_rows(rows, precisions)


def failed(reason: str = "torn") -> dict[str, Any]:
    """Return the fields of a row without alpha."""
    return {"status": "failed", "reason": reason, "error": math.nan}
