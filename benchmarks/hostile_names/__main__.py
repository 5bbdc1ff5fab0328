"""Names that an adversary chose, in everything that is written of them; what fails, by output.

    python -m benchmarks.hostile_names                      # minutes; needs the extra `test`, chromium and LibreOffice
    python -m benchmarks.hostile_names terminal csv         # some of the outputs
    python -m benchmarks.hostile_names --every 9 csv        # each ninth name

Readers are independent of what is read: a pseudo-terminal, pandas, Python's csv, LibreOffice, TensorBoard's and W&B's
own files, chromium. Where an output is not checked because a program is missing, its line says so.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.hostile_names.checked import Checked
from benchmarks.hostile_names.files import charts, pages, plans
from benchmarks.hostile_names.loggers import loggers
from benchmarks.hostile_names.material import Material
from benchmarks.hostile_names.names import LIVE_ONLY, NAMES
from benchmarks.hostile_names.spreadsheets import csv_files, libreoffice
from benchmarks.hostile_names.terminals import terminal

RESULTS = Path(__file__).parents[1] / "results" / "hostile_names.txt"

OUTPUTS: dict[str, Callable[[Material], Iterator[Checked]]] = {
    "terminal": terminal, "csv": csv_files, "libreoffice": libreoffice, "loggers": loggers, "pages": pages,
    "charts": charts, "plans": plans,
}  # fmt: skip


def main() -> None:
    """Print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("outputs", nargs="*", choices=[*OUTPUTS, []], help="all by default")
    parser.add_argument("--every", type=int, default=1, help="take each n-th name")
    asked = parser.parse_args()
    names = NAMES[:: asked.every]
    lines = [
        f"{len(names)} names ({len(LIVE_ONLY)} more in live models)",
        f"{'output':44} {'checks':>6} {'failed':>6}",
    ]
    print(*lines, sep="\n")
    with tempfile.TemporaryDirectory() as folder:
        material = Material(Path(folder), names)
        for output in asked.outputs or OUTPUTS:
            for checked in OUTPUTS[output](material):
                lines.append(checked.line)
                print(lines[-1], flush=True)
    if not asked.outputs and asked.every == 1:
        RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
