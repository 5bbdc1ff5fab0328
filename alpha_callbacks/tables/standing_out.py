"""The layers of a table to look at first."""

import math

from alpha_callbacks.tables.table import LayerRows, Table

_FEW = 2


def standing_out(table: Table) -> tuple[LayerRows, ...]:
    """Return the layers with the heaviest tails for their shape, those closest to noise, and those that drift most.

    In the order of the table; at most six, all of them with an alpha at the reference.
    """
    rows = [(layer, row) for layer in table.main.layers for row in layer.rows if row.precision == table.reference]
    known = [(row.alpha_ratio, layer) for layer, row in rows if row.ok and math.isfinite(row.alpha_ratio)]
    ranked = [layer for _, layer in sorted(known, key=lambda entry: entry[0])]
    found = [*ranked[:_FEW], *ranked[-_FEW:], *(layer for layer, *_ in table.most_drifted(_FEW))]
    names = {layer.first.layer_name for layer in found}
    return tuple(layer for layer in table.layers if layer.first.layer_name in names)
