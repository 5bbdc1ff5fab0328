"""What other estimators than Hill's say of a training run, from the first fit of each layer to its last."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from alpha_callbacks.comparison.history_series import of_weights
from alpha_callbacks.comparison.other_estimators import OtherDelta, OtherSummary, moved_apart, summary_of
from alpha_callbacks.comparison.run_history import RunHistory
from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.tables.history_columns import ESTIMATES
from alpha_callbacks.tables.number_text import counted, signed


def chosen_estimators(history: RunHistory, names: Sequence[str]) -> tuple[str, ...]:
    """Return which other estimators are shown.

    Args:
        history: of a run.
        names: those asked for, "hill" aside; none: all that the history has.

    Raises:
        OptionError: the history has no fits of one of them.
    """
    asked = tuple(name for name in names if name != "hill")
    for name in asked:
        if name not in history.estimators:
            held = f"{', '.join(history.estimators)} are in it" if history.estimators else "none are in it"
            raise OptionError(
                f"estimator: expected fits by {name} in {history.path}, {held}. Train with estimators=({name!r},)."
            )
    return asked or (() if names else history.estimators)


def history_summaries(
    history: RunHistory, estimators: Sequence[str], precision: str | None = None
) -> list[OtherSummary]:
    """Return one summary per estimator: how far its alpha moved from the first state of each layer to the last.

    Args:
        history: of a run.
        estimators: from `chosen_estimators`.
        precision: whose; None: the reference.
    """
    return [summary_of(name, _deltas(history, name, precision)) for name in estimators]


def estimator_findings(history: RunHistory, estimators: Sequence[str], precision: str | None = None) -> list[str]:
    """Return a sentence per estimator."""
    if len(history.steps) < 2:
        return []
    told = [
        f"By {one.estimator} the median change is {signed(one.median)} in {counted(one.count, 'layer')}; "
        f"{one.rises} rise, {one.falls} fall{'' if one.moved is None else f', {one.moved} moved'}."
        for one in history_summaries(history, estimators, precision)
        if one.count
    ]
    return told + late_estimators(history, estimators, precision)


def late_estimators(history: RunHistory, estimators: Sequence[str], precision: str | None = None) -> list[str]:
    """Return a sentence for each span of steps shorter than the run's in which estimators have fits."""
    spans = dict[tuple[int, int], list[str]]()
    for name in estimators:
        series = history.series(precision, f"{name}_alpha")
        steps = [step for step, known in zip(series.steps, np.isfinite(series.values).any(0), strict=True) if known]
        if steps and (steps[0], steps[-1]) != (history.steps[0], history.steps[-1]):
            spans.setdefault((steps[0], steps[-1]), []).append(name)
    return [
        f"Fits by {' and '.join(names)} are of the steps {first} to {last} only, and so is their change."
        for (first, last), names in spans.items()
    ]


def _deltas(history: RunHistory, estimator: str, precision: str | None) -> Iterator[OtherDelta]:
    fields = [field for name, field in ESTIMATES.values() if name == estimator]
    series = {field: of_weights(history.series(precision, f"{estimator}_{field}")) for field in fields}
    for i, (name, alphas) in enumerate(zip(series["alpha"].layers, series["alpha"].values, strict=True)):
        known, n = np.flatnonzero(np.isfinite(alphas)), history.tails.get(name, (0, 0))[1]
        if known.size < 2:
            yield OtherDelta(math.nan, math.nan)
            continue
        fits = []
        for at in (known[0], known[-1]):
            said = {field: float(one.values[i, at]) for field, one in series.items()}
            low, high = (said.get(field, math.nan) for field in ("low", "high"))
            fits.append(TailEstimate(estimator, said["alpha"], n - n // 2, low=low, high=high))
        first, last = fits
        yield OtherDelta(first.alpha, last.alpha, moved_apart(first, last, (n, n)))
