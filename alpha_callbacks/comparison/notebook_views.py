"""What a notebook shows of a comparison and of a training history: findings and a few lines, whatever the size."""

import math

import numpy as np

from alpha_callbacks.comparison.comparison_findings import comparison_findings
from alpha_callbacks.comparison.history_findings import history_findings
from alpha_callbacks.comparison.history_series import change, thinned
from alpha_callbacks.comparison.paired_layers import Pair, PairedLayers
from alpha_callbacks.comparison.paired_statistics import by_category, movers
from alpha_callbacks.comparison.run_history import RunHistory
from alpha_callbacks.tables.number_text import signed
from alpha_callbacks.tables.table_html import Line, SmallTable, notebook_html

_FEW = 5  # layers of one table
_STATES = 6  # of a history


def comparison_html(comparison: PairedLayers) -> str:
    """Return the findings, the change by category, the layers that moved most, and the first that are left out."""
    left_out = comparison.left_out
    first, second = comparison.precisions
    at = first if first == second else f"{first} and {second}"
    categories = [
        Line((group.layers,), (str(group.count), *map(_change, (group.median, group.min, group.max))))
        for group in by_category(comparison)
    ]
    more = f", the first {_FEW}" if len(left_out) > _FEW else ""
    return notebook_html(
        f"alpha-Hill of {comparison.labels[0]} (A) and {comparison.labels[1]} (B)",
        f"{len(comparison.compared):,} layers compared at {at}",
        [
            SmallTable("Change of alpha, B − A", ("category", "layers", "median", "from", "to"), categories),
            SmallTable(
                "Layers that moved most",
                ("layer", "alpha A", "alpha B", "change"),
                [_moved(pair) for pair in movers(comparison, _FEW)],
            ),
            SmallTable(
                f"{len(left_out):,} not compared{more}",
                ("layer", "reason"),
                [Line((pair.row.layer_name, pair.reason)) for pair in left_out[:_FEW]],
            ),
        ],
        notes=comparison_findings(comparison),
    )


def history_html(history: RunHistory) -> str:
    """Return the findings, alpha at a few states, and the layers that moved farthest, all at the finest precision."""
    series = history.series()
    few = thinned(series, _STATES)
    states = []
    for step, values in zip(few.steps, few.values.T, strict=True):
        known = values[np.isfinite(values)]
        figures = (known.mean(), np.median(known), known.min(), known.max()) if known.size else (math.nan,) * 4
        states.append(Line((), (str(step), str(known.size), *map(float, figures))))
    return notebook_html(
        "alpha-Hill history",
        f"{len(series):,} layers at {', '.join(history.precisions)}",
        [
            SmallTable(f"Alpha at {history.reference}", ("step", "layers", "mean", "median", "min", "max"), states),
            SmallTable("Layers that moved farthest", ("layer", "first", "last", "change"), _farthest(history)),
        ],
        notes=history_findings(history),
    )


def _farthest(history: RunHistory) -> list[Line]:
    series = history.series()
    found = []
    for name, values, moved in zip(series.layers, series.values, change(series).values, strict=True):
        known = np.flatnonzero(np.isfinite(values))
        if known.size and moved[known[-1]]:
            found.append((name, float(values[known[0]]), float(values[known[-1]]), float(moved[known[-1]])))
    found.sort(key=lambda entry: -abs(entry[3]))
    return [Line((name,), (first, last, _change(moved))) for name, first, last, moved in found[:_FEW]]


def _moved(pair: Pair) -> Line:
    assert pair.a is not None and pair.b is not None
    return Line((pair.row.layer_name,), (pair.a.alpha, pair.b.alpha, _change(pair.delta)))


def _change(value: float) -> str:
    return "–" if math.isnan(value) else signed(value, 3)
