"""Shards of a scan -> one results folder: what `alpha-hill merge` does, as a function."""

from collections.abc import Sequence
from pathlib import Path

from alpha_callbacks.analysis.result import Result
from alpha_callbacks.errors import JournalError
from alpha_callbacks.scanning.journal import FOLDER, NOTES, Identity, read_journal
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.write_results import Plots, ScanResult, write_all
from alpha_callbacks.tables import results_csv
from alpha_callbacks.tables.spectra_files import FOLDER as SPECTRA
from alpha_callbacks.tables.spectra_files import copy_spectra
from alpha_callbacks.utils.atomic_files import write_text


def merge(
    directories: Sequence[str | Path],
    *,
    output_dir: str | Path,
    plots: Plots | None = None,
    report: bool = True,
    observer: Observer | None = None,
) -> ScanResult:
    """Join the journals of shards into one result, equal to that of a single run; spectra are copied where kept.

    Raises:
        JournalError: no journal, journals of different runs, or layers that no shard has finished.
    """
    own: Identity | None = None
    everything: dict[str, Result] = {}
    spectra: dict[str, list[Path]] = {}
    for directory in map(Path, directories):
        own, results = read_journal(directory / FOLDER, own)
        everything.update(results)
        for name in results:  # those of the rows that count come first
            spectra.setdefault(name, []).insert(0, directory / SPECTRA)
    if own is None:
        raise JournalError(f"{', '.join(map(str, directories))}: expected journals of `scan --shard`, found none.")
    target, first = Path(output_dir), Path(directories[0])
    coverage = next((d / results_csv.COVERAGE for d in (target, first) if (d / results_csv.COVERAGE).exists()), None)
    if coverage is None:
        raise JournalError(
            f"{first / results_csv.COVERAGE}: expected the file that `scan --shard` wrote, it is missing."
        )
    write_text(target / results_csv.COVERAGE, coverage.read_text(encoding="utf-8"))
    copy_spectra(spectra, target / SPECTRA)
    record = {"merged": [str(directory) for directory in directories], "notes": own.get(NOTES, [])}
    on_chart = (observer or Observer()).drawing
    return write_all(own, everything, target, plots or Plots(), record, report=report, on_chart=on_chart)
