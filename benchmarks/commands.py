"""CPU seconds of the commands that read results only, each in a process of its own.

Run: python -m benchmarks.commands [--before CHECKOUT] [--repeat 3]

Prediction, before measuring: torch is 2.4 to 3.5 of their seconds; without it a command takes about half. With
--before the same commands of another checkout run in turns with these. Medians.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from torch import nn

from alpha_callbacks import AnalysisOptions, Monitor, Plots, scan

COMMANDS = (
    "recommend scanned",
    "compare scanned -p bf16,int4 -o compared",
    "history run",
    "report scanned",
    "merge scanned -o merged --no-plots",
    "scan --help",
)
HERE = Path(__file__).parents[1]


def main() -> None:
    """Print a line per command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--repeat", type=int, default=3)
    chosen = parser.parse_args()
    checkouts = [*([chosen.before.resolve()] if chosen.before else []), HERE]
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder))
        print(f"{'CPU seconds':45s}" + ("  before    now" if chosen.before else "     now"), flush=True)
        for command in COMMANDS:
            taken: list[list[float]] = [[] for _ in checkouts]
            for _ in range(chosen.repeat):
                for checkout, times in zip(checkouts, taken, strict=True):
                    times.append(_cpu_seconds(command, checkout, Path(folder)))
            print(f"{command:45s}" + "".join(f"{statistics.median(times):8.2f}" for times in taken), flush=True)


def _prepare(folder: Path) -> None:
    """Scan the embedded model, and write the history of ten states."""
    options = AnalysisOptions(precisions=("bf16", "int8", "int4"))
    scan(output_dir=folder / "scanned", options=options, plots=Plots(formats=()))
    with Monitor(AnalysisOptions(), sinks=["csv"], output_dir=folder / "run") as monitor:
        for step in range(10):
            monitor.log(nn.Sequential(*(nn.Linear(64, 64) for _ in range(8))), step=step)


def _cpu_seconds(command: str, checkout: Path, folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "alpha_callbacks", *command.split()],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": f"{checkout}:{checkout / 'integrations'}"},
        check=True,
        capture_output=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
