"""Are the rows of a live model those of a scan, for every architecture of transformers?

    python -m benchmarks.zoo                        # all of them, in about ten minutes
    python -m benchmarks.zoo --subset               # those that the tests repeat
    python -m benchmarks.zoo --names llama mixtral  # some, with the names that only one side has
    python -m benchmarks.zoo --write                # commits to what was found: benchmarks/results/zoo.csv and zoo.txt

One line for each: rows live and scanned, names and alphas that are the same, rows in `other`, matrices that no rule
recognises, and rows that a forward pass did or did not multiply with. Needs the extra "test".
"""

import argparse
import logging
import warnings
from collections.abc import Sequence

from huggingface_hub import constants
from transformers.utils import logging as transformers_logging

from benchmarks.zoo.agreement import Agreement, agreement
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
    constants.HF_HUB_OFFLINE = True  # no constructor fetches anything
    warnings.filterwarnings("ignore")  # of the constructors, as what they log
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    found = list[Agreement]()
    for name in names:
        found.append(agreement(name))
        print(line_of(found[-1]), flush=True)
        for side, only in zip(("model", "file"), found[-1].only if arguments.names else (), strict=False):
            print("".join(f"    only in the {side}: {layer}\n" for layer in only), end="")
    print(totals(found))
    if arguments.write:
        write(found)
        if len(found) == len(ARCHITECTURES):
            TOTALS.write_text(f"{totals(found)}\n")


if __name__ == "__main__":
    main()
