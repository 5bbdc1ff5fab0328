"""Files beside the results CSV, where they were asked for: the fits of other estimators, and spectral measures."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from alpha_callbacks.errors import ResultsError
from alpha_callbacks.estimators.tail_estimate import TailEstimate
from alpha_callbacks.tables.checked_files import read_csv_lines
from alpha_callbacks.tables.csv_lines import csv_text
from alpha_callbacks.tables.results_csv import DIGITS, cell
from alpha_callbacks.tables.table import Row, Table
from alpha_callbacks.utils.atomic_files import write_text

ESTIMATES = "tail_estimates.csv"
MEASURES = "spectral_measures.csv"

_KEY = ("layer_name", "precision")
_NUMBERS = ("alpha", "n_tail", "x_min", "ks_distance", "stderr", "low", "high")
_REMEDY = "Scan again, or remove the file to go on without it."


def write_further(table: Table, directory: Path) -> None:
    """Write tail_estimates.csv and spectral_measures.csv where the rows have such content, else remove older ones.

    The first has a row per layer, precision and estimator, Hill's among them, the second one per layer and precision.
    """
    fits = [(row, fit) for row in table if row.estimates for fit in (_hill(row), *row.estimates)]
    more = _in_order(fit.more for _, fit in fits)
    header = ["layer_name", "precision", "estimator", *_NUMBERS, *more, "reason"]
    lines = [
        [row.layer_name, row.precision, fit.estimator]
        + [cell(getattr(fit, name), DIGITS) for name in _NUMBERS]
        + [cell(fit.more.get(name), DIGITS) for name in more]
        + [fit.reason]
        for row, fit in fits
    ]
    _write(directory / ESTIMATES, [header, *lines])
    measured = [row for row in table if row.measures or row.measures_reason]
    names = _in_order(row.measures for row in measured)
    rows = [
        [row.layer_name, row.precision]
        + [cell(row.measures.get(name), DIGITS) for name in names]
        + [row.measures_reason]
        for row in measured
    ]
    _write(directory / MEASURES, [[*_KEY, *names, "reason"], *rows])


def with_further(table: Table, directory: Path) -> Table:
    """Return the table with the estimates and measures of the files beside it; as it is where there are none.

    Raises:
        ResultsError: one of the files is damaged.
    """
    fits: dict[tuple[str, str], list[TailEstimate]] = {}
    measures: dict[tuple[str, str], tuple[dict[str, float], str]] = {}
    estimates, path = read_csv_lines(directory / ESTIMATES, required=(*_KEY, "estimator"), remedy=_REMEDY), ESTIMATES
    for line in estimates or ():
        if line["estimator"] != "hill":
            fits.setdefault((line["layer_name"], line["precision"]), []).append(_fit(line, directory / path))
    for line in read_csv_lines(directory / MEASURES, required=_KEY, remedy=_REMEDY) or ():
        reason = line.pop("reason", "")
        numbers = {name: _number(text, directory / MEASURES) for name, text in line.items() if name not in _KEY}
        measures[line["layer_name"], line["precision"]] = numbers, reason
    if not (fits or measures):
        return table

    def whole(row: Row) -> Row:
        key = (row.layer_name, row.precision)
        numbers, reason = measures.get(key, ({}, ""))
        return replace(row, estimates=tuple(fits.get(key, ())), measures=numbers, measures_reason=reason)

    return Table.from_rows(map(whole, table), table.precisions, table.model)


def _hill(row: Row) -> TailEstimate:
    """Return Hill's fit in the form of the others, so that the file says which alpha is whose."""
    return TailEstimate("hill", row.alpha, row.k_used, row.x_min, row.ks_distance, row.stderr, reason=row.reason)


def _fit(line: dict[str, str], path: Path) -> TailEstimate:
    numbers = {name: _number(line.get(name, ""), path) for name in _NUMBERS}
    known = (*_KEY, "estimator", "reason", *_NUMBERS)
    more = {name: _number(text, path) for name, text in line.items() if name not in known and text}
    count = numbers.pop("n_tail")
    return TailEstimate(
        line["estimator"],
        n_tail=0 if math.isnan(count) else int(count),
        more=more,
        reason=line.get("reason", ""),
        **numbers,
    )


def _number(text: str, path: Path) -> float:
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ResultsError(f"{path}: expected a number, got {text!r}. {_REMEDY}") from None


def _in_order(names: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(name for each in names for name in each))


def _write(path: Path, lines: Sequence[Sequence[Any]]) -> None:
    if len(lines) > 1:
        write_text(path, csv_text(lines))
    else:
        path.unlink(missing_ok=True)
