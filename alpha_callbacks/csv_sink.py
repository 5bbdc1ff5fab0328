"""Snapshots as CSV files: the two of a scan in a folder a step, and the history of the run."""

from alpha_callbacks import csv_files
from alpha_callbacks.history import HISTORY, History
from alpha_callbacks.sinks import Host, Sink
from alpha_callbacks.snapshot import Snapshot


class CsvSink:
    """Writes into the output folder of a run.

    | file | meaning, unit | when |
    |---|---|---|
    | `step_<step>/precision_alpha_hill_results.csv` | the table, one row a layer | every snapshot |
    | `step_<step>/precision_summary_statistics.csv` | statistics of alpha, one row a precision | every snapshot |
    | `alpha_hill_history.csv` | one row a step, layer and precision | every snapshot |
    """

    adopted = None

    def __init__(self, host: Host) -> None:
        self._directory = host.output_dir
        self._history = History(host.output_dir / HISTORY)

    def log(self, snapshot: Snapshot) -> None:
        """Write the two files and append to the history."""
        folder = self._directory / f"step_{snapshot.step:08d}"
        csv_files.write_results(snapshot.table, folder / csv_files.RESULTS, solver=snapshot.solver)
        csv_files.write_summary(snapshot.table, folder / csv_files.SUMMARY, solver=snapshot.solver)
        self._history.append(snapshot)

    def close(self) -> None:
        """Do nothing: every file is whole after each `log`."""


def find_csv(host: Host, *, asked: bool) -> list[Sink]:
    """Return the sink; CSV needs nothing of the host but a folder."""
    return [CsvSink(host)]
