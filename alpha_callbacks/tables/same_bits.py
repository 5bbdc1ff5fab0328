"""Precisions that say the same: by the stored dtype, whatever the weights are, or by the values of a table."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from alpha_callbacks.tables.table import LayerRows, Row, Table

# How a source spells a dtype -> the formats that hold all of its numbers.
_HOLDERS = {
    ("float64", "F64"): {"fp64"},
    ("float32", "F32"): {"fp64", "fp32"},
    ("bfloat16", "BF16"): {"fp64", "fp32", "bf16"},
    ("float16", "F16"): {"fp64", "fp32", "fp16"},
}
_BY_LABEL = {label: holders for labels, holders in _HOLDERS.items() for label in labels}


def without_copies(table: Table) -> Table:
    """Return the table without the precisions that say once more what the first that holds the same bits says.

    It goes by the dtype, not by the weights of one state, so that it is the same all through a training run.
    """
    held = [_BY_LABEL.get(layer.first.stored_dtype, set()) for layer in table.layers]
    same = set(table.precisions).intersection(*held) if held else set[str]()
    if len(same) < 2:
        return table
    kept = table.reference if table.reference in same else next(name for name in table.precisions if name in same)
    names = tuple(name for name in table.precisions if name == kept or name not in same)
    layers = (LayerRows(tuple(row for row in layer.rows if row.precision in names)) for layer in table.layers)
    return replace(table, layers=tuple(layers), precisions=names)


def same_columns(table: Table) -> dict[str, str]:
    """Return precision -> the first precision that has the same alpha, error and status in every layer.

    A view shows five identical columns or boxes as one that names all five.
    """
    columns: dict[tuple[object, ...], str] = {}
    found = {}
    for name in table.precisions:
        rows = [next((row for row in layer.rows if row.precision == name), None) for layer in table.layers]
        column = tuple(_shown(row) for row in rows)
        found[name] = columns.setdefault(column, name)
    return found


def _shown(row: Row | None) -> tuple[object, ...]:
    """Return what a view shows of a row; nan as None, which equals itself."""
    if row is None:
        return ()
    numbers = (row.alpha, row.alpha_error_bound if row.method == "bounded" else 0.0, row.relative_error)
    return (row.status, row.tail, *(None if math.isnan(number) else number for number in numbers))


def alike(columns: Mapping[str, Sequence[float]], share: float = 0.01) -> list[list[str]]:
    """Return the names of columns in groups whose pictures cannot be told apart.

    Args:
        columns: name -> one value per layer, nan where there is none.
        share: of the range of all values; no value of a column differs by more from that of the first in its group.

    Examples:
        >>> alike({"fp32": [2.0, 4.0], "bf16": [2.001, 4.0], "int4": [2.5, 4.0]})
        [['fp32', 'bf16'], ['int4']]
    """
    values = {name: np.array(column, dtype=float) for name, column in columns.items()}
    finite = np.concatenate([column[np.isfinite(column)] for column in values.values()])
    within = share * float(np.ptp(finite)) if finite.size else 0.0
    groups: list[list[str]] = []
    for name, column in values.items():
        for group in groups:
            if np.allclose(column, values[group[0]], rtol=0.0, atol=within, equal_nan=True):
                group.append(name)
                break
        else:
            groups.append([name])
    return groups
