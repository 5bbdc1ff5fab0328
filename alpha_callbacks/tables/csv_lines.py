"""Lines of cells <-> CSV. Text in cells goes through `csv_cell`, and back."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from alpha_callbacks.foreign_text import csv_cell, from_csv_cell


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """Return lines of cells as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([csv_cell(each) if isinstance(each, str) else each for each in line] for line in lines)
    return buffer.getvalue()


def csv_rows(text: str) -> list[list[str]]:
    """Return the lines of `csv_text`, with every cell as it was given.

    Raises:
        csv.Error: it is no CSV.
    """
    limit = csv.field_size_limit(max(csv.field_size_limit(), len(text)))  # a name may have a million characters
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    finally:
        csv.field_size_limit(limit)
    changed = "'" in text or "\\" in text  # else no cell is
    return [[from_csv_cell(each) for each in row] for row in rows] if changed else rows
