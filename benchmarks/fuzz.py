"""Mutations of sound files, format by format: a table of what became of them, of time and of memory.

    python -m benchmarks.fuzz --minutes 60          # the hour of fuzzing
    python -m benchmarks.fuzz --count 5000          # so many inputs of each format
    python -m benchmarks.fuzz --only gguf --first 123 --count 1     # one input again

An input is a number: the same one is the same bytes as long as the corpus is (`tests/fuzz/corpus`). CI tries the first
ones (`tests/fuzz/test_fuzz.py`).
"""

import argparse
import re
import sys
import time
from collections import Counter
from functools import partial
from itertools import count

import torch

from tests.fuzz.attack import Tally, attack
from tests.fuzz.formats import FORMATS

_ROUND = 60.0  # seconds that each format gets at a time


def main() -> None:
    """Try inputs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=1.0, help="of all formats together")
    parser.add_argument("--count", type=int, default=0, help="inputs of each format, in place of --minutes")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--only", nargs="+", choices=FORMATS, default=list(FORMATS))
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.count:
        tallies = {name: attack(name, range(asked.first, asked.first + asked.count)) for name in asked.only}
    else:
        tallies = for_minutes(asked.only, asked.minutes, asked.first)
    show(tallies)
    sys.exit(any(tally.failed for tally in tallies.values()))


def _past(moment: float) -> bool:
    return time.monotonic() > moment


def for_minutes(names: list[str], minutes: float, first: int) -> dict[str, Tally]:
    """Give each format the same time, in turns, so that an end before the time leaves a whole picture."""
    tallies, end = {name: Tally() for name in names}, time.monotonic() + 60 * minutes
    while (left := end - time.monotonic()) > 0:
        for name, tally in tallies.items():
            until, known = time.monotonic() + min(_ROUND, left / len(names)), len(tally.failed)
            attack(name, count(first + tally.tried), partial(_past, until), tally)
            for outcome in tally.failed[known:]:
                print(f"{name} {outcome.number}: {outcome.why}", file=sys.stderr, flush=True)
    return tallies


def show(tallies: dict[str, Tally]) -> None:
    """Print the table, and what fell."""
    print(f"$ python -m benchmarks.fuzz {' '.join(sys.argv[1:])}   # torch {torch.__version__}")
    print(
        f"{'format':20} {'tried':>8} {'result':>8} {'status':>8} {'refused':>8} {'failed':>7} {'CPU':>9} {'memory':>9}"
    )
    for name, tally in tallies.items():
        line(name, tally)
    whole = Tally(
        dict(sum((Counter(tally.counts) for tally in tallies.values()), Counter())),
        [outcome for tally in tallies.values() for outcome in tally.failed],
        max(tally.slowest for tally in tallies.values()),
        max(tally.largest for tally in tallies.values()),
    )
    line("all", whole)
    for name, tally in tallies.items():
        kinds: dict[str, list[int]] = {}
        for outcome in tally.failed:
            kinds.setdefault(re.sub(r"\d{3,}", "N", outcome.why.replace("\n", " "))[:160], []).append(outcome.number)
        for why, numbers in kinds.items():
            print(f"{name} {numbers[:3]} ({len(numbers)}): {why}")


def line(name: str, tally: Tally) -> None:
    """Print one line of the table."""
    counts = " ".join(
        f"{tally.counts.get(v, 0):{w},}" for v, w in (("result", 8), ("row status", 8), ("refused", 8), ("failed", 7))
    )
    print(f"{name:20} {tally.tried:8,} {counts} {tally.slowest:7.2f} s {tally.largest:6.0f} MB")


if __name__ == "__main__":
    main()
