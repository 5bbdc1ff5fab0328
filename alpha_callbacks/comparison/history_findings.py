"""A training history -> what was learned, one sentence per finding."""

import math

import numpy as np

from alpha_callbacks.comparison.history_alerts import alert_findings
from alpha_callbacks.comparison.history_series import Series, change, of_weights
from alpha_callbacks.comparison.run_history import RunHistory
from alpha_callbacks.estimators.spread import TWO_SIDED, alpha_spread
from alpha_callbacks.tables.findings import one_by_one
from alpha_callbacks.tables.number_text import counted, signed
from alpha_callbacks.tables.statistics import TOO_FEW

_NO_ALPHA = ("ok", "skipped")  # a layer that was skipped for lack of time is no failure


def history_findings(history: RunHistory, precision: str | None = None) -> list[str]:
    """Return the findings, the most important first."""
    series = of_weights(history.series(precision))
    steps, name = series.steps, precision or history.reference
    states = f"{len(steps)} states, step {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"one state, step {steps[0]}"
    told = [f"{counted(len(series), 'layer')}, {states}; alpha at {name}."]
    changes = _changes(series, history) if len(steps) > 1 else []
    return [*told, *alert_findings(history), *changes, *_holes(history, series.values)]


def _changes(series: Series, history: RunHistory) -> list[str]:
    """Say how far alpha moved from the first state to the last."""
    last = np.array([_last(row) for row in change(series).values])
    known = last[np.isfinite(last)]
    if not known.size:
        return []
    if known.size < TOO_FEW:
        ends = [
            (layer, f"{_last(row[::-1]):.4f} to {_last(row):.4f}, {signed(moved)}")
            for layer, row, moved in zip(series.layers, series.values, last.tolist(), strict=True)
            if math.isfinite(moved)
        ]
        return [f"From first alpha to last: {one_by_one(ends)}"]
    low, middle, high = (signed(float(q)) for q in np.quantile(known, [0.25, 0.5, 0.75]))
    told = [
        f"The median change from the first alpha of a layer to its last is {middle} (half of the layers lie between "
        f"{low} and {high}); {int((known > 0).sum())} rise, {int((known < 0).sum())} fall."
    ]
    far = int(np.nanargmax(np.abs(last)))
    if last[far]:
        told.append(f"Largest change: {series.layers[far]} ({signed(last[far])}).")
    still = int((known == 0).sum())
    if 0 < still < len(series):
        told.append(f"{counted(still, 'layer')} did not change at all (frozen, or measured once).")
    return told + _moved(history, series)


def _moved(history: RunHistory, series: Series) -> list[str]:
    """Say how many layers moved by more than other noise in their first and last state would make them."""
    tails = history.tails
    ends = [(name, row[np.isfinite(row)]) for name, row in zip(series.layers, series.values, strict=True)]
    spans = [(*tails[name], float(row[0]), float(row[-1])) for name, row in ends if row.size and name in tails]
    moved = sum(
        abs(last - first) > TWO_SIDED * math.hypot(alpha_spread(first, k, n), alpha_spread(last, k, n))
        for k, n, first, last in spans
    )
    if not spans:
        return []
    return [
        f"{moved} of {counted(len(spans), 'layer')} moved from the first state to the last by more than 1.96 times "
        "the spread that new noise would give alpha."
    ]


def failed(history: RunHistory) -> list[str]:
    """Return the layers that have no alpha at some step, except those skipped for lack of time."""
    rows = history.frame[~history.frame["status"].isin(_NO_ALPHA)]
    return [str(name) for name in rows["layer_name"].unique()]


def _holes(history: RunHistory, values: np.ndarray) -> list[str]:
    told = []
    holes = np.isnan(values)
    if holes.any():
        some = int(holes.any(axis=1).sum())
        have = "has" if some == 1 else "have"
        told.append(
            f"{counted(some, 'layer')} {have} steps without alpha ({int(holes.sum())} in total): not measured, or no "
            "usable alpha."
        )
    if history.changed_tail:
        told.append(
            f"The size of the tail changed during the run (first seen in {history.changed_tail}): alphas before and "
            "after this change cannot be compared."
        )
    return told


def _last(row: np.ndarray) -> float:
    finite = row[np.isfinite(row)]
    return float(finite[-1]) if finite.size else math.nan
