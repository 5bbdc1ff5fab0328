"""A checkpoint that is one side of a comparison -> its table."""

from dataclasses import replace
from pathlib import Path

import typer

from alpha_callbacks.comparison.inputs import Scan
from alpha_callbacks.errors import JournalError
from alpha_callbacks.options import AnalysisOptions, pick_device
from alpha_callbacks.tables.table import Table


def scanner(*, hide_progress: bool) -> Scan:
    """Return what scans a checkpoint with the usual progress; a scan that exists already is used."""

    def run(source: str, folder: Path, options: AnalysisOptions) -> Table:
        try:
            return _scan(source, folder, options, hide_progress=hide_progress, resume=True)
        except JournalError:  # the checkpoint has changed since
            return _scan(source, folder, options, hide_progress=hide_progress, resume=False)

    return run


def _scan(source: str, folder: Path, options: AnalysisOptions, *, hide_progress: bool, resume: bool) -> Table:
    from alpha_callbacks.cli.progress import ScanProgress
    from alpha_callbacks.scanning.scan import scan
    from alpha_callbacks.scanning.write_results import Plots

    with ScanProgress(hidden=hide_progress) as progress:
        result = scan(
            source,
            output_dir=folder,
            options=replace(options, device=pick_device(options.device)),
            plots=Plots(()),
            report=False,
            save_spectra=False,
            resume=resume,
            observer=progress,
        )
    if result is None:  # a rank of torchrun that writes nothing
        raise typer.Exit(0)
    return result.table
