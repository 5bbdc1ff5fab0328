"""On a CUDA device: a scan of the shapes of Llama 3.1 8B, the bare calls beside it, and the CPU's values.

    python -m benchmarks.cuda                       # 16 GB of disk, about 2 minutes on an H200 with 16 cores
    python -m benchmarks.cuda --layers 2 --scale 8  # a small version

- bare: `addmm` of the Gram matrix and `torch.linalg.eigvalsh` (cuSOLVER), fp64, one after the other, weights on the
  device already: the time below which the Gram route through cuSOLVER cannot come. Its solves exclude each other.
- scan: `scan` of the files, read once before, without charts and report.
- the CPU: the same rows of the first block, on all cores.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.tables.table import Row
from alpha_callbacks.utils.machine import cpu_threads, peak_memory
from alpha_callbacks.weights.weight import Weight
from benchmarks.llama_shapes import make
from scripts.make_llama31_shapes import Shapes, llama_config, tensor_shapes

DEVICE = "cuda"
LOW_BIT = ("fp32", "fp16", "bf16", "int4")
SIX = ("fp32", "fp16", "bf16", "fp8", "int8", "int4")


def seconds(work: Callable[[], object], repeat: int = 1) -> float:
    """Return the shortest time of some work, the device's own included."""
    best = float("inf")
    for _ in range(repeat):
        torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return best


def bare(shapes: Shapes) -> float:
    """Print the two calls per shape, and return their sum over all matrices."""
    total = 0.0
    for (rows, columns), count in Counter(shape for name, shape in shapes.items() if _is_linear(name, shape)).items():
        matrix = torch.randn(max(rows, columns), min(rows, columns), dtype=torch.float64, device=DEVICE)
        gram = torch.zeros(matrix.shape[1], matrix.shape[1], dtype=torch.float64, device=DEVICE)
        product = seconds(lambda m=matrix, g=gram: g.addmm_(m.T, m), 3)  # type: ignore[misc]
        solve = seconds(lambda g=gram: torch.linalg.eigvalsh(g), 3)  # type: ignore[misc]
        total += count * (product + solve)
        print(f"bare fp64   {rows:6} x {columns:5}, {count:2} of them: product {1e3 * product:7.2f} ms, "
              f"solve {1e3 * solve:7.2f} ms", flush=True)  # fmt: skip
        del matrix, gram
    return total


def _is_linear(name: str, shape: tuple[int, ...]) -> bool:
    return len(shape) == 2 and "embed" not in name


def scanned(folder: Path, output: Path, options: AnalysisOptions, workers: int | None) -> str:
    """Scan the files and say how long it took and what it held."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()

    def work() -> None:
        only_tables = {"plots": Plots(()), "report": False, "save_spectra": False}
        scan(folder, output_dir=output, options=options, workers=workers, **only_tables)  # type: ignore[arg-type]

    return f"{seconds(work):7.2f} s, {torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the device"


def rows_of(weights: Sequence[Weight], options: AnalysisOptions) -> tuple[dict[tuple[str, str], Row], float]:
    """Return the rows by layer and precision, and the seconds they took."""
    start = time.perf_counter()
    found = {(r.layer_name, r.precision): r for result in analyze_weights(weights, options) for r in result.rows}
    return found, time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A scan on a CUDA device, beside the bare calls and the CPU.")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--scale", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{torch.cuda.get_device_name(0)}, {cpu_threads()} CPU threads, torch {torch.__version__}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        (folder := Path(name) / "checkpoint").mkdir()
        make(folder, arguments.layers, arguments.scale)
        shapes = tensor_shapes(llama_config(layers=arguments.layers, scale=arguments.scale))
        matrices = sum(_is_linear(*item) for item in shapes.items())
        stored = sum(file.stat().st_size for file in folder.glob("*.safetensors")) / 1e9
        print(f"{matrices} matrices, {stored:.1f} GB in bf16", flush=True)
        print(f"bare fp64   all {matrices}: {bare(shapes):.2f} s", flush=True)
        weights = open_checkpoint(folder).inventory(AnalysisOptions()).weights
        rows_of(weights[:8], AnalysisOptions(device=DEVICE))  # libraries start, and a clock that had slowed down
        for workers in (None, 1):
            found = scanned(folder, Path(name) / f"exact-{workers}", AnalysisOptions(device=DEVICE), workers)
            print(f"scan exact  fp32,fp16,bf16, workers {workers or 'default'}: {found}", flush=True)
        print(f"peak resident memory {peak_memory() / 1e9:.2f} GB", flush=True)
        some = [weight for weight in weights if ".layers.0." in weight.layer_name]
        for precisions in (("fp32",), AnalysisOptions().precisions, LOW_BIT, SIX):
            _, took = rows_of(some, AnalysisOptions(device=DEVICE, precisions=precisions))
            print(f"one block   {','.join(precisions)}: {took:.2f} s", flush=True)
        alone = Parallelism(1, 1)
        same = [r.rows for r in sorted(analyze_weights(some, AnalysisOptions(device=DEVICE), alone), key=str)]
        again = [r.rows for r in sorted(analyze_weights(some, AnalysisOptions(device=DEVICE)), key=str)]
        print(f"one block   same bits with one worker: {same == again}", flush=True)
        options = AnalysisOptions(precisions=LOW_BIT)
        here, took = rows_of(some, options)
        there, _ = rows_of(some, replace(options, device=DEVICE))
        worst = max(abs(there[key].alpha / here[key].alpha - 1) for key in here)
        agree = all(there[key].status == row.status and there[key].method == row.method for key, row in here.items())
        print(
            f"one block   exact, {','.join(LOW_BIT)} on the CPU: {took:.2f} s; alphas differ by at most {worst:.1e}, "
            f"statuses and methods are {'the same' if agree else 'NOT the same'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
