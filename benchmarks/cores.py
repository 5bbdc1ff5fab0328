"""A scan on 2 to 64 cores, predicted from costs measured here, and the prediction held to real scans.

    python -m benchmarks.cores --layers 4             # shapes of Llama 3.1 8B; 16 cores, 4 GB of disk: about 3 minutes
    python -m benchmarks.cores --layers 2 --scale 2   # half the width: 2 cores, 2 minutes
    python -m benchmarks.cores --layers 4 --low-bit int4 --workers 16   # with int4, one real scan: about 3 minutes
    python -m benchmarks.cores --costs FILE           # step 3 alone, with what step 1 has printed

1. Costs. One matrix of each shape alone, with one thread: all of its analysis, its passes, its solve; the products are
   the rest. With `--low-bit` the error of that format, the products after its round trip, the norm of the change. Then
   how much longer a solve and a product take while others are at work (memory and clock are shared).
2. Check. Scans of the files with 1, 2, 4, ... workers of one thread each up to the cores of this machine: predicted by
   `scan_model`, measured, and the memory. A scan that would take too long is replaced by one at half the width.
3. All 32 blocks on 2 to 64 cores, by the model alone: the tail (fewer matrices than workers are left), what sharing
   long matrices and beginning with the longest save, memory. A machine with more cores than this one is taken to have
   as much memory bandwidth for each.
"""

import argparse
import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from alpha_callbacks.analysis.parallel import Parallelism, predicted_bytes, predicted_cost
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.utils.machine import available_memory, cpu_threads, peak_memory
from alpha_callbacks.weights.weight import Weight
from benchmarks.llama_shapes import DEFAULT, make
from benchmarks.scan_model import simulate, tail
from benchmarks.shape_costs import Costs, counts, measure_costs, print_costs, printed_costs
from scripts.make_llama31_shapes import llama_config, tensor_shapes

CORES = (2, 8, 16, 32, 64)
BLOCKS = 32  # of Llama 3.1 8B


@dataclass
class Seen(Observer):
    """What a real scan showed: when each matrix was done, since the first was begun."""

    ends: list[float] = field(default_factory=list)
    start: float = 0.0

    def opened(self, checkpoint: Checkpoint, todo: Sequence[Weight], kept: int, parallelism: Parallelism) -> None:
        """Start the clock."""
        self.start = time.perf_counter()

    def finished(self, result: Result) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter() - self.start)


