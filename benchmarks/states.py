"""Does a long run cost more and more? 200 measured states: memory, open files and time per state, by quarters.

    python -m benchmarks.states                  # about 2 minutes on 2 idle cores; peaks at 0.5 GB
    python -m benchmarks.states --states 1000 csv
    python -m benchmarks.states unchanged        # a state in which nothing changed, 135 M parameters; half a minute

All six layers change from state to state, and charts are drawn of every one (by default, of every tenth). A line is a
quarter of the run: the largest resident memory and number of descriptors in it, and the median of the CPU time of a
state (all threads of the process). The last line of each kind is the growth from the second quarter to the last; the
first one loads and warms up.

"unchanged" is another question: what a state costs in which no bit has changed, of SmolLM2-135M's shapes in fp32
(538 MB). The bits are read all the same, since nothing else tells. The least that can cost is one sum over them, made
beside it.
"""

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import nn

from alpha_callbacks import AnalysisOptions, Monitor
from alpha_callbacks.training.weight_digest import digest

SINKS = {
    "csv": ("csv",),
    "tensorboard": ("csv", "tensorboard"),
    "wandb": ("csv", "wandb"),
    "background": ("csv", "tensorboard"),
}


@dataclass(frozen=True)
class State:
    """What one state cost, and what the process held after it."""

    seconds: float
    megabytes: float
    descriptors: int


def run(kind: str, states: int, folder: Path) -> list[State]:
    """Measure a model again and again, and the process with it."""
    torch.manual_seed(0)
    model = nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32)) for _ in range(3)])
    options: dict[str, Any] = {"background": True} if kind == "background" else {}
    tracked = None
    if kind == "wandb":
        import wandb

        tracked = wandb.init(project="states", mode="offline", dir=folder)
    process, found = psutil.Process(), list[State]()
    with Monitor(sinks=list(SINKS[kind]), output_dir=folder / "alpha_hill", threads=1, images=1, **options) as monitor:
        for step in range(states):
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn_like(parameter) * 0.01)
            begun = time.process_time()
            monitor.log(model, step)
            monitor.poll(wait=True)
            if tracked is not None:
                tracked.log({"loss": 1.0})  # closes the row that the state has joined
            spent = time.process_time() - begun
            held = process.memory_info().rss / 2**20
            found.append(State(spent, held, process.num_fds()))
    if tracked is not None:
        tracked.finish()
    return found


def table(kind: str, found: list[State]) -> str:
    """Return a line per quarter, and the growth."""
    size = len(found) // 4
    quarters = [found[i * size : (i + 1) * size] for i in range(4)]
    memory = [max(state.megabytes for state in quarter) for quarter in quarters]
    files = [max(state.descriptors for state in quarter) for quarter in quarters]
    seconds = [statistics.median(state.seconds for state in quarter) for quarter in quarters]
    lines = [
        f"{kind:12} {number:7} {megabytes:9.1f} {count:11} {each * 1e3:9.1f}"
        for number, (megabytes, count, each) in enumerate(zip(memory, files, seconds, strict=True), start=1)
    ]
    growth = f"{memory[3] - memory[1]:+9.1f} {files[3] - files[1]:+11} {seconds[3] / seconds[1]:8.2f}x"
    return "\n".join([*lines, f"{kind:12}  growth {growth}"])


def unchanged(folder: Path) -> str:
    """Return what a state costs in which nothing changed, CPU seconds: least and median of 20."""
    torch.set_num_threads(1)
    sides = {"q": (576, 576), "k": (192, 576), "v": (192, 576), "o": (576, 576), "gate": (1536, 576), "up": (1536, 576)}
    block = [nn.Linear(i, o, bias=False, dtype=torch.float32) for o, i in (*sides.values(), (576, 1536))]
    model = nn.ModuleDict({"layers": nn.ModuleList(nn.ModuleList(map(copy.deepcopy, block)) for _ in range(30))})
    model["head"] = nn.Linear(576, 49152, bias=False)
    weights = [parameter.detach() for parameter in model.parameters()]
    states, digests, sums = list[float](), list[float](), list[float]()
    with Monitor(AnalysisOptions(reuse_tol=0.5), sinks=["csv"], output_dir=folder, threads=1) as monitor:
        monitor.log(model, 0)
        for step in range(1, 21):
            states.append(_cpu(partial(monitor.log, model, step)))
            digests.append(_cpu(lambda: [digest([weight]) for weight in weights]))
            sums.append(_cpu(lambda: [weight.view(-1).view(torch.int64).sum() for weight in weights]))
    found = {"a state": states, "its digests": digests, "one sum": sums}
    size = sum(weight.numel() for weight in weights) / 1e6
    times = ", ".join(f"{name} {min(each):.3f} {statistics.median(each):.3f}" for name, each in found.items())
    return f"unchanged, {size:.1f} M weights in fp32, {len(weights)} layers, CPU s, least and median of 20: {times}"


def _cpu(task: Callable[[], object]) -> float:
    begun = time.process_time()
    task()
    return time.process_time() - begun


def main() -> None:
    """Run each kind in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*SINKS, "unchanged", []], help="default all")
    parser.add_argument("--states", type=int, default=200)
    args = parser.parse_args()
    os.environ.update(OMP_NUM_THREADS="1", WANDB_MODE="offline", WANDB_SILENT="true")
    if "unchanged" in args.kinds:
        with tempfile.TemporaryDirectory() as folder:
            print(unchanged(Path(folder)), flush=True)
        args.kinds.remove("unchanged")
        if not args.kinds:
            return
    print(f"torch {torch.__version__}, {args.states} states of 6 layers of 32 x 32, fp32 + fp16 + bf16")
    print(f"{'sinks':12} {'quarter':>7} {'memory MB':>9} {'descriptors':>11} {'CPU ms':>9}", flush=True)
    for kind in args.kinds or SINKS:
        child = os.fork()
        if child == 0:
            with tempfile.TemporaryDirectory() as folder:
                print(table(kind, run(kind, args.states, Path(folder))), flush=True)
            os._exit(0)
        if os.waitpid(child, 0)[1]:
            raise SystemExit(f"{kind}: failed")


if __name__ == "__main__":
    main()
