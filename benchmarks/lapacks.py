"""Whose BLAS and LAPACK is faster, torch's or NumPy's, by the size and by the solves side by side.

    python -m benchmarks.lapacks          # a minute; what `solvers/shortest_way.py` rests on
    python -m benchmarks.lapacks --products   # the same of Gram matrices; half a minute
    python -m benchmarks.lapacks --fast   # `exact` and `fast`, as many workers as cores

Milliseconds per solve of all eigenvalues, or per Gram matrix of a square block whose rows, or columns, are side by side
in memory, fp64, one thread each, least of two: torch's (MKL in the wheels: `torch.linalg.eigvalsh`, products by
halving) and NumPy's (OpenBLAS in the wheels: `Tridiagonal`, ?syrk).
"""

import argparse
import threading
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.solvers.gram import add_halving
from alpha_callbacks.solvers.numpy_blas import add_products
from alpha_callbacks.solvers.tridiagonal import Tridiagonal
from alpha_callbacks.utils.machine import cpu_cores
from alpha_callbacks.weights.weight import Weight

SIZES = (256, 384, 576, 768, 1024, 1280, 1536, 1792, 2048)
SHAPES = ((1024, 1024, 32), (2048, 2048, 32), (4096, 4096, 16))


def seconds(solve: Callable[[Tensor], object], gram: Tensor, threads: int, repeat: int) -> float:
    """Return the wall time per solve of so many threads side by side."""
    copies = [gram.clone() for _ in range(threads)]

    def work(own: Tensor) -> None:
        torch.set_num_threads(1)
        for _ in range(repeat):
            solve(own)

    running = [threading.Thread(target=work, args=(own,)) for own in copies]
    start = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return (time.perf_counter() - start) / repeat


def solves() -> None:
    """Print a line per number of eigenvalues."""
    for n in SIZES:
        gram = torch.randn(n, n, dtype=torch.float64)
        line = side_by_side(torch.linalg.eigvalsh, lambda own: Tridiagonal(own.clone()).values(), gram @ gram.T)
        print(f"{n:5}  {line}", flush=True)


def products() -> None:
    """Print two lines per number of columns."""
    for n in (64, 128, 192, *SIZES):
        block, gram = torch.randn(n, n, dtype=torch.float64), torch.zeros(n, n, dtype=torch.float64)
        halving = partial(add_halving, gram=gram.clone())
        syrk = partial(add_products, gram=gram)
        for name, own in (("rows", block), ("columns", block.T)):
            print(f"{n:5} {name:7}  {side_by_side(halving, syrk, own)}", flush=True)


def side_by_side(of_torch: Callable[[Tensor], object], of_numpy: Callable[[Tensor], object], given: Tensor) -> str:
    """Return the milliseconds of both, for one thread and for more."""
    line, repeat = [], max(1, min(50, int(3e8 / len(given) ** 3)))
    for threads in sorted({1, 4, 8, 16, cpu_cores()} & set(range(cpu_cores() + 1))):
        torchs, numpys = (
            1e3 * min(seconds(solve, given, threads, repeat) for _ in range(2)) for solve in (of_torch, of_numpy)
        )
        line.append(f"{threads} side by side: {torchs:.2f}, {numpys:.2f} = {torchs / numpys:.2f}")
    return " | ".join(line)


def fast() -> None:
    """Print the time of a few matrices by each solver, by turns."""
    for rows, columns, count in SHAPES:
        weights, line = [tailed(rows, columns, seed) for seed in range(count)], []
        for solver in ("exact", "fast", "exact", "fast"):
            options, start = AnalysisOptions(precisions=("bf16",), solver=solver), time.perf_counter()
            results = list(analyze_weights(weights, options, Parallelism(cpu_cores(), 1)))
            line.append(f"{solver} {time.perf_counter() - start:.2f} s ({results[0].rows[0].solver})")
        print(f"{count} of {rows}x{columns}, {cpu_cores()} workers: {', '.join(line)}", flush=True)


def tailed(rows: int, columns: int, seed: int) -> Weight:
    """Return noise with columns of uneven size, in bf16."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(rows, columns, generator=generator)
    matrix = (noise * torch.rand(columns, generator=generator) ** -0.3).bfloat16()
    return Weight(f"layer{seed}", "", rows, columns, matrix.dtype, "", lambda start, stop: matrix[start:stop])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Whose BLAS and LAPACK is faster, torch's or NumPy's.")
    parser.add_argument("--fast", action="store_true", help="compare `exact` and `fast` instead")
    parser.add_argument("--products", action="store_true", help="compare Gram matrices instead")
    asked = parser.parse_args()
    print(f"{cpu_cores()} cores, torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}", flush=True)
    fast() if asked.fast else products() if asked.products else solves()


if __name__ == "__main__":
    main()
