"""Side by side in one run: this engine, the reference's method, WeightWatcher, and the bare LAPACK calls.

    python -m benchmarks.engine                     # shapes of Llama 3.1 8B, about 8 minutes on 2 cores
    python -m benchmarks.engine --scale 8 --repeat 3  # the same at an eighth of the size, in seconds
    python -m benchmarks.engine --weightwatcher     # with the peer (extra "bench")
    python -m benchmarks.engine --certified         # decompositions against proofs, about 4 minutes
    python -m benchmarks.engine --certified --model FOLDER   # and all layers of a checkpoint

What is timed, for the fp32, fp16 and bf16 columns of a bf16 weight:

- exact, fast: `analyze_weights` as the scan calls it, as many matrices side by side as the machine has threads.
- reference: `torch.linalg.svdvals` in fp32 of the weight after each precision, one after the other, all threads.
- bare: BLAS ?syrk (SciPy) and `torch.linalg.eigvalsh`, once per matrix, the time on one thread divided by the threads:
  what the Gram route would cost if conversion, checks and precisions were free and threads did not slow each other.
- full, certified (--certified): fp32 weights at fp32, fp16 and bf16, every precision decomposed (`reuse_tol=0`) and
  proved from the first where that holds to `reuse_tol`; in turns, with the share of rows and the largest bound.
- WeightWatcher: its `analyze` (SVD and power-law fit) of one such layer, one precision.
"""

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from scipy.linalg.blas import dsyrk, ssyrk
from threadpoolctl import threadpool_limits
from torch import Tensor

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row
from alpha_callbacks.utils.machine import cpu_threads
from alpha_callbacks.weights.weight import Weight

PRECISIONS = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Shape:
    """A weight shape of Llama 3.1 8B and how often it occurs."""

    name: str
    rows: int
    cols: int
    count: int

    def divided(self, scale: int) -> "Shape":
        """Return the shape with every dimension divided."""
        return replace(self, rows=self.rows // scale, cols=self.cols // scale)


SHAPES = (
    Shape("q, o", 4096, 4096, 64),
    Shape("k, v", 1024, 4096, 64),
    Shape("gate, up", 14336, 4096, 64),
    Shape("down", 4096, 14336, 32),
)


def matrix(shape: Shape, seed: int) -> Tensor:
    """Return a bf16 matrix with columns of uneven scale, so that its spectrum has a tail."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.rand(shape.cols, generator=generator) ** -0.3
    return (0.02 * torch.randn(shape.rows, shape.cols, generator=generator) * scales).bfloat16()


def rows_of(w: Tensor, start: int, stop: int) -> Tensor:
    """Return rows of a matrix, as a source does."""
    return w[start:stop]


def ours(matrices: list[Tensor], solver: str, parallelism: Parallelism) -> None:
    """Analyse the matrices as a scan does."""
    weights = [
        Weight(f"layer{i}", "other", w.shape[0], w.shape[1], torch.bfloat16, "bfloat16", partial(rows_of, w))
        for i, w in enumerate(matrices)
    ]
    options = AnalysisOptions(precisions=tuple(PRECISIONS), solver=solver)  # type: ignore[arg-type]
    for result in analyze_weights(weights, options, parallelism):
        assert all(row.ok for row in result.rows), result


def reference(w: Tensor) -> None:
    """Decompose the weight once per precision, as the reference implementation does."""
    for dtype in PRECISIONS.values():
        torch.linalg.svdvals(w.to(dtype).float())


def bare(w: Tensor, kind: torch.dtype) -> None:
    """Call ?syrk and eigvalsh once on an array that is ready."""
    syrk = dsyrk if kind is torch.float64 else ssyrk
    torch.linalg.eigvalsh(torch.from_numpy(syrk(1.0, w.numpy()).T), UPLO="L")


def weightwatcher_one(w: Tensor) -> None:
    """Run the peer's analysis of one layer."""
    import weightwatcher

    layer = torch.nn.Linear(w.shape[1], w.shape[0], bias=False)
    layer.weight.data = w.float()
    weightwatcher.WeightWatcher(model=torch.nn.Sequential(layer)).analyze(plot=False)


def seconds(call: Callable[[], None], repeat: int) -> float:
    """Return the best time of `repeat` calls."""
    best = float("inf")
    for _ in range(repeat):
        start = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - start)
    return best


def timed(shape: Shape, threads: int, repeat: int, *, with_reference: bool = True) -> dict[str, float]:
    """Return the seconds per matrix of every method on one shape."""
    batch = [matrix(shape, seed) for seed in range(threads)]
    times = {}
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        for name, kind in (("fp64", torch.float64), ("fp32", torch.float32)):
            ready = (batch[0] if shape.rows < shape.cols else batch[0].T).to(kind).T.contiguous().T  # Fortran order
            times[f"bare {name}"] = seconds(partial(bare, ready, kind), repeat) / threads
    torch.set_num_threads(threads)
    for solver in ("exact", "fast"):
        times[solver] = seconds(partial(ours, batch, solver, Parallelism(threads, 1)), repeat) / threads
    if with_reference:
        times["reference"] = seconds(partial(reference, batch[0]), repeat)
    return times


