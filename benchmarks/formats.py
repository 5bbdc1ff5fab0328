"""Side by side in one run: our round trips and those of the libraries that the tests hold them to.

    python -m benchmarks.formats                        # 2048 x 2048, best of 5, about 2 minutes
    python -m benchmarks.formats --size 512 --repeat 2  # in seconds

Both are timed in turns, on one thread, on the whole matrix and in pieces of 2^18 weights as a scan passes them; the
better way counts for each. "differ" is how many weights come out otherwise; for the few that do, the reasons stand in
tests/support/format_oracles.py. Needs the extra "test".
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import all_precisions, get_precision
from tests.support.format_oracles import ORACLES, mismatches

PIECE = 2**18


def through(precision: Precision, largest: float, w: Tensor) -> Tensor:
    """Pass weights through one of our formats."""
    return precision.round_trip(w, largest)


def milliseconds(calls: tuple[Callable[[Tensor], Tensor], ...], w: Tensor, repeat: int) -> list[float]:
    """Return the best time of each for a million weights."""
    best = [float("inf")] * len(calls)
    for _ in range(repeat):
        for i, call in enumerate(calls):
            for pieces in (w.split(PIECE // w.shape[1]), (w,)):
                start = time.perf_counter()
                for piece in pieces:
                    call(piece)
                best[i] = min(best[i], time.perf_counter() - start)
    return [seconds * 1e3 / (w.numel() / 1e6) for seconds in best]


def main() -> None:
    """Time every listed format that has an oracle and print milliseconds, ratios and differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=2048, help="rows and columns of the matrix")
    parser.add_argument("--repeat", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    w = 0.02 * torch.randn(arguments.size, arguments.size, generator=torch.Generator().manual_seed(0))
    largest = float(w.abs().max())
    print(
        f"torch {torch.__version__}, 1 thread; ms per million weights, best of {arguments.repeat}; {w.numel()} weights"
    )
    print(f"{'format':>18} {'ours':>8} {'theirs':>8} {'ratio':>7} {'differ':>8}  library")
    listed = {precision.name for precision, _ in all_precisions()}
    for oracle in ORACLES:
        precision = get_precision(oracle.name)
        if precision.name in listed:
            call = partial(through, precision, largest)
            ours, theirs = milliseconds((call, oracle.call), w, arguments.repeat)
            numbers = f"{ours:>8.2f} {theirs:>8.2f} {theirs / ours:>7.2f} {mismatches(call(w), oracle.call(w)):>8}"
            print(f"{precision.name:>18} {numbers}  {oracle.library}", flush=True)


if __name__ == "__main__":
    main()
