"""Lines of a benchmark as CSV and as text; lines of models that were not run this time stay."""

import csv
from collections.abc import Callable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

Line = TypeVar("Line", bound=Any)  # a dataclass of str, float and int, the first field of which is the model


def write_lines(found: Sequence[Line], stem: Path, kind: type[Line], shown: Callable[[Line], str], head: str) -> None:
    """Write `stem`.csv and `stem`.txt.

    Args:
        found: of the models that were run.
        stem: path without a suffix.
        kind: class of the lines.
        shown: a line -> its text.
        head: what stands above the lines: the command, and what the figures are.
    """
    table = stem.with_suffix(".csv")
    run = {line.model for line in found}
    kept = [line for line in read_lines(table, kind) if line.model not in run] if table.exists() else []
    lines = [*kept, *found]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([each.name for each in fields(kind)])
        writer.writerows([f"{v:.6g}" if isinstance(v, float) else v for v in astuple(line)] for line in lines)
    stem.with_suffix(".txt").write_text("\n".join([head, *map(shown, lines)]) + "\n", encoding="utf-8")


def read_lines(table: Path, kind: type[Line]) -> list[Line]:
    """Return the lines of a CSV file that `write_lines` wrote."""
    kinds: dict[str, Any] = {each.name: each.type for each in fields(kind)}
    with table.open(encoding="utf-8") as file:
        return [kind(**{n: kinds[n](v) for n, v in row.items()}) for row in csv.DictReader(file)]
