"""Has a change cost speed? The ratios of the other benchmarks at a small size, in one run of under a minute.

    python -m benchmarks.gate            # prints each ratio beside the committed one; what moved by over 15 % is marked
    python -m benchmarks.gate --write    # commits to what was measured: benchmarks/results/gate.csv

Run it on a quiet machine after every change to a hot path. Ratios are taken within the run, so they hold on another
machine better than seconds do, but not exactly: before you blame a change, run the gate on the commit before it, here.
Needs the extras "test" and "bench".
"""

import argparse
import csv
import statistics
import warnings
from functools import partial
from pathlib import Path

import torch

from alpha_callbacks.analysis.parallel import Parallelism
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.utils.machine import cpu_threads
from benchmarks import engine, formats, training
from tests.support.format_oracles import ORACLES

COMMITTED = Path(__file__).parent / "results" / "gate.csv"
MOVED = 0.15
SCALE = 4  # of the dimensions of Llama 3.1 8B
FORMATS = {
    "fp8_e4m3": "compressed_tensors",
    "int4_g32": "compressed_tensors",
    "mxfp4": "torchao",
    "nvfp4": "torchao",
    "nf4": "bitsandbytes",
}


def workers() -> dict[str, float]:
    """Two matrices side by side against one after the other, in turns."""
    shape = engine.SHAPES[0].divided(SCALE)
    batch = [engine.matrix(shape, seed) for seed in range(4)]
    best = {1: float("inf"), 2: float("inf")}
    for _ in range(5):
        for count in best:
            best[count] = min(
                best[count], engine.seconds(partial(engine.ours, batch, "exact", Parallelism(count, 1)), 1)
            )
    return {"two workers / one": best[1] / best[2]}


def methods() -> dict[str, float]:
    """The engine against the reference's method and the bare calls, over the shapes of a model."""
    total = dict[str, float]()
    for shape in engine.SHAPES:
        for name, seconds in engine.timed(shape.divided(SCALE), cpu_threads(), 2).items():
            total[name] = total.get(name, 0.0) + shape.count * seconds
    return {
        "exact / reference": total["reference"] / total["exact"],
        "exact / bare calls": total["bare fp64"] / total["exact"],
    }


def fast() -> dict[str, float]:
    """`fast` against `exact` in turns, at half the size: below, both do the same."""
    shape, best = engine.SHAPES[0].divided(SCALE // 2), {"exact": float("inf"), "fast": float("inf")}
    batch = [engine.matrix(shape, seed) for seed in range(2)]
    for _ in range(3):
        for solver in best:
            best[solver] = min(best[solver], engine.seconds(partial(engine.ours, batch, solver, Parallelism(2, 1)), 1))
    return {"fast / exact": best["exact"] / best["fast"]}


def round_trips() -> dict[str, float]:
    """Formats against the libraries that their tests hold them to, on one thread."""
    found = {}
    torch.set_num_threads(1)
    w = 0.02 * torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
    for oracle in ORACLES:
        precision = get_precision(oracle.name)
        if FORMATS.get(precision.name) == oracle.library:
            call = partial(formats.through, precision, float(w.abs().max()))
            ours, theirs = formats.milliseconds((call, oracle.call), w, 5)
            found[f"{precision.name} / {oracle.library}"] = theirs / ours
    return found


def hooks() -> dict[str, float]:
    """Steps of a tiny training run for one step's worth of the callback's hooks, between checkpoints."""
    torch.set_num_threads(cpu_threads())
    training.quiet_down()
    result = training.run(training.TINY, 20, 40, (8, 64))
    spent = sum(s for s in result["hooks"] if s < training.STALL) / 20
    return {"step / hooks": statistics.median(result["quiet"]) / spent}


def committed() -> dict[str, float]:
    """Return the committed ratios."""
    if not COMMITTED.exists():
        return {}
    with COMMITTED.open(encoding="utf-8", newline="") as file:
        return {row["ratio"]: float(row["value"]) for row in csv.DictReader(file)}


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the committed ratios")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(cpu_threads())
    before, found = committed(), dict[str, float]()
    print(f"torch {torch.__version__}, {cpu_threads()} threads; speed ratios, larger is better")
    print(f"{'ratio':>28} {'now':>9} {'committed':>9}")
    for measure in (workers, methods, fast, round_trips, hooks):
        for name, value in measure().items():
            found[name] = value
            old = before.get(name)
            moved = f"{value / old - 1:+.0%}" if old and abs(value / old - 1) > MOVED else ""
            print(f"{name:>28} {value:>9.2f} {f'{old:.2f}' if old else '-':>9} {moved}", flush=True)
    if arguments.write:
        with COMMITTED.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(["ratio", "value"])
            rows.writerows([name, f"{value:.4g}"] for name, value in found.items())


if __name__ == "__main__":
    main()
