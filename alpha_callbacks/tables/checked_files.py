"""JSON and CSV files of a results folder: absent is None, damaged is a ResultsError that says what to do."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha_callbacks.errors import ResultsError
from alpha_callbacks.tables.csv_lines import csv_rows
from alpha_callbacks.utils.json_text import read_json
from alpha_callbacks.utils.labels import middle_out
from alpha_callbacks.utils.regular_files import read_regular, reason_of

_LINE = 120  # characters of the first line of a file that is something else


def read_json_object(path: Path, *, remedy: str) -> dict[str, Any] | None:
    """Return the JSON object in a file; None if there is no such file.

    Args:
        path: of the file.
        remedy: what to do about a damaged file, for the message.

    Raises:
        ResultsError: the file cannot be read, or holds something else.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise ResultsError(f"{path}: expected a JSON object, got {reason_of(error)}. {remedy}") from error
    if not isinstance(content, dict):
        raise ResultsError(f"{path}: expected a JSON object, got {type(content).__name__}. {remedy}")
    return content


def read_csv_lines(path: Path, *, required: Sequence[str] = (), remedy: str) -> list[dict[str, str]] | None:
    """Return the lines of a CSV file, each with all columns; None if there is no such file.

    Args:
        path: of the file.
        required: columns that it must have.
        remedy: what to do about a damaged file, for the message.

    Raises:
        ResultsError: the file cannot be read, lacks a column, or has a line that is too short or too long.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
        columns, *rows = [row for row in csv_rows(text) if row] or [[]]
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path}: expected CSV, got {reason_of(error)}. {remedy}") from error
    if absent := [name for name in required if name not in columns]:
        got = middle_out(", ".join(name.strip() for name in columns), _LINE) or "an empty file"
        raise ResultsError(f"{path}: expected the column {absent[0]}, got {got}. {remedy}")
    for i, row in enumerate(rows, 1):
        if len(row) != len(columns):
            raise ResultsError(f"{path}: expected {len(columns)} cells per line, row {i} has another number. {remedy}")
    return [dict(zip(columns, row, strict=True)) for row in rows]
