"""The formats of a table that take fewer bits than its weights have: views show their errors first."""

import math
from dataclasses import dataclass

import numpy as np

from alpha_callbacks.tables.table import Row, Table

_MOST_BITS = 15  # per weight: below those of fp16 and bf16


def low_bit(table: Table) -> list[str]:
    """Return the precisions below 15 bits per weight whose error was measured, the widest first."""
    found = {}
    for name in table.precisions:
        rows = [row for row in table if row.precision == name and not math.isnan(row.relative_error)]
        bits = [row.effective_bits for row in rows if not math.isnan(row.effective_bits)]
        if bits and np.median(bits) < _MOST_BITS:
            found[name] = float(np.median(bits))
    return sorted(found, key=lambda name: -found[name])


def megabytes(row: Row) -> float:
    """Return what a weight takes in its precision, scales included; nan where that is not known."""
    return row.effective_bits * row.out_features * row.in_features / 8e6


def shares(table: Table) -> dict[str, float]:
    """Return layer -> its share of all weights of the table; updates have none."""
    sizes = {layer.first.layer_name: layer.first.out_features * layer.first.in_features for layer in table.main.layers}
    total = sum(sizes.values()) or 1
    return {name: size / total for name, size in sizes.items()}


@dataclass(frozen=True)
class FormatCost:
    """What one format costs the weights of a table.

    Attributes:
        precision: its name.
        bits: per weight, over all of them.
        megabytes: of all weights.
        error: the median relative error.
        worst: the row with the largest relative error.
    """

    precision: str
    bits: float
    megabytes: float
    error: float
    worst: Row


def format_costs(table: Table) -> list[FormatCost]:
    """Return the cost of each format of `low_bit`, over the layers whose error is known."""
    found = []
    for name in low_bit(table.main):
        rows = [row for row in table.main if row.precision == name and not math.isnan(row.relative_error)]
        size = sum(map(megabytes, rows))
        bits = 8e6 * size / sum(row.out_features * row.in_features for row in rows)
        worst = max(rows, key=lambda row: row.relative_error)
        found.append(FormatCost(name, bits, size, float(np.median([row.relative_error for row in rows])), worst))
    return found