def scanned(folder: Path, workers: int, precisions: tuple[str, ...]) -> tuple[list[float], float, int]:
    """Scan the files; return when each matrix was done, CPU seconds, and how many bytes the workers took at most."""
    before, started = peak_memory(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        seen = Seen()
        scan(folder, output_dir=name, options=AnalysisOptions(precisions=precisions), workers=workers, threads=workers,
             plots=Plots(()), report=False, save_spectra=False, observer=seen)  # fmt: skip
    return seen.ends, time.process_time() - started, peak_memory() - before


def alone(work: Callable[..., Any], *arguments: object) -> Any:
    """Do some work in a process of its own: nothing computed before it counts in its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def longest_first(weights: Sequence[Weight]) -> list[Weight]:
    """Return the weights in the order in which a scan takes them."""
    return sorted(weights, key=predicted_cost, reverse=True)


def memory(weights: Sequence[Weight], workers: int) -> int:
    """Return what `choose_parallelism` reckons with for so many workers."""
    return sum(sorted(map(predicted_bytes, weights), reverse=True)[:workers])


def check(folders: dict[int, Path], longest: float, cores: int, workers_of: Sequence[int], low_bit: str) -> Costs:
    """Print costs, predictions and scans as they come; return the costs at full size."""
    measured: dict[int, tuple[list[Weight], Costs]] = {}

    def at(scale: int) -> tuple[list[Weight], Costs]:
        if scale not in measured:
            costs: Costs = alone(measure_costs, folders[scale], cores, low_bit)
            measured[scale] = open_checkpoint(folders[scale]).inventory(AnalysisOptions()).weights, costs
            print_costs(costs, scale, low_bit)
            print_head()
        return measured[scale]

    first, second = folders
    precisions = (*DEFAULT, low_bit) if low_bit else DEFAULT
    for workers in workers_of:
        for scale in (first, second):
            weights, costs = at(scale)
            course = simulate(costs.jobs(longest_first(weights), bool(low_bit)), workers, costs.slowdown)
            if course.seconds <= longest:
                break
        ends, worked, took = alone(scanned, folders[scale], workers, precisions)
        print(
            f"{workers:7} {f'1/{scale}':>6} | {course.seconds:9.1f} {max(ends):9.1f} {course.seconds / max(ends):6.2f} "
            f"| {course.busy:9.1f} {worked:9.1f} {course.busy / worked:6.2f} "
            f"| {course.tail / course.seconds:9.0%} {tail(ends, workers) / max(ends):9.0%} "
            f"| {memory(weights, workers) / 1e9:8.2f} {took / 1e9:9.2f}",
            flush=True,
        )
    return measured[first][1]


def print_head() -> None:
    """Print what stands above the lines of real scans, one of which follows as soon as it is done."""
    print("\nReal scans, one thread for each worker: seconds from the first matrix begun to the last one done; CPU")
    print("seconds; share of the tail, in which fewer matrices than workers are left; GB beside the process itself")
    print(f"{'':14} | {'seconds':>26} | {'CPU seconds':>26} | {'tail':>19} | {'GB':>18}")
    print(
        "workers  width " + 2 * "| predicted  measured  ratio " + "| predicted  measured | reckoned  measured",
        flush=True,
    )


def whole_model(blocks: int, scale: int) -> list[Weight]:
    """Return the matrices of a model in the order of its files, without their values."""
    shapes = tensor_shapes(llama_config(layers=blocks, scale=scale))
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2 and "embed" not in name}

    def rows(start: int, stop: int) -> torch.Tensor:
        raise NotImplementedError

    return [Weight(name, "", *shape, torch.bfloat16, "", rows) for name, shape in matrices.items()]


def by_the_model(blocks: int, scale: int, costs: Costs, low_bit: str) -> None:
    """Print what the model says of so many blocks on more cores."""
    weights, low = whole_model(blocks, scale), bool(low_bit)
    ordered = longest_first(weights)
    as_listed = costs.jobs(weights[1:] + weights[:1], low)  # the head at the end
    total = sum(job.seconds for job in as_listed)
    formats = ", ".join((*DEFAULT, low_bit) if low else DEFAULT)
    print(f"\n{len(weights)} matrices of {blocks} blocks at {formats} by the model, "
          f"{total:.0f} s of one worker alone")  # fmt: skip
    print("cores  seconds  speedup   idle    tail  share  | of the head products alone shared: seconds, idle "
          "| nothing: seconds, idle | as listed | GB reckoned")  # fmt: skip
    for cores in CORES:
        course, products, nothing = (
            simulate(costs.jobs(ordered, low, shared), cores, costs.slowdown)
            for shared in ("everything", "products", "nothing")
        )
        listed = simulate(as_listed, cores, costs.slowdown)
        print(
            f"{cores:5} {course.seconds:8.1f} {total / course.seconds:8.1f} {course.idle:6.1%} {course.tail:7.1f} "
            f"{course.tail / course.seconds:6.0%}  | {products.seconds:42.1f} {products.idle:6.1%} "
            f"| {nothing.seconds:16.1f} {nothing.idle:6.0%} "
            f"| {listed.seconds:9.1f} | {memory(weights, cores) / 1e9:11.1f}",
            flush=True,
        )


def main() -> None:
    """Measure, check, and print."""
    parser = argparse.ArgumentParser(description="A scan on many cores, predicted and measured.")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--scale", type=int, default=1, help="divide the width by this, 1 to 32 in powers of two")
    parser.add_argument("--longest", type=float, default=45.0, help="seconds of a real scan at full size")
    parser.add_argument("--costs", type=Path, help="measure nothing: the model with costs printed earlier")
    parser.add_argument("--low-bit", default="", metavar="FORMAT", help="ask for a format below 16 bits too")
    parser.add_argument("--workers", type=int, nargs="*", help="of the real scans; default 1, 2, 4, ... all cores")
    arguments = parser.parse_args()
    low_bit = arguments.low_bit and get_precision(arguments.low_bit).name
    if arguments.costs is not None:
        for blocks in (arguments.layers, BLOCKS):
            by_the_model(blocks, arguments.scale, printed_costs(arguments.costs), low_bit)
        return
    start, cores = time.perf_counter(), cpu_threads()
    print(
        f"{cores} cores, {available_memory() / 1e9:.0f} GB free, torch {torch.__version__}; {arguments.layers} blocks"
    )
    with tempfile.TemporaryDirectory() as name:
        folders = {scale: Path(name) / str(scale) for scale in (arguments.scale, 2 * arguments.scale)}
        for scale, folder in folders.items():
            folder.mkdir()
            make(folder, arguments.layers, scale)
        print(f"files made after {time.perf_counter() - start:.0f} s", flush=True)
        costs = check(folders, arguments.longest, cores, arguments.workers or counts(cores), low_bit)
        for blocks in (arguments.layers, BLOCKS):
            by_the_model(blocks, arguments.scale, costs, low_bit)
    print(f"\n{math.ceil(time.perf_counter() - start)} s in all")


if __name__ == "__main__":
    main()
