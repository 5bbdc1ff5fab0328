"""Lines of a benchmark as CSV and as text; lines of models that were not run this time stay."""

import argparse
import csv
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar

from scripts.fetch_real_weights import default_cache

RESULTS = Path(__file__).parent / "results"
MODELS = ["byte-llama", "tiny", "smollm2"]
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


def run_models(
    name: str,
    about: str,
    judged: Callable[[Path, int, list[str]], Iterable[Line]],
    kind: type[Line],
    shown: Callable[[Line], str],
    legend: str,
) -> None:
    """Judge the models that the command line names, print each line, and write all.

    Args:
        name: of the program and its results.
        about: what it does.
        judged: (cache, tokens of each text, names of models) -> lines, as they are found.
        kind: class of the lines.
        shown: a line -> its text.
        legend: what the figures are.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS, help="which (default: all)")
    parser.add_argument("--tokens", type=int, default=4120, help="of each text (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder (default: %(default)s)")
    args = parser.parse_args()
    started, found = time.process_time(), []
    for line in judged(default_cache(), args.tokens, args.models):
        found.append(line)
        print(shown(line), flush=True)
    write_lines(found, args.output / name, kind, shown, f"$ python -m benchmarks.{name}\n{legend}")
    print(f"{time.process_time() - started:.0f} CPU s")
