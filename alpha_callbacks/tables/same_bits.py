"""Precisions that cannot differ, whatever the weights are: each of them holds every number of the stored dtype."""

from dataclasses import replace

from alpha_callbacks.tables.table import LayerRows, Table

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
