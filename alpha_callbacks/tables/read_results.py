"""The results CSV -> the table that it was written from."""

import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from alpha_callbacks.errors import OptionError, ResultsError
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.tables.checked_files import read_csv_lines
from alpha_callbacks.tables.results_csv import RESULTS
from alpha_callbacks.tables.table import SINGLE, SINGLE_ESTIMATED, Row, Table

_SHARED = (
    "layer_name", "category", "out_features", "in_features", "stored_dtype", "block", "modality", "tied_to",
    "threshold", "source_name",
)  # fmt: skip
_LARGEST = 1e100  # of an alpha, so that the statistics are numbers
_OVERFLOWS = 1e150  # its square does; only x_min, a square itself, is so large where there is an alpha (1e240 in fp64)
# Of an alpha that `fast` solved before it proved its errors (0.2.0); of twelve digits the last five are hardly ever 0.
_DIGITS_BEFORE = 7
_KINDS = {name: kind for name, kind in get_type_hints(Row).items() if name != "precision"}
_FLOATS = tuple(name for name, kind in _KINDS.items() if kind is float and name != "x_min")


def read_results(path: str | Path) -> Table:
    """Read what `scan` wrote.

    Numbers come back with the digits that were printed; derived columns (drift, alpha_ratio, ...) follow from them.
    Where an earlier version wrote estimates of the error of `--solver fast`, the solver says so.

    Args:
        path: the CSV, or the folder that it is in.

    Raises:
        ResultsError: no such file, a damaged one, or one that this version cannot use.
    """
    path = Path(path)
    path = path / RESULTS if path.is_dir() else path
    lines = read_csv_lines(
        path, required=("layer_name",), remedy="Give the results of `alpha-hill scan`, or scan again."
    )
    if lines is None:
        raise ResultsError(f"{path}: expected the results of `alpha-hill scan`, found nothing there.")
    names = [name.removeprefix("status_") for name in (lines[0] if lines else ()) if str(name).startswith("status_")]
    if not names:
        raise ResultsError(
            f"{path}: expected the results of `alpha-hill scan`, with a column status_<precision> and at least one "
            "layer, found none."
        )
    layers = Counter(line.get("layer_name") for line in lines)
    if twice := [name for name, count in layers.items() if count > 1]:
        raise ResultsError(f"{path}: expected each layer once, got {twice[0]!r} {layers[twice[0]]} times. Scan again.")
    try:
        precisions = tuple(get_precision(name).name for name in names)
    except OptionError as error:
        raise ResultsError(f"{path}: {error}") from error
    return Table.from_rows((_row(line, name, path) for line in lines for name in precisions), precisions)


def _row(line: dict[str, Any], precision: str, path: Path) -> Row:
    values: dict[str, Any] = {"precision": precision}
    for name, kind in _KINDS.items():
        text = line.get(name if name in _SHARED or name == "alpha_null" else f"{name}_{precision}")
        if text is not None:
            values[name] = _parsed(text, kind, f"{path}, {line.get('layer_name')}, {name}")
    if values.get("solver") == SINGLE and sum(map(str.isdigit, line.get(f"alpha_{precision}") or "")) <= _DIGITS_BEFORE:
        values["solver"] = SINGLE_ESTIMATED
    try:
        row = Row(**values)
    except TypeError as error:
        raise ResultsError(f"{path}: expected the columns of this version, got {error}. Scan again.") from error
    if row.ok and not abs(row.alpha) < _LARGEST:
        raise ResultsError(
            f"{path}, {row.layer_name}: expected a number as alpha of {precision}, whose status is ok, got "
            f"{row.alpha}. Scan again."
        )
    if row.ok and row.alpha_null <= 0:
        raise ResultsError(
            f"{path}, {row.layer_name}: expected an alpha_null above 0, got {row.alpha_null}. Scan again."
        )
    for name in _FLOATS if row.ok else ():
        if _OVERFLOWS <= abs(getattr(row, name)) < math.inf:
            raise ResultsError(
                f"{path}, {row.layer_name}: expected a {name} of {precision} below {_OVERFLOWS:g}, got "
                f"{getattr(row, name)}. Scan again."
            )
    return row


def _parsed(text: str, kind: Any, where: str) -> Any:
    try:
        if kind is float:
            return float(text) if text else math.nan
        if kind is int or kind == (int | None):
            return _count(text) if text or kind is int else None
    except ValueError:
        raise ResultsError(f"{where}: expected a number, got {text!r}.") from None
    if get_origin(kind) is Literal and text not in get_args(kind):
        raise ResultsError(f"{where}: expected {', '.join(filter(None, get_args(kind)))}, got {text!r}.")
    return text


def _count(text: str) -> int:
    number = int(text)
    if not 0 <= number < 2**63:
        raise ValueError(text)
    return number
