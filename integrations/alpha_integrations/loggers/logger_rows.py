"""A table as loggers take it: rows of a table, and one scalar per layer under names that W&B can sort."""

import math
import re
from collections.abc import Sequence
from itertools import chain, count
from typing import Any

from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.weights.layer_names import short_name

COLUMNS = ("step", "layer_name", "category", "block", "precision", "alpha", "alpha_ratio", "drift", "stable_rank",
           "relative_error", "relative_size", "status", "reason")  # fmt: skip
MOVE_COLUMNS = ("step", "layer_name", "alpha_before", "alpha", "move")
_MOST_MOVES = 20
MAX_TABLE_ROWS = 10_000  # wandb.Table.MAX_ROWS: what lies beyond, wandb cuts off
MAX_LAYERS_WITH_EXPERTS = 1_000  # W&B names too many distinct metrics as the usual cause of a slow workspace


def table_rows(table: Table, step: int) -> list[list[Any]]:
    """Return the rows of the W&B table: in module order, but experts last where not all can be kept."""
    layers = list(table.layers)
    if len(layers) * len(table.precisions) > MAX_TABLE_ROWS:
        layers.sort(key=lambda layer: _is_expert(layer.first))
    return [[step, *_table_row(row, layer, table.reference)] for layer in layers for row in layer.rows]


def move_rows(snapshot: Snapshot) -> list[list[Any]]:
    """Return the rows of the table of layers that moved most since the state before."""
    moves = snapshot.moves[:_MOST_MOVES]
    return [[snapshot.step, move.layer_name, move.before, move.now, move.size] for move in moves]


def layer_scalars(table: Table) -> dict[str, float]:
    """Return key -> alpha of every usable row.

    W&B only promises to sort and filter names of letters, digits and underscores, and takes dots for nesting.
    """
    layers = table.layers
    if len(layers) > MAX_LAYERS_WITH_EXPERTS:
        layers = tuple(layer for layer in layers if not _is_expert(layer.first))
    found: dict[str, float] = {}
    for name, layer in zip(_unique_names(layers), layers, strict=True):
        for row in layer.rows:
            if row.ok:
                found[f"alpha_hill_layers_{_sanitise(row.precision)}/{name}"] = row.alpha
    return found


def _unique_names(layers: Sequence[LayerRows]) -> list[str]:
    """Return short names; whole ones for layers that share theirs (encoder and decoder), numbered if that fails too."""
    rows = [layer.first for layer in layers]
    width = max((len(str(row.block)) for row in rows if row.block is not None), default=0)
    blocks = ["" if row.block is None else f"{row.block:0{max(width, 2)}d}_" for row in rows]
    short = [block + _sanitise(short_name(row.layer_name)) for block, row in zip(blocks, rows, strict=True)]
    names: dict[str, None] = {}
    for name, block, row in zip(short, blocks, rows, strict=True):
        whole = name if short.count(name) == 1 else block + _sanitise(row.layer_name)
        numbered = (f"{whole}_{number}" for number in count(2))
        names[next(each for each in chain([whole], numbered) if each not in names)] = None
    return list(names)


def _sanitise(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def _is_expert(row: Row) -> bool:
    return row.category.startswith("moe_expert_")


def _table_row(row: Row, layer: LayerRows, reference: str) -> list[Any]:
    drift = layer.drift(row.precision, reference)
    numbers = (row.alpha, row.alpha_ratio, drift, row.stable_rank, row.relative_error, row.relative_size)
    cells = [value if math.isfinite(value) else None for value in numbers]
    return [row.layer_name, row.category, row.block, row.precision, *cells, row.status, row.reason]
