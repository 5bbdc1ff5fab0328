"""A training history -> what was learned, a sentence each."""

import math

import numpy as np

from alpha_callbacks.comparing.history_reader import AlphaHistory
from alpha_callbacks.comparing.history_series import change

_NO_ALPHA = ("ok", "skipped")  # a layer that time did not allow for is no failure


def history_findings(history: AlphaHistory, precision: str | None = None) -> list[str]:
    """Return the findings, the most important first."""
    series = history.series(precision)
    steps, name = series.steps, precision or history.reference
    states = f"{len(steps)} states, step {steps[0]} to {steps[-1]}" if len(steps) > 1 else f"one state, step {steps[0]}"
    told = [f"{len(series)} layers, {states}; alpha at {name}."]
    moved = change(series)
    last = np.array([_last(row) for row in moved.values])
    known = last[np.isfinite(last)]
    if len(steps) > 1 and known.size:
        low, middle, high = (float(q) for q in np.quantile(known, [0.25, 0.5, 0.75]))
        rises, falls = int((known > 0).sum()), int((known < 0).sum())
        told.append(
            f"From the first alpha of a layer to its last: {middle:+.2g} in the median (half of the layers between "
            f"{low:+.2g} and {high:+.2g}); {rises} rise, {falls} fall."
        )
        far = int(np.nanargmax(np.abs(last)))
        if last[far]:
            told.append(f"Farthest: {series.layers[far]} ({last[far]:+.2g}).")
        still = [layer for layer, value in zip(series.layers, last, strict=True) if value == 0]
        if still and len(still) < len(series):
            told.append(f"{len(still)} layers did not move at all (frozen, or measured once).")
    return [*told, *_holes(history, series.values)]


def failed(history: AlphaHistory) -> list[str]:
    """Return the layers that have no alpha at some step, other than for lack of time."""
    rows = history.frame[~history.frame["status"].isin(_NO_ALPHA)]
    return [str(name) for name in rows["layer_name"].unique()]


def _holes(history: AlphaHistory, values: np.ndarray) -> list[str]:
    told = []
    holes = np.isnan(values)
    if holes.any():
        some = int(holes.any(axis=1).sum())
        told.append(f"{some} layers have steps without alpha ({int(holes.sum())} in all): not measured, or no alpha.")
    if history.changed_tail:
        told.append(
            f"The size of the tail changed during the run (first seen in {history.changed_tail}): alphas before and "
            "after cannot be compared."
        )
    return told


def _last(row: np.ndarray) -> float:
    finite = row[np.isfinite(row)]
    return float(finite[-1]) if finite.size else math.nan
