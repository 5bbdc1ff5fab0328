"""Side by side in one run: this engine, the reference's method, WeightWatcher, and the bare LAPACK calls.

    python -m benchmarks.engine                     # shapes of Llama 3.1 8B, about 8 minutes on 2 cores
    python -m benchmarks.engine --scale 8 --repeat 3  # the same at an eighth of the size, in seconds
    python -m benchmarks.engine --weightwatcher     # with the peer (extra "bench")

Proofs and an earlier commit: `benchmarks.methods`. What is timed, for the fp32, fp16 and bf16 columns of a bf16 weight:

- exact, fast: `analyze_weights` as the scan calls it, as many matrices side by side as the machine has threads.
- reference: `torch.linalg.svdvals` in fp32 of the weight after each precision, one after the other, all threads.
- bare: BLAS ?syrk (SciPy) and `torch.linalg.eigvalsh`, once per matrix, the time on one thread divided by the threads:
  what the Gram route would cost if conversion, checks and precisions were free and threads did not slow each other.
- WeightWatcher: its `analyze` (SVD and power-law fit) of one such layer, one precision.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from scipy.linalg.blas import dsyrk, ssyrk
from threadpoolctl import threadpool_limits
from torch import Tensor

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.options import AnalysisOptions
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


def main() -> None:
    """Time every method on every shape and print seconds per matrix and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=1, help="divide every dimension by this")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--weightwatcher", action="store_true", help="also the peer, on the shape q, o")
    arguments = parser.parse_args()
    threads = cpu_threads()
    torch.set_num_threads(threads)
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
