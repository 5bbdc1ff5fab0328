"""A scan on 2 to 64 cores, predicted from costs measured here, and the prediction held to real scans.

    python -m benchmarks.cores --layers 4             # shapes of Llama 3.1 8B; 16 cores, 4 GB of disk: about 3 minutes
    python -m benchmarks.cores --layers 2 --scale 2   # half the width: 2 cores, 2 minutes
    python -m benchmarks.cores --costs FILE           # step 3 alone, with what step 1 has printed

1. Costs. One matrix of each shape alone, with one thread: all of its analysis, its passes, its solve; the products are
   the rest. Then how much longer a solve and a product take while others are at work (memory and clock are shared).
2. Check. Scans of the files with 1, 2, 4, ... workers of one thread each up to the cores of this machine: predicted by
   `scan_model`, measured, and the memory. A scan that would take too long is replaced by one at half the width.
3. All 32 blocks on 2 to 64 cores, by the model alone: the tail (fewer matrices than workers are left), what sharing
   long matrices and beginning with the longest save, memory. A machine with more cores than this one is taken to have
   as much memory bandwidth for each.
"""

import argparse
import math
import multiprocessing
import re
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.parallel import Parallelism, predicted_bytes, predicted_cost
from alpha_callbacks.analysis.parts import part_count
from alpha_callbacks.analysis.quantization_error import measure_quantization_error, measure_sizes
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.analysis.short_side import short_side_parts
from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.solvers.gram import add_gram
from alpha_callbacks.utils.machine import available_memory, cpu_threads, peak_memory
from alpha_callbacks.weights.weight import Weight, span_length
from benchmarks.llama_shapes import make
from benchmarks.scan_model import Job, Slowdown, simulate, tail
from scripts.make_llama31_shapes import llama_config, tensor_shapes

CORES = (2, 8, 16, 32, 64)
BLOCKS = 32  # of Llama 3.1 8B
Shape = tuple[int, int]


@dataclass
class Costs:
    """Seconds measured on this machine.

    Attributes:
        jobs: shape -> what one matrix of it costs one worker alone.
        solve: (busy workers, time / time alone) of eigenvalue solves.
        products: the same of products.
        threads: (threads of BLAS, speedup of one product): what a worker with several threads would gain.
    """

    jobs: dict[Shape, Job] = field(default_factory=dict)
    solve: list[tuple[int, float]] = field(default_factory=list)
    products: list[tuple[int, float]] = field(default_factory=list)
    threads: list[tuple[int, float]] = field(default_factory=list)

    @property
    def slowdown(self) -> dict[str, Slowdown]:
        """The factors by kind of phase; passes are taken to slow down as products do."""
        return {
            "passes": _between(self.products),
            "products": _between(self.products),
            "solve": _between(self.solve),
        }


def _between(points: Sequence[tuple[int, float]]) -> Slowdown:
    """Interpolate; beyond the last point its factor stays."""

    def factor(busy: int) -> float:
        for (left, low), (right, high) in zip(points, points[1:], strict=False):
            if left <= busy <= right:
                return low + (high - low) * (busy - left) / (right - left)
        return points[-1][1] if busy > points[0][0] else points[0][1]

    return factor


def one_of_each(folder: Path) -> list[Weight]:
    """Return the first matrix of each shape."""
    weights = open_checkpoint(folder).inventory(AnalysisOptions()).weights
    return list({_shape(weight): weight for weight in reversed(weights)}.values())


def _shape(weight: Weight) -> Shape:
    return weight.out_features, weight.in_features


def seconds(work: Callable[[], object], *, clock: Callable[[], float] = time.thread_time) -> float:
    """Return how long some work takes one thread: CPU time, which others on the machine disturb least.

    Of work shorter than a second the best of three.
    """
    best = math.inf
    for _ in range(3):
        start = clock()
        work()
        best = min(best, clock() - start)
        if best > 1:
            break
    return best


