"""What a scan holds, format by format: peak memory and time of an output head beside a wide matrix, two workers.

    python -m benchmarks.memory                       # a head of 66 million weights, about 4 minutes on 2 cores
    python -m benchmarks.memory --real --formats int4 # the head of Llama 3.1 8B, 128256 x 4096: 3 minutes each

Each format is a process of its own and asked for beside the stored precision, which costs a decomposition of its own.
A matrix up to 512 MB is held as it is stored while its layer is analysed; what is more than that is blocks and, per
worker, arrays of the short side squared. Memory is what the process took beyond what it had with all imports.
"""

import argparse
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights, predicted_bytes
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import all_precisions, get_precision
from alpha_callbacks.utils.machine import peak_memory
from alpha_callbacks.weights.weight import Weight
from scripts.make_llama31_shapes import DTYPES, Shapes, write_shard

WORKERS = 2
SMALL, REAL = (128256, 512), (128256, 4096)


def low_bit() -> list[str]:
    """Return every registered format below 16 bits, and the examples of each family."""
    return [precision.name for precision, _ in all_precisions() if precision.low_bit]


def analysed(folder: Path, precisions: tuple[str, ...], solver: str) -> str:
    """Analyse the weights of a folder, and say what it took."""
    options = AnalysisOptions(precisions=precisions, solver=solver)  # type: ignore[arg-type]
    weights = open_checkpoint(folder).inventory(options).weights
    tiny = Weight("tiny", "other", 64, 512, torch.float32, "float32", lambda a, b: torch.ones(64, 512)[a:b].tril())
    analyze_weight(tiny, options)  # imports and libraries
    before, start, worked = peak_memory(), time.perf_counter(), time.process_time()
    rows = [row for result in analyze_weights(weights, options, Parallelism(WORKERS, 1)) for row in result.rows]
    took, cpu, peak = time.perf_counter() - start, time.process_time() - worked, peak_memory()
    failed = next((row.reason for row in rows if not row.ok), "")
    solves = sum(row.method == "computed" for row in rows)
    return f"{(peak - before) / 1e9:6.2f} {peak / 1e9:6.2f} {took:8.1f} {cpu:8.1f} {solves:7}  {failed}"


def alone(work: Callable[..., str], *arguments: object) -> str:
    """Do some work in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(work, *arguments).result()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Peak memory and time of each low-bit format.")
    parser.add_argument("--real", action="store_true", help="the head and the down projection of Llama 3.1 8B")
    parser.add_argument("--formats", help="separated by commas; default all below 16 bits")
    parser.add_argument("--stored", choices=DTYPES, default="bf16")
    parser.add_argument("--solver", choices=("exact", "fast"), default="exact")
    parser.add_argument("--transposed", action="store_true", help="the head as wide as it else is tall")
    arguments = parser.parse_args()
    rows, columns = REAL if arguments.real else SMALL
    names = [get_precision(name).name for name in arguments.formats.split(",")] if arguments.formats else low_bit()
    stored = arguments.stored
    head = (columns, rows) if arguments.transposed else (rows, columns)
    shapes: Shapes = {"lm_head.weight": head, "model.layers.0.mlp.down_proj.weight": (columns, 7 * columns // 2)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_shard(folder / "model.safetensors", shapes, 0, stored)
        weights = open_checkpoint(folder).inventory(AnalysisOptions()).weights
        reckoned = sum(map(predicted_bytes, weights)) / 1e9
        described = " and ".join(f"{weight.out_features} x {weight.in_features}" for weight in weights)
        print(f"{described}, stored in {stored} ({sum(weight.nbytes for weight in weights) / 1e9:.2f} GB), "
              f"{arguments.solver}, {WORKERS} workers; {reckoned:.2f} GB reckoned with")  # fmt: skip
        print(f"{'':>24} GB: scan  whole  seconds  CPU sec.  further solves")
        for precisions in [*([] if arguments.formats else [(stored,)]), *((stored, name) for name in names)]:
            found = alone(analysed, folder, precisions, arguments.solver)
            print(f"{precisions[-1]:>24}   {found}", flush=True)


if __name__ == "__main__":
    main()
