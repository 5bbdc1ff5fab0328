"""Every way to the alphas of a matrix, side by side in one run: ours by method, ours before proofs, and others'.

    python -m benchmarks.methods --scale 2                # half the shapes of Llama 3.1 8B, minutes on 2 cores
    python -m benchmarks.methods                          # in full size, half an hour
    python -m benchmarks.methods --scale 8 --model FOLDER # also all layers of an fp32 checkpoint

Seconds per matrix for its fp32, fp16 and bf16 values, all threads in use; a process per commit, which take turns.

- lossless: stored in bf16, which all three hold, so one decomposition answers; fast: the same by `solver="fast"`.
- full: stored in fp32, every value decomposed (`reuse_tol=0`); proved: the default, values proved from the first
  one's vectors where the proof holds to `reuse_tol`.
- before: the last commit before such proofs, stored in bf16 and in fp32, with its defaults.
- reference: `torch.linalg.svdvals` in fp32 of the weight after each precision, one after the other, as the reference
  implementation does; turned: with wide matrices transposed first.
- peer: WeightWatcher's `analyze` (SVD and power-law fit), at one precision; extra "bench".
- bare64, bare32: BLAS ?syrk and `eigvalsh` once per matrix: time on one thread divided by the threads.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from alpha_callbacks.utils.machine import cpu_threads
from benchmarks import engine, method_job

HERE = Path(__file__).parent
BEFORE = "9f6dbd775ce23dac325f0c657890fe2e22cfe001"  # workers run side by side, nothing is proved from vectors
JOBS: dict[str, tuple[str, str, dict[str, Any]]] = {  # column: commit, how the weights are stored, options
    "lossless": ("now", "bf16", {}),
    "fast": ("now", "bf16", {"solver": "fast"}),
    "full": ("now", "fp32", {"reuse_tol": 0.0}),
    "proved": ("now", "fp32", {}),
    "before16": ("before", "bf16", {}),
    "before32": ("before", "fp32", {}),
}
OTHERS = ("reference", "turned", "peer", "bare64", "bare32")


def tree_before(folder: Path) -> Path:
    """Write the tree of the earlier commit, with this program's other half in it."""
    packed = subprocess.run(["git", "archive", BEFORE], cwd=HERE.parent, capture_output=True)
    if packed.returncode:
        raise SystemExit(f"expected a clone with the commit {BEFORE[:7]}, got: {packed.stderr.decode().strip()}")
    with tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
    shutil.copy(HERE / "method_job.py", folder / "benchmarks")
    return folder


@contextmanager
def asked(tree: Path, threads: int) -> Iterator["Asked"]:
    """Start the program that times one tree; end it afterwards."""
    environment = os.environ | {"PYTHONPATH": f"{tree}{os.pathsep}{tree / 'integrations'}"}
    command = [sys.executable, "-m", "benchmarks.method_job"]
    with subprocess.Popen(
        command, cwd=tree, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        yield Asked(child.stdin, child.stdout, threads)
        child.stdin.close()


class Asked:
    """A program that answers one request at a time."""

    def __init__(self, questions: IO[str], answers: IO[str], threads: int) -> None:
        self._questions, self._answers, self._threads = questions, answers, threads

    def __call__(self, **request: Any) -> dict[str, Any]:
        """Return its answer."""
        print(json.dumps(request | {"threads": self._threads}), file=self._questions, flush=True)
        line = self._answers.readline()
        if not line:
            raise SystemExit("expected an answer, got none: see the error above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def others(w: Tensor, threads: int) -> dict[str, float]:
    """Return seconds of the ways that are not ours."""
    torch.set_num_threads(threads)
    tall = w if w.shape[0] >= w.shape[1] else w.T.contiguous()
    took = {"reference": engine.seconds(partial(engine.reference, w), 1)}
    took["turned"] = took["reference"] if tall is w else engine.seconds(partial(engine.reference, tall), 1)
    with redirect_stdout(None):
        engine.weightwatcher_one(torch.eye(8))  # its imports
        took["peer"] = engine.seconds(partial(engine.weightwatcher_one, w), 1)
    torch.set_num_threads(1)
    with threadpool_limits(1, user_api="blas"):
        for name, kind in (("bare64", torch.float64), ("bare32", torch.float32)):
            ready = tall.T.to(kind).T.contiguous().T  # Fortran order
            took[name] = engine.seconds(partial(engine.bare, ready, kind), 1) / threads
    return took


def main() -> None:
    """Print the tables as they grow."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=1, help="divide every dimension by this")
    parser.add_argument("--shapes", default="", help='some of "q, o", "k, v", "gate, up", "down", joined by "; "')
    parser.add_argument("--model", type=Path, help="an fp32 checkpoint: seconds for all its layers")
    parser.add_argument("--repeat", type=int, default=2, help="take the best of so many, in turns; the others run once")
    arguments = parser.parse_args()
    threads = cpu_threads()
    print(f"torch {torch.__version__}, {threads} threads; seconds per matrix")
    print(
        f"{'shape':>12} " + " ".join(f"{name:>9}" for name in (*JOBS, *OTHERS)) + f" {'rows proved':>12} largest bound"
    )
    with tempfile.TemporaryDirectory() as name, asked(HERE.parent, threads) as now, asked(
        tree_before(Path(name)), threads
    ) as before:  # fmt: skip
        commits = {"now": now, "before": before}
        wanted = arguments.shapes.split("; ") if arguments.shapes else [shape.name for shape in engine.SHAPES]
        shapes = [shape.divided(arguments.scale) for shape in engine.SHAPES if shape.name in wanted]
        questions: list[dict[str, Any]] = [{"rows": shape.rows, "cols": shape.cols} for shape in shapes]
        if arguments.model is not None:
            questions.append({"model": str(arguments.model.resolve())})
        for question in questions:
            found: dict[str, dict[str, Any]] = {}
            for _ in range(arguments.repeat):
                for column, (commit, stored, options) in JOBS.items():
                    if "model" not in question or stored == "fp32":
                        answer = commits[commit](stored=stored, options=options, **question)
                        found[column] = min(found.get(column, answer), answer, key=itemgetter("wall"))
            count = 1 if "model" in question else threads
            took = {column: answer["wall"] / count for column, answer in found.items()}
            label = arguments.model.name if "model" in question else f"{question['rows']}x{question['cols']}"
            if "model" not in question:
                took |= others(method_job.matrix(question["rows"], question["cols"], 0, "bf16"), threads)
            how = found["proved"]["methods"]
            asked_for = how.get("certified", 0) + how.get("computed", 0)
            print(
                f"{label:>12} "
                + " ".join(f"{took[name]:9.3f}" if name in took else f"{'':9}" for name in (*JOBS, *OTHERS))
                + f" {how.get('certified', 0):>5} of {asked_for:<4} {found['proved']['worst']:12.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
