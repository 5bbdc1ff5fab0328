"""Lines of cells <-> CSV. Text in cells goes through `csv_cell`, and back."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from alpha_callbacks.foreign_text import csv_cell, from_csv_cell


def csv_text(lines: Iterable[Sequence[Any]]) -> str:
    """Return lines of cells as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerows([csv_cell(each) if isinstance(each, str) else each for each in line] for line in lines)
    return buffer.getvalue()


def csv_rows(text: str) -> Iterator[list[str]]:
    """Yield the lines of `csv_text`, with every cell as it was given.

    Raises:
        csv.Error: it is no CSV.
    """
    rows = csv.reader(io.StringIO(text, newline=""))
    changed = "'" in text or "\\" in text  # else no cell is
    return ([from_csv_cell(each) for each in row] for row in rows) if changed else rows
