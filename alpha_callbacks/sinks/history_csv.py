"""alpha_hill_history.csv: all snapshots of a run, one row per step, layer and precision; safe to resume."""

import os
from pathlib import Path
from typing import Any

from alpha_callbacks.sinks.alert import rules_by_row
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.csv_lines import csv_rows, csv_text
from alpha_callbacks.tables.history_columns import HEADER, LATER, ROW_COLUMNS
from alpha_callbacks.tables.results_csv import DIGITS, bound_cell, cell
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)

# Where a proof from an earlier state and a solve of the same bits may differ: in digits, and in the way to them.
_DIGITS = {"alpha", "alpha_ratio", "stderr", "ks_distance", "spectral_norm", "stable_rank", "alpha_spread", "solver"}
_WAY = {"method", "alpha_error_bound", "tail_reason", "drift", "drift_bound"}
_PRINTED = 1e-10  # of alpha: solvers of the same bits differ by less, and cells have 12 digits


class History:
    """Appends snapshots; steps only ever grow in the file.

    A snapshot of step s replaces whatever the file says of step s and later: that is what a run which resumed at s is
    about to do again. Rows of later steps are kept aside in `alpha_hill_history.<n>.csv`, and so is a damaged file and
    that of another run: one with other layers or precisions.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: int | None = None  # last step in the file; None: not looked yet
        self._table: Table | None = None  # the last one, whose cells are those of a state in which nothing changed too
        self._cells: list[str] = []

    def append(self, snapshot: Snapshot) -> Path | None:
        """Write the rows of a snapshot; they are on disk, whole, when this returns.

        Returns:
            Where a file with later steps was kept; None where there was none.
        """
        text, aside = self._text(snapshot), None
        last, self._last = self._last, None  # after an error in mid-write the next call looks at the file again
        gone = last is not None and not self._path.is_file()
        if gone:
            _log.warning("alpha-Hill: %s was removed; it begins again at step %d.", self._path, snapshot.step)
        if last is None or snapshot.step <= last or gone:
            kept, again, aside = self._kept(snapshot)
            if snapshot.event == "start" and _same_values(again, text):
                text = csv_text(again)  # a run that goes on: its state is known as a checkpoint or as the end
            write_text(self._path, csv_text([HEADER]) + kept + text)
        else:
            _add(self._path, text.encode())
        self._last = snapshot.step
        return aside

    def _text(self, snapshot: Snapshot) -> str:
        """Return the rows of a snapshot."""
        if snapshot.table != self._table:
            self._cells = csv_text(_cells(snapshot.table)).split("\n")[:-1]  # no cell holds the end of a line
            self._table = snapshot.table
        state = csv_text([[snapshot.step, cell(snapshot.epoch, 12), snapshot.event]])[:-1]
        alerts = rules_by_row(snapshot.alerts or ())
        rules = (alerts.get((row.layer_name, row.precision), "") for row in snapshot.table)
        ends = (csv_text([[each]]) if each else "\n" for each in rules)
        return "".join(f"{state},{cells},{end}" for cells, end in zip(self._cells, ends, strict=True))

    def _kept(self, snapshot: Snapshot) -> tuple[str, list[list[str]], Path | None]:
        """Return the rows before this step, those of it, and where the file is kept if it has others too.

        A line that a kill cut short is dropped. So is a last state that lacks rows, and then the old file is kept.
        """
        step = snapshot.step
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return "", [], None
        text = data[: data.rfind(b"\n") + 1].decode("utf-8", "replace")
        header, *lines = csv_rows(text) or [[]]
        if lacking := _lacking(header):
            lines, header = _with_empty(lines, header), HEADER
        rows = [line for line in lines if header == HEADER and _is_row(line)]
        again = [row for row in rows if int(row[0]) == step]
        expected = [(row.layer_name, row.precision) for layer in snapshot.table.layers for row in layer.rows]
        earlier, why = [row for row in rows if int(row[0]) < step], ""
        found = _of_last_step(earlier)
        if found and len(found) < len(expected) and found == expected[: len(found)]:
            cut = earlier[-1][0]
            why = f"ends in the middle of step {cut}"
            earlier = [row for row in earlier if row[0] != cut]
            found = _of_last_step(earlier)
        if header != HEADER or len(rows) < len(lines):
            why = "had foreign lines"
        elif earlier and set(found) != set(expected):
            earlier, why = [], "is of another run, with other layers or precisions"
        elif any(int(row[0]) > step for row in rows):
            why = f"an earlier run in this folder went beyond step {step}"
        if lacking and earlier:  # of those kept aside nothing is continued
            said = "%s has no %s: an earlier version wrote it; these cells stay empty for its steps."
            _log.warning(f"alpha-Hill: {said}", self._path, ", ".join(lacking))
        if not why:
            return csv_text(earlier), again, None
        aside = _free_name(self._path)
        aside.write_bytes(data)
        _log.warning("alpha-Hill: %s: %s; the old file is kept as %s.", self._path, why, aside.name)
        return csv_text(earlier), again, aside


def _lacking(header: list[str]) -> list[str]:
    """Return the columns that the file of an earlier version lacks; none if it is something else."""
    lacking = [name for name in LATER if name not in header]
    return lacking if lacking and header == [name for name in HEADER if name not in lacking] else []


def _with_empty(lines: list[list[str]], header: list[str]) -> list[list[str]]:
    """Return the lines with an empty cell for each column that is not in the header; damaged ones as they are."""
    places = [header.index(name) if name in header else None for name in HEADER]
    return [
        ["" if place is None else line[place] for place in places] if len(line) == len(header) else line
        for line in lines
    ]


def _same_values(rows: list[list[str]], text: str) -> bool:
    """Return True if rows of the file have the values of new ones, whatever they were measured for."""
    found = csv_rows(text)
    return len(rows) == len(found) and all(map(_alike, rows, found))


def _alike(row: list[str], other: list[str]) -> bool:
    """Return True if two rows may be of the same bits.

    What a run has proved from an earlier state, one that resumes has to solve: the two differ by less than the bounds.
    """
    after = HEADER.index("event") + 1
    for name, own, new in zip(HEADER[after:], row[after:], other[after:], strict=True):
        if not (own == new or name in _WAY or name in _DIGITS and own and new):
            return False
    alpha, bound = HEADER.index("alpha"), HEADER.index("alpha_error_bound")
    try:
        values = [float(each[alpha] or 0) for each in (row, other)]
        proved = sum(float(each[bound] or 0) for each in (row, other))
    except ValueError:
        return False
    return abs(values[0] - values[1]) <= proved + _PRINTED * abs(values[0])


def _add(path: Path, content: bytes) -> None:
    """Append to a file, or leave it as it was."""
    with path.open("r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        try:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            raise


def _is_row(line: list[str]) -> bool:
    whole = len(line) == len(HEADER) and line[0].isdecimal()
    return whole and not any("\N{REPLACEMENT CHARACTER}" in cell for cell in line)  # where bytes are no UTF-8


def _of_last_step(rows: list[list[str]]) -> list[tuple[str, str]]:
    """Return (layer, precision) of the rows of the last step."""
    layer, precision = HEADER.index("layer_name"), HEADER.index("precision")
    return [(row[layer], row[precision]) for row in rows if row[0] == rows[-1][0]]


def _cells(table: Table) -> list[list[Any]]:
    """Return the cells of each row, without those of the state."""
    lines = []
    for layer in table.layers:
        for row in layer.rows:
            line = [
                bound_cell(value(row)) if name == "alpha_error_bound" else cell(value(row), DIGITS)
                for name, value in ROW_COLUMNS.items()
            ]
            line += [cell(layer.drift(row.precision, table.reference), 4)]
            line += [bound_cell(layer.drift_bound(row.precision, table.reference))]
            lines.append(line)
    return lines


def _free_name(path: Path) -> Path:
    numbers = (path.with_suffix(f".{number}{path.suffix}") for number in range(1, 10**6))
    return next(candidate for candidate in numbers if not candidate.exists())
