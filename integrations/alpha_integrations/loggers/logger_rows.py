"""A table as loggers take it: rows of a table, and one scalar per layer under names that W&B can sort."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from alpha_callbacks.foreign_text import distinct, visible
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import LayerRows, Row, Table
from alpha_callbacks.weights.layer_names import short_name

_COLUMNS = ("step", "layer_name", "category", "block", "precision", "alpha", "alpha_ratio", "drift", "stable_rank",
            "relative_error", "relative_size", "alpha_spread")  # fmt: skip
_WORDS = ("tail", "tail_reason", "status", "reason")
MOVE_COLUMNS = ("step", "layer_name", "alpha_before", "alpha", "move")
_MOST_MOVES = 20
MAX_TABLE_ROWS = 10_000  # wandb.Table.MAX_ROWS: what lies beyond, wandb cuts off
MAX_LAYERS_WITH_EXPERTS = 1_000  # W&B names too many distinct metrics as the usual cause of a slow workspace


def columns(table: Table) -> tuple[str, ...]:
    """Return the columns of `table_rows`: Hill's, `<estimator>_alpha` of each other one, the verdict and the status."""
    return (*_COLUMNS, *(f"{name}_alpha" for name in table.estimators), *_WORDS)


def table_rows(table: Table, step: int) -> list[list[Any]]:
    """Return the rows of the W&B table: in module order, but experts last where not all can be kept."""
    layers, estimators = list(table.layers), table.estimators
    if len(layers) * len(table.precisions) > MAX_TABLE_ROWS:
        layers.sort(key=lambda layer: _is_expert(layer.first))
    return [[step, *_table_row(row, layer, table.reference, estimators)] for layer in layers for row in layer.rows]


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
    precisions = distinct(table.precisions, _sanitise)
    for name, layer in zip(unique_names(layers), layers, strict=True):
        for row in layer.rows:
            if row.ok:
                found[f"alpha_hill_layers_{precisions[row.precision]}/{name}"] = row.alpha
    return found


def unique_names(layers: Sequence[LayerRows]) -> list[str]:
    """Return short names; whole ones for layers that share theirs (encoder and decoder); see `distinct`."""
    rows = [layer.first for layer in layers]
    width = max((len(str(row.block)) for row in rows if row.block is not None), default=0)
    blocks = ["" if row.block is None else f"{row.block:0{max(width, 2)}d}_" for row in rows]
    short = [f"{block}{short_name(row.layer_name) or 'unnamed'}" for block, row in zip(blocks, rows, strict=True)]
    count = Counter(map(_sanitise, short))
    names = [
        name if count[_sanitise(name)] == 1 else f"{block}{row.layer_name}"
        for name, block, row in zip(short, blocks, rows, strict=True)
    ]
    keys = distinct(names, _sanitise)
    return [keys[name] for name in names]


def _sanitise(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def visible_rows(rows: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return rows of a table with every text in them visible."""
    return [[visible(cell) if isinstance(cell, str) else cell for cell in row] for row in rows]


def _is_expert(row: Row) -> bool:
    return row.category.startswith("moe_expert_")


def _table_row(row: Row, layer: LayerRows, reference: str, estimators: Sequence[str]) -> list[Any]:
    numbers = [row.alpha, row.alpha_ratio, layer.drift(row.precision, reference), row.stable_rank, row.relative_error]
    numbers += [row.relative_size, row.alpha_spread, *(row.alpha_of(name) for name in estimators)]
    cells = [value if math.isfinite(value) else None for value in numbers]
    words = (row.tail, row.tail_reason, row.status, row.reason)
    return [row.layer_name, row.category, row.block, row.precision, *cells, *words]