def measure_costs(folder: Path, cores: int) -> Costs:
    """Measure one matrix of each shape; of one with parts, a part, since its parts are alike."""
    torch.set_num_threads(1)
    costs, options, solves = Costs(), AnalysisOptions(), dict[int, float]()
    weights = one_of_each(folder)
    analyze_weight(min(weights, key=predicted_cost), options)  # libraries start
    for weight in sorted(weights, key=predicted_cost):
        n, parts = weight.n_eigs, part_count(weight)
        if n not in solves:
            solves[n] = seconds(lambda n=n: torch.linalg.eigvalsh(_gram(n)))  # type: ignore[misc]
        if parts == 1:
            passes = seconds(lambda w=weight: _passes(w))  # type: ignore[misc]
            whole = seconds(lambda w=weight: analyze_weight(w, options))  # type: ignore[misc]
            costs.jobs[_shape(weight)] = Job(passes, max(whole - solves[n] - passes, 0.0), solves[n])
        else:
            first, length = short_side_parts(weight, None)[0], _rows_of_part(weight)
            share = weight.numel / (length * n)
            one = seconds(lambda p=first, n=n: _products(p(), n))  # type: ignore[misc]
            passes = share * seconds(lambda w=weight, rows=length: _passes(w, rows))  # type: ignore[misc]
            costs.jobs[_shape(weight)] = Job(passes, share * one, solves[n], parts)
    n = max(solves)
    block = torch.randn(span_length(n), n, dtype=torch.float64)
    for busy in sorted({1, -(-cores // 2), cores}):
        costs.solve.append((busy, _side_by_side(busy, lambda: torch.linalg.eigvalsh(_gram(n)))))
        costs.products.append((busy, _side_by_side(busy, lambda: _products(4 * [block], n))))
    for points in (costs.solve, costs.products):
        alone = points[0][1]
        points[:] = [(busy, took / alone) for busy, took in points]
    for threads in _counts(cores):
        torch.set_num_threads(threads)
        costs.threads.append((threads, seconds(lambda: _products([block], n), clock=time.perf_counter)))
    costs.threads = [(threads, costs.threads[0][1] / took) for threads, took in costs.threads]
    return costs


def _counts(cores: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of cores.

    Examples:
        >>> _counts(12)
        [1, 2, 4, 8, 12]
    """
    return sorted({2**i for i in range(cores.bit_length()) if 2**i <= cores} | {cores})


def _gram(n: int) -> torch.Tensor:
    """Return a matrix whose eigenvalues cost what those of a Gram matrix do."""
    block = torch.randn(min(n, 256), n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return torch.eye(n, dtype=torch.float64).addmm_(block.T, block)


def _products(blocks: Any, n: int) -> None:
    gram = torch.zeros(n, n, dtype=torch.float64)
    for block in blocks:
        add_gram(block.double(), gram)


def _passes(weight: Weight, rows: int | None = None) -> None:
    """Read and measure the entries, of some rows at least, as an analysis at the default precisions does."""
    if rows is None:
        weight = weight.held()
    else:
        weight = Weight(weight.layer_name, weight.category, rows, weight.in_features, weight.dtype, "", weight.rows)
    largest = measure_sizes(weight).largest
    measure_quantization_error(weight, get_precision("fp16"), largest)


def _rows_of_part(weight: Weight) -> int:
    first = short_side_parts(weight, None)[0]
    return sum(len(block) for block in first())


def _side_by_side(busy: int, work: Callable[[], object]) -> float:
    """Return the mean CPU seconds of some work while so many threads do it."""
    with ThreadPoolExecutor(busy, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return sum(pool.map(_once, busy * [work])) / busy


def _once(work: Callable[[], object]) -> float:
    start = time.thread_time()
    work()
    return time.thread_time() - start


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


def scanned(folder: Path, workers: int) -> tuple[list[float], float, int]:
    """Scan the files; return when each matrix was done, CPU seconds, and how many bytes the workers took at most."""
    before, started = peak_memory(), time.process_time()
    with tempfile.TemporaryDirectory() as name:
        seen = Seen()
        scan(folder, output_dir=name, workers=workers, threads=workers, plots=Plots(()), report=False,
             save_spectra=False, observer=seen)  # fmt: skip
    return seen.ends, time.process_time() - started, peak_memory() - before


def alone(work: Callable[..., Any], *arguments: object) -> Any:
    """Do some work in a process of its own: nothing computed before it counts in its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def jobs_of(weights: Sequence[Weight], costs: Costs) -> list[Job]:
    """Return the jobs in the order in which a scan takes them."""
    return [costs.jobs[_shape(weight)] for weight in sorted(weights, key=predicted_cost, reverse=True)]


def memory(weights: Sequence[Weight], workers: int) -> int:
    """Return what `choose_parallelism` reckons with for so many workers."""
    return sum(sorted(map(predicted_bytes, weights), reverse=True)[:workers])


def check(folders: dict[int, Path], longest: float, cores: int) -> Costs:
    """Print costs, predictions and scans as they come; return the costs at full size."""
    measured: dict[int, tuple[list[Weight], Costs]] = {}

    def at(scale: int) -> tuple[list[Weight], Costs]:
        if scale not in measured:
            costs: Costs = alone(measure_costs, folders[scale], cores)
            measured[scale] = open_checkpoint(folders[scale]).inventory(AnalysisOptions()).weights, costs
            print_costs(scale, costs)
            print_head()
        return measured[scale]

    first, second = folders
    for workers in _counts(cores):
        for scale in (first, second):
            weights, costs = at(scale)
            course = simulate(jobs_of(weights, costs), workers, costs.slowdown)
            if course.seconds <= longest:
                break
        ends, worked, took = alone(scanned, folders[scale], workers)
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


def print_costs(scale: int, costs: Costs) -> None:
    """Print what was measured."""
    print(f"\nCosts at 1/{scale} of the width, seconds of one worker alone")
    print("         shape  passes products   solve  parts")
    for (rows, columns), job in costs.jobs.items():
        print(f"{rows:6} x {columns:5} {job.passes:7.2f} {job.products:8.2f} {job.solve:7.2f} {job.parts:6}")
    for name, points in (("solve", costs.solve), ("products", costs.products)):
        factors = ", ".join(f"{factor:.2f} with {busy}" for busy, factor in points)
        print(f"{name} while others are at work, time / time alone: {factors}", flush=True)
    speedups = ", ".join(f"{speedup:.2f} with {threads}" for threads, speedup in costs.threads)
    print(f"a product by threads of BLAS instead, speedup: {speedups}", flush=True)


def printed_costs(file: Path) -> Costs:
    """Read costs that `print_costs` has printed."""
    text, costs = file.read_text(encoding="utf-8"), Costs()
    line = r"^ *(\d+) x +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)$"
    for rows, columns, passes, products, solve, parts in re.findall(line, text, re.MULTILINE):
        costs.jobs[int(rows), int(columns)] = Job(float(passes), float(products), float(solve), int(parts))
    for name, points in (("solve", costs.solve), ("products", costs.products)):
        said = re.findall(rf"^{name} while others .*: (.*)$", text, re.MULTILINE)[0]
        points += [(int(busy), float(factor)) for factor, busy in re.findall(r"([\d.]+) with (\d+)", said)]
    return costs


def whole_model(blocks: int, scale: int) -> list[Weight]:
    """Return the matrices of a model in the order of its files, without their values."""
    shapes = tensor_shapes(llama_config(layers=blocks, scale=scale))
    matrices = {name: shape for name, shape in shapes.items() if len(shape) == 2 and "embed" not in name}

    def rows(start: int, stop: int) -> torch.Tensor:
        raise NotImplementedError

    return [Weight(name, "", *shape, torch.bfloat16, "", rows) for name, shape in matrices.items()]


def by_the_model(blocks: int, scale: int, costs: Costs) -> None:
    """Print what the model says of so many blocks on more cores."""
    weights = whole_model(blocks, scale)
    jobs = jobs_of(weights, costs)
    as_listed = [costs.jobs[_shape(weight)] for weight in weights[1:] + weights[:1]]  # the head at the end
    total = sum(job.seconds for job in jobs)
    print(f"\n{len(weights)} matrices of {blocks} blocks by the model, {total:.0f} s of one worker alone")
    print("cores  seconds  speedup   idle    tail  share  | head not shared: seconds, idle | as listed | GB reckoned")
    for cores in CORES:
        course, own = (simulate(jobs, cores, costs.slowdown, shared=shared) for shared in (True, False))
        listed = simulate(as_listed, cores, costs.slowdown)
        print(
            f"{cores:5} {course.seconds:8.1f} {total / course.seconds:8.1f} {course.idle:6.1%} {course.tail:7.1f} "
            f"{course.tail / course.seconds:6.0%}  | {own.seconds:8.1f} {own.idle:21.0%} "
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
    arguments = parser.parse_args()
    if arguments.costs is not None:
        for blocks in (arguments.layers, BLOCKS):
            by_the_model(blocks, arguments.scale, printed_costs(arguments.costs))
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
        costs = check(folders, arguments.longest, cores)
        by_the_model(BLOCKS, arguments.scale, costs)
    print(f"\n{math.ceil(time.perf_counter() - start)} s in all")


if __name__ == "__main__":
    main()
