"""What one matrix of each shape costs one worker alone, measured on this machine, and the jobs made of it."""

import math
import re
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.parallel import predicted_cost
from alpha_callbacks.analysis.parts import part_count, row_parts
from alpha_callbacks.analysis.quantization_error import error_of, measure_quantization_error, measure_sizes, through
from alpha_callbacks.analysis.short_side import short_side_parts
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.solvers.gram import add_gram
from alpha_callbacks.solvers.lanczos import spectral_norm
from alpha_callbacks.weights.weight import Weight, span_length
from benchmarks.scan_model import Job, Phase, Slowdown

Shape = tuple[int, int]
Shared = Literal["everything", "products", "nothing"]  # of a long matrix; passes and norms are since the third of these


@dataclass(frozen=True)
class ShapeCosts:
    """Seconds that a matrix takes.

    Attributes:
        passes: over its entries, at the default precisions.
        products: for its Gram matrix.
        solve: for the eigenvalues.
        parts: of products.
        error: of a format below 16 bits; 0 where none was measured, as are the two that follow.
        again: products after that format's round trip, which is included.
        norm: ||W - Q(W)||_2.
    """

    passes: float
    products: float
    solve: float
    parts: int = 1
    error: float = 0.0
    again: float = 0.0
    norm: float = 0.0

    def job(self, weight: Weight, low_bit: bool, shared: Shared) -> Job:
        """Return what a weight of this shape takes, in the order of an analysis."""
        products = self.parts if shared != "nothing" else 1
        rows, norm = (len(row_parts(weight)), self.parts) if shared == "everything" else (1, 1)
        solve, phases = Phase("solve", self.solve), [Phase("products", self.products, products)]
        phases += [solve, Phase("passes", self.passes, rows)]
        if low_bit:
            phases += [Phase("passes", self.error, rows), Phase("products", self.again, products), solve]
            tall = max(shape_of(weight)) > 4 * weight.n_eigs  # else by products with vectors, which wait for memory
            phases += [Phase("products" if tall else "passes", self.norm, norm)]
        return Job(tuple(phases))


@dataclass
class Costs:
    """Seconds measured on this machine.

    Attributes:
        of: shape -> what one matrix of it costs one worker alone.
        solve: (busy workers, time / time alone) of eigenvalue solves.
        products: the same of products.
        passes: the same of passes over entries.
        threads: (threads of BLAS, speedup of one product): what a worker with several threads would gain.
    """

    of: dict[Shape, ShapeCosts] = field(default_factory=dict)
    solve: list[tuple[int, float]] = field(default_factory=list)
    products: list[tuple[int, float]] = field(default_factory=list)
    passes: list[tuple[int, float]] = field(default_factory=list)
    threads: list[tuple[int, float]] = field(default_factory=list)

    @property
    def slowdown(self) -> dict[str, Slowdown]:
        """The factors by kind of phase."""
        return {kind: _between(points) for kind, points in self.busy.items()}

    @property
    def busy(self) -> dict[str, list[tuple[int, float]]]:
        """What was measured of each kind of phase."""
        return {"solve": self.solve, "products": self.products, "passes": self.passes}

    def jobs(self, weights: Iterable[Weight], low_bit: bool, shared: Shared = "everything") -> list[Job]:
        """Return the jobs of weights, in their order."""
        return [self.of[shape_of(weight)].job(weight, low_bit, shared) for weight in weights]


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
    return list({shape_of(weight): weight for weight in reversed(weights)}.values())


def shape_of(weight: Weight) -> Shape:
    """Return (rows, columns)."""
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


