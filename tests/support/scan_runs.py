"""Scans as users run them, and scans whose values judge those of other tests."""

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from alpha_callbacks import AnalysisOptions, Plots, scan
from alpha_callbacks.tables.table import Table
from tests.conftest import REPOSITORY
from tests.support import warm
from tests.support.ranks import run_ranks

NO_PLOTS = Plots(formats=())
QUIET: dict[str, Any] = {"plots": NO_PLOTS, "report": False}  # for scan and merge, where only the numbers matter
FILES = ("precision_alpha_hill_results.csv", "precision_summary_statistics.csv", "coverage.csv")
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "alpha_callbacks", "scan")


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the result files in this folder."""
    return {name: (folder / name).read_bytes() for name in FILES}


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments in the repository and return what it printed."""
    path = f"{REPOSITORY}:{REPOSITORY / 'integrations'}"
    return warm.run(arguments, imports=warm.COMMAND, environment={**os.environ, "PYTHONPATH": path, **environment})


def command_on_ranks(*arguments: object) -> list[str]:
    """Run alpha-hill on two processes, without the start of torchrun; return what each printed; all must end well."""
    with tempfile.TemporaryDirectory() as folder:
        return run_ranks(["-m", "alpha_callbacks", *arguments], Path(folder), imports=warm.COMMAND)


def scanned_table(checkpoint: Path, folder: Path, precisions: Iterable[str]) -> Table:
    """Return the table of a scan. It draws nothing and keeps no eigenvalues: only the values are needed."""
    options = AnalysisOptions(precisions=tuple(precisions))
    result = scan(checkpoint, output_dir=folder, options=options, save_spectra=False, **QUIET)
    assert result is not None
    return result.table
