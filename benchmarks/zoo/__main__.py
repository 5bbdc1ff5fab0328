"""Are the rows of a live model those of a scan, for every architecture of transformers?

    python -m benchmarks.zoo                        # all of them, in about fifteen minutes
    python -m benchmarks.zoo --subset               # those that the tests repeat
    python -m benchmarks.zoo --names llama mixtral  # some, with the names that only one side has
    python -m benchmarks.zoo --write                # commits to what was found: benchmarks/results/zoo.csv and zoo.txt

One line for each: rows live and scanned, names and alphas that are the same, rows in `other`, matrices that no rule
recognises, and rows that a forward pass did or did not multiply with. Needs the extra "test".
An architecture that takes more than five minutes, or ends the process that builds it, has a line that says so, and the
next is built by another process.
"""

import argparse
from collections.abc import Sequence

from benchmarks.zoo.agreement import Agreement
from benchmarks.zoo.one_by_one import agreements
from benchmarks.zoo.results import SUBSET, TOTALS, line_of, totals, write
from benchmarks.zoo.tiny_models import ARCHITECTURES


def main() -> None:
    """Print a line for each architecture, then the totals."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subset", action="store_true", help="only the architectures that the tests repeat")
    parser.add_argument("--names", nargs="+", choices=ARCHITECTURES, metavar="NAME", help="only these")
    parser.add_argument("--write", action="store_true", help="replace their lines in the committed table")
    arguments = parser.parse_args()
    names: Sequence[str] = arguments.names or (SUBSET if arguments.subset else ARCHITECTURES)
    found = list[Agreement]()
    for one in agreements(names):
        found.append(one)
        print(line_of(one), flush=True)
        if arguments.write:
            write([one])
        for side, only in zip(("model", "file"), one.only if arguments.names else (), strict=False):
            print("".join(f"    only in the {side}: {layer}\n" for layer in only), end="")
    print(totals(found))
    if arguments.write and len(found) == len(ARCHITECTURES):
        TOTALS.write_text(f"{totals(found)}\n")


if __name__ == "__main__":
    main()