def measure_costs(folder: Path, cores: int, low_bit: str) -> Costs:
    """Measure one matrix of each shape; of one with parts, a part, since its parts are alike.

    Args:
        folder: of the checkpoint.
        cores: workers that slow each other down, at most.
        low_bit: a format below 16 bits to measure too, or "".
    """
    torch.set_num_threads(1)
    costs, options, solves = Costs(), AnalysisOptions(), dict[int, float]()
    weights = one_of_each(folder)
    analyze_weight(min(weights, key=predicted_cost), options)  # libraries start
    for weight in sorted(weights, key=predicted_cost):
        n, parts = weight.n_eigs, part_count(weight)
        if n not in solves:
            solves[n] = seconds(partial(_solve, n))
        if parts == 1:
            passes, whole = seconds(partial(_passes, weight)), seconds(partial(analyze_weight, weight, options))
            found = ShapeCosts(passes, max(whole - solves[n] - passes, 0.0), solves[n])
            found = _with_low_bit(found, weight.held(), low_bit, rows=weight.numel // n)
        else:
            rows, share = _rows_of_part(weight), weight.numel / (_rows_of_part(weight) * n)
            part = replace(weight, out_features=rows)
            one = seconds(partial(_products, part, None))
            found = ShapeCosts(seconds(partial(_passes, part)), one, solves[n], parts)
            found = _with_low_bit(found, part, low_bit, rows=weight.numel // n)
            scaled = {name: share * getattr(found, name) for name in ("passes", "products", "error", "again", "norm")}
            found = replace(found, **scaled)
        costs.of[shape_of(weight)] = found
    n = max(solves)
    block = torch.randn(span_length(n), n, dtype=torch.float64)
    stored = block.bfloat16().repeat(4, 1)
    some = Weight("", "", len(stored), n, stored.dtype, "", lambda start, stop: stored[start:stop])
    for busy in sorted({1, -(-cores // 2), cores}):
        costs.solve.append((busy, _side_by_side(busy, partial(_solve, n))))
        costs.products.append((busy, _side_by_side(busy, partial(_gram_of, 4 * [block]))))
        costs.passes.append((busy, _side_by_side(busy, partial(_passes, some))))
    for points in costs.busy.values():
        alone = points[0][1]
        points[:] = [(busy, took / alone) for busy, took in points]
    for threads in counts(cores):
        torch.set_num_threads(threads)
        costs.threads.append((threads, seconds(partial(_gram_of, [block]), clock=time.perf_counter)))
    costs.threads = [(threads, costs.threads[0][1] / took) for threads, took in costs.threads]
    return costs


def _with_low_bit(found: ShapeCosts, weight: Weight, name: str, *, rows: int) -> ShapeCosts:
    """Add what a low-bit format costs; `rows` of the whole matrix decide how its norm is found."""
    if not name:
        return found
    precision, largest, n = get_precision(name), measure_sizes(weight).largest, weight.n_eigs

    def norm() -> float:
        parts = short_side_parts(weight, error_of(precision, largest))
        return spectral_norm(parts, n, rows=rows, device="cpu")

    return replace(
        found,
        error=seconds(partial(measure_quantization_error, weight, precision, largest)),
        again=seconds(partial(_products, weight, name)),
        norm=seconds(norm),
    )


def counts(cores: int) -> list[int]:
    """Return 1, 2, 4, ... and the number of cores.

    Examples:
        >>> counts(12)
        [1, 2, 4, 8, 12]
    """
    return sorted({2**i for i in range(cores.bit_length()) if 2**i <= cores} | {cores})


def _solve(n: int) -> Tensor:
    """Solve a matrix whose eigenvalues cost what those of a Gram matrix do."""
    block = torch.randn(min(n, 256), n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    evals: Tensor = torch.linalg.eigvalsh(torch.eye(n, dtype=torch.float64).addmm_(block.T, block))
    return evals


def _products(weight: Weight, name: str | None) -> None:
    change = through(get_precision(name), measure_sizes(weight).largest) if name else None
    _gram_of(block for part in short_side_parts(weight, change) for block in part())


def _gram_of(blocks: Iterable[Tensor]) -> None:
    gram = None
    for block in blocks:
        gram = torch.zeros(block.shape[1], block.shape[1], dtype=torch.float64) if gram is None else gram
        add_gram(block.double(), gram)


def _passes(weight: Weight) -> None:
    """Read and measure the entries as an analysis at the default precisions does."""
    weight = weight.held()
    measure_quantization_error(weight, get_precision("fp16"), measure_sizes(weight).largest)


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


def print_costs(costs: Costs, scale: int, low_bit: str) -> None:
    """Print what was measured."""
    print(f"\nCosts at 1/{scale} of the width, seconds of one worker alone")
    print(f"         shape  passes products   solve  parts{f' | {low_bit}: error  again   norm' * bool(low_bit)}")
    for (rows, columns), of in costs.of.items():
        further = f" | {of.error:{len(low_bit) + 7}.2f} {of.again:6.2f} {of.norm:6.2f}" if low_bit else ""
        print(f"{rows:6} x {columns:5} {of.passes:7.2f} {of.products:8.2f} {of.solve:7.2f} {of.parts:6}{further}")
    for name, points in costs.busy.items():
        factors = ", ".join(f"{factor:.2f} with {busy}" for busy, factor in points)
        print(f"{name} while others are at work, time / time alone: {factors}", flush=True)
    speedups = ", ".join(f"{speedup:.2f} with {threads}" for threads, speedup in costs.threads)
    print(f"a product by threads of BLAS instead, speedup: {speedups}", flush=True)


_LINE = re.compile(
    r"^ *(\d+) x +(\d+) +([\d.]+) +([\d.]+) +([\d.]+) +(\d+)(?: \| +([\d.]+) +([\d.]+) +([\d.]+))?$", re.MULTILINE
)


def printed_costs(file: Path) -> Costs:
    """Read costs that `print_costs` has printed; of several the first of each shape."""
    text, costs = file.read_text(encoding="utf-8"), Costs()
    for rows, columns, passes, products, solve, parts, *low in _LINE.findall(text):
        found = ShapeCosts(float(passes), float(products), float(solve), int(parts), *(float(x) for x in low if x))
        costs.of.setdefault((int(rows), int(columns)), found)
    for name, points in costs.busy.items():
        for said in re.findall(rf"^{name} while others .*: (.*)$", text, re.MULTILINE)[:1]:
            points += [(int(busy), float(factor)) for factor, busy in re.findall(r"([\d.]+) with (\d+)", said)]
    costs.passes = costs.passes or costs.products  # earlier files do not have them
    return costs
