"""Snapshots as CSV files: the two of a scan in a folder per step, and the history of the run."""

import logging
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from alpha_callbacks.foreign_text import visible
from alpha_callbacks.sinks.history_csv import History
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.further_csv import write_further
from alpha_callbacks.tables.history_columns import HISTORY
from alpha_callbacks.tables.table import Table
from alpha_callbacks.utils.atomic_files import write_text
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.utils.whole_numbers import is_index

_KEPT = 20  # states that wait for a place on the disk

_log = own_logger(__name__)


class CsvSink:
    """Writes into the output folder of a run, and at its end says on stderr where that is.

    `logging.getLogger("alpha_callbacks").setLevel("WARNING")` turns the line off.

    | file | meaning, unit | when |
    |---|---|---|
    | `step_<step>/precision_alpha_hill_results.csv` | the table, one row per layer | every snapshot |
    | `step_<step>/precision_summary_statistics.csv` | statistics of alpha, one row per precision | every snapshot |
    | `step_<step>/tail_estimates.csv` | fits of the tail, one row per layer, precision, estimator | `estimators=` |
    | `step_<step>/spectral_measures.csv` | further measures, one row per layer and precision | `measures=` |
    | `alpha_hill_history.csv` | one row per step, layer and precision | every snapshot |
    """

    adopted = None

    def __init__(self, host: Host) -> None:
        self._directory = host.output_dir
        self._history = History(host.output_dir / HISTORY)
        self._states = 0
        self._waiting: list[Snapshot] = []
        self._lost: list[int] = []  # steps of states that found no place
        self._table: Table | None = None  # the last one, and its files: those of a state in which nothing changed too
        self._texts: dict[str, str] = {}

    def log(self, snapshot: Snapshot) -> None:
        """Append to the history and write the two files; folders of later steps go where their rows are kept.

        What finds no place on the disk is written with the next state, or at the end.
        """
        self._waiting.append(snapshot)
        self._lost += [each.step for each in self._waiting[:-_KEPT]]
        del self._waiting[:-_KEPT]
        while self._waiting:
            snapshot = self._waiting.pop(0)
            try:
                self._write(snapshot)
            except OSError:
                self._waiting.insert(0, snapshot)  # any other error would come again
                raise

    def _write(self, snapshot: Snapshot) -> None:
        aside = self._history.append(snapshot)
        if aside is not None:
            self._move_later(snapshot.step, aside.with_suffix(""))
        folder, table = self._directory / f"step_{snapshot.step:08d}", snapshot.table
        if table != self._table:
            texts = {
                results_csv.RESULTS: results_csv.results_text(table),
                results_csv.SUMMARY: results_csv.summary_text(table),
            }
            self._table, self._texts = table, texts
        try:
            for name, text in self._texts.items():
                write_text(folder / name, text)
            write_further(table, folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)  # no half of a state
            raise
        self._states += 1

    def close(self) -> None:
        """Write what waits, and say where the results are and what they lack; every file is whole after each `log`."""
        waiting, self._waiting = self._waiting, []
        for snapshot in waiting:
            try:
                self._write(snapshot)
            except OSError:  # said when it came first
                self._lost.append(snapshot.step)
        if self._lost:
            steps = ", ".join(map(str, self._lost))
            _log.warning("alpha-Hill: %s lacks states that could not be written: step %s.", self._directory, steps)
        self._lost = []
        states, self._states = self._states, 0  # printed once
        if states and logging.getLogger("alpha_callbacks").level <= logging.INFO and sys.stderr is not None:
            line = f"alpha-Hill: {states} state{'s' * (states > 1)} in {self._directory}. To see them as a page: "
            # A closed stream is no reason to fail; and the line of a progress bar may not have ended yet.
            with suppress(OSError, ValueError):
                print("\n" + visible(f"{line}alpha-hill history {shlex.quote(str(self._directory))}"), file=sys.stderr)

    def _move_later(self, step: int, to: Path) -> None:
        for folder in sorted(self._directory.glob("step_*")):
            number = folder.name.removeprefix("step_")
            if is_index(number) and int(number) > step:
                to.mkdir(exist_ok=True)
                folder.rename(to / folder.name)


def find_csv(host: Host, *, asked: bool) -> list[Sink]:
    """Return the sink; CSV needs nothing of the host but a folder."""
    return [CsvSink(host)]