def of_fp32(w: Tensor, options: AnalysisOptions, count: int, parallelism: Parallelism) -> list[Row]:
    """Analyse one matrix, stored in fp32, so many times as a scan does."""
    layer = partial(Weight, category="other", out_features=w.shape[0], in_features=w.shape[1], dtype=torch.float32)
    weights = [layer(f"layer{i}", stored_dtype="float32", rows=partial(rows_of, w)) for i in range(count)]
    return [row for result in analyze_weights(weights, options, parallelism) for row in result.rows]


def of_folder(folder: Path, options: AnalysisOptions, parallelism: Parallelism) -> list[Row]:
    """Analyse all layers of a checkpoint."""
    weights = open_checkpoint(folder).inventory(options).weights
    return [row for result in analyze_weights(weights, options, parallelism) for row in result.rows]


def compare_certified(shapes: Sequence[Shape], model: Path | None, threads: int, repeat: int) -> None:
    """Print the CPU seconds of full decompositions and of proofs, in turns."""
    parallelism = Parallelism(threads, 1)
    jobs: dict[str, Callable[[AnalysisOptions], list[Row]]] = {}
    for shape in shapes:
        w = matrix(shape, 0).float() * (1 + 1e-3 * torch.rand(shape.rows, shape.cols))  # digits that fp32 alone holds
        jobs[f"{shape.rows}x{shape.cols}"] = partial(of_fp32, w, count=threads, parallelism=parallelism)
    if model is not None:
        jobs[model.name] = partial(of_folder, model, parallelism=parallelism)
    print(f"{'fp32 weights':>24} {'full':>8} {'certified':>10} {'ratio':>6} {'rows proved':>12} {'largest bound':>14}")
    for name, job in jobs.items():
        rows: list[Row] = []
        times = {0.0: math.inf, 1e-5: math.inf}
        for _ in range(repeat):
            for tolerance in times:
                start = time.process_time()  # of all workers
                rows = job(AnalysisOptions(precisions=tuple(PRECISIONS), reuse_tol=tolerance))
                times[tolerance] = min(times[tolerance], time.process_time() - start)
        proved = [row for row in rows if row.method == "certified"]
        asked = sum(row.method in ("certified", "computed") for row in rows)
        worst = max((row.alpha_error_bound / row.alpha for row in proved), default=math.nan)
        print(
            f"{name:>24} {times[0.0]:>8.3f} {times[1e-5]:>10.3f} {times[0.0] / times[1e-5]:>6.2f} "
            f"{len(proved):>5} of {asked:<4} {worst:>13.1e}",
            flush=True,
        )


def main() -> None:
    """Time every method on every shape and print seconds per matrix and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=1, help="divide every dimension by this")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--weightwatcher", action="store_true", help="also the peer, on the shape q, o")
    parser.add_argument("--certified", action="store_true", help="only decompositions against proofs")
    parser.add_argument("--model", type=Path, help="with --certified: a checkpoint in fp32")
    arguments = parser.parse_args()
    threads = cpu_threads()
    torch.set_num_threads(threads)
    if arguments.certified:
        print(f"torch {torch.__version__}; CPU seconds for {threads} matrices, best of {arguments.repeat}")
        square_and_tall = [shape.divided(arguments.scale) for shape in (SHAPES[0], SHAPES[2])]
        compare_certified(square_and_tall, arguments.model, threads, arguments.repeat)
        return
    print(f"torch {torch.__version__}, {threads} threads; seconds per matrix, best of {arguments.repeat}")
    header = ("shape", "count", "exact", "fast", "reference", "bare fp64", "bare fp32")
    print(" ".join(f"{name:>10}" for name in header))
    total = dict.fromkeys(header[2:], 0.0)
    for shape in SHAPES:
        times = timed(shape.divided(arguments.scale), threads, arguments.repeat)
        print(
            f"{shape.name:>10} {shape.count:>10} " + " ".join(f"{times[name]:>10.3f}" for name in header[2:]),
            flush=True,
        )
        for name in total:
            total[name] += shape.count * times[name]
        if arguments.weightwatcher and shape is SHAPES[0]:
            peer = seconds(partial(weightwatcher_one, matrix(shape.divided(arguments.scale), 0)), 1)
            print(f"WeightWatcher, one precision of q, o: {peer:.1f} s; exact, three: {peer / times['exact']:.1f} x")
    print(f"{'model':>10} {'':>10} " + " ".join(f"{total[name]:>10.1f}" for name in header[2:]))
    print(
        f"exact is {total['reference'] / total['exact']:.1f} x the reference, "
        f"fast {total['reference'] / total['fast']:.1f} x"
    )
    print(
        f"exact takes {total['exact'] / total['bare fp64']:.2f} x the bare fp64 calls, "
        f"fast {total['fast'] / total['bare fp32']:.2f} x the bare fp32 calls"
    )


if __name__ == "__main__":
    main()
