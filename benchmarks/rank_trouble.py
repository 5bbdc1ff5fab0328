"""Ranks that differ, and ranks that are killed: does anyone hang, and who is told what?

    python -m benchmarks.rank_trouble        # about 2 minutes on 2 idle cores

Two gloo processes run a loop with `Monitor.log` in it. In the first part rank 1 has another option, another layer,
other calls. In the second one rank is killed with SIGKILL in a given phase: as the ranks join, as the second state is
taken, in the analysis of a layer, before the results are exchanged, in the worker, in a sink, as the monitor is closed.
A rank that never comes is waited for 5 s here, which are 5 minutes outside this program.
Each line says how long the last call took, and below is the first thing that each rank was told. A loop not done
within 20 s is a hang, and the program ends with 1.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import alpha_callbacks.analysis.analyze
import alpha_callbacks.analysis.processes
import alpha_callbacks.training.measurer
import alpha_callbacks.training.monitor
from alpha_callbacks import AnalysisOptions, MemorySink, Monitor
from benchmarks.training_hosts.ranks import started

LIMIT = 20.0  # seconds
STATES = 4
PLAIN: dict[str, Any] = {"precisions": ("fp32", "bf16")}
ANALYSIS: dict[str, dict[str, Any]] = {
    "precisions": {"precisions": ("fp32",)},
    "k_frac": {"k_frac": 0.5},
    "k_min": {"k_min": 20},
    "threshold": {"threshold": "last"},
    "solver": {"solver": "fast"},
    "include": {"include": "1"},
    "exclude": {"exclude": "1"},
    "include_embeddings": {"include_embeddings": True},
    "adapters": {"adapters": "merged"},
}
MONITOR: dict[str, dict[str, Any]] = {
    "background": {"background": True},
    "max_seconds": {"max_seconds": 9.0},
    "on_error": {"on_error": "raise"},
    "alerts": {"alerts": "default"},
    "baseline": {"baseline": "start"},
}
MAY_DIFFER: dict[str, dict[str, Any]] = {"threads": {"threads": 2}, "images": {"images": False}, "sinks": {"sinks": []}}
PHASES: dict[str, tuple[Any, str]] = {
    "as the ranks join": (alpha_callbacks.training.monitor, "training_ranks"),
    "as the state is taken": (alpha_callbacks.training.measurer, "digests_of"),
    "in the analysis of a layer": (alpha_callbacks.analysis.analyze, "_analyze"),
    "before the exchange of results": (alpha_callbacks.training.measurer, "choose_parallelism"),
    "in a sink": (MemorySink, "log"),
    "as the monitor is closed": (MemorySink, "close"),
}


class Told(logging.Handler):
    """Keeps warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one."""
        self.texts.append(record.getMessage())


def layers(count: int = 4) -> nn.Module:
    """Return the same fresh layers on every rank."""
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(64, 64) for _ in range(count)])


def loop(
    rank: int, folder: Path, steps: list[int], model: nn.Module, during: Callable[[int], Any], **options: Any
) -> None:
    """Log the steps; write down what happened, as soon as it has."""
    told = Told()
    logging.getLogger("alpha_callbacks").addHandler(told)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where torch prints the stacks of lost connections
    alpha_callbacks.analysis.processes.ATTENDANCE = timedelta(seconds=5)
    (folder / "ready").touch()
    dist.init_process_group("gloo")
    analysis = AnalysisOptions(**{**PLAIN, **options.pop("analysis", {})})
    measured, begun, ended = 0, time.monotonic(), ""
    try:
        with Monitor(analysis, **{"sinks": [MemorySink()], "output_dir": folder / "alpha_hill", **options}) as monitor:
            for step in steps:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.mul_(1.01)
                begun = time.monotonic()
                with during(step):
                    measured += monitor.log(model, step) is not None
            closing = during(-1)
            closing.__enter__()
        closing.__exit__(None, None, None)
    except Exception as error:
        ended = f"{type(error).__name__}: {error}"
    found = {"ended": ended, "told": told.texts, "states": measured, "seconds": time.monotonic() - begun}
    (folder / f"{rank}.json").write_text(json.dumps(found))


@contextmanager
def killed_in(phase: str) -> Iterator[None]:
    """Kill this process when a function is called."""
    owner, name = PHASES[phase]
    real = getattr(owner, name)

    def die(*args: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, die)
    yield
    setattr(owner, name, real)


@contextmanager
def nothing() -> Iterator[None]:
    """Do nothing."""
    yield


def run(work: Callable[[int, Path], None]) -> tuple[list[dict[str, Any] | None], list[int]]:
    """Return what each rank wrote down (None: nothing), and the ranks that hang."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        ranks = started(lambda rank: work(rank, folder))
        deadline = time.monotonic() + 60
        while not (folder / "ready").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        hanging = ranks.wait(LIMIT)
        files = [folder / f"{rank}.json" for rank in range(2)]
        return [json.loads(file.read_text()) if file.exists() else None for file in files], hanging


def line(name: str, held: bool, outcomes: list[dict[str, Any] | None], hanging: list[int]) -> str:
    """Return one line of the table, and below it what was said."""
    seconds = [outcome["seconds"] for outcome in outcomes if outcome]
    states = "/".join("-" if outcome is None else str(outcome["states"]) for outcome in outcomes)
    text = f"{name:44} {'held' if held else 'FAILED':6} {max(seconds, default=0):5.1f} s  states {states:5}"
    if hanging:
        text += f"  ranks {hanging} HANG"
    said = {f"{rank}": (o["ended"] or next(iter(o["told"]), "")) for rank, o in enumerate(outcomes) if o}
    if len(said) == 2 and said["0"] == said["1"]:
        said = {"both": said["0"]} if said["0"] else {}
    said = {rank: words.partition(" ([")[0] for rank, words in said.items()}  # without gloo's own words
    return "\n".join([text, *(f"    {rank}: {words[:200]}" for rank, words in said.items() if words)])


def differing(name: str, *, allowed: bool = False) -> bool:
    """Rank 1 has another option; True if both have got the same error at once, or none where it may differ."""

    def work(rank: int, folder: Path) -> None:
        options: dict[str, Any] = {}
        if rank == 1 and name in ANALYSIS:
            options["analysis"] = ANALYSIS[name]
        elif rank == 1:
            options = {**MONITOR, **MAY_DIFFER}[name]
        loop(rank, folder, list(range(STATES)), layers(), lambda step: nothing(), **options)

    outcomes, hanging = run(work)
    ended = [outcome["ended"] if outcome else "nothing" for outcome in outcomes]
    good = ended == ["", ""] if allowed else ended[0] == ended[1] and f"expected {name}=" in ended[0]
    print(
        line(f"option {name}{' (may differ)' if allowed else ''}", good and not hanging, outcomes, hanging), flush=True
    )
    return good and not hanging


def calls(name: str, steps: list[list[int]], count: tuple[int, int] = (4, 4), **options: Any) -> bool:
    """Each rank logs its own steps; True if nobody hangs, and what does not fit is told."""

    def work(rank: int, folder: Path) -> None:
        loop(rank, folder, steps[rank], layers(count[rank]), lambda step: nothing(), **options)

    outcomes, hanging = run(work)
    good = not hanging and any(outcome and (outcome["told"] or outcome["ended"]) for outcome in outcomes)
    print(line(name, good, outcomes, hanging), flush=True)
    return good


def killed(phase: str, victim: int, **options: Any) -> bool:
    """One rank dies; True if the other ends its loop, and was told."""

    def work(rank: int, folder: Path) -> None:
        def during(step: int) -> Any:
            first = phase == "as the ranks join"
            due = step == (-1 if phase == "as the monitor is closed" else 0 if first else 1)
            return killed_in(phase) if due and rank == victim else nothing()

        loop(rank, folder, list(range(STATES)), layers(), during, **options)

    outcomes, hanging = run(work)
    survivor = outcomes[1 - victim]
    good = not hanging and outcomes[victim] is None and survivor is not None
    where = f"rank {victim} killed {phase}{', background' if options.get('background') else ''}"
    print(line(where, good, outcomes, hanging), flush=True)
    return good


def main() -> None:
    """Try everything, one after the other."""
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, 2 processes over gloo; states: measured on rank 0/rank 1 of {STATES}\n")
    print("rank 1 differs from rank 0")
    held = [differing(name) for name in (*ANALYSIS, *MONITOR)]
    held += [differing(name, allowed=True) for name in MAY_DIFFER]
    every = list(range(STATES))
    held.append(calls("another number of layers", [every, every], (4, 3)))
    held.append(calls("rank 1 leaves out a state in between", [every, [0, 2, 3]]))
    held.append(calls("rank 1 leaves out the last state", [every, every[:-1]]))
    held.append(calls("rank 1 has a state more", [every[:-1], every]))
    held.append(calls("rank 1 never logs", [every, []]))
    held.append(calls("rank 1 leaves out the last state, background", [every, every[:-1]], background=True))
    print("\na rank is killed in the second state")
    for victim in (0, 1):
        for phase in PHASES:
            if victim == 0 or PHASES[phase][0] is not MemorySink:  # only the first rank has sinks
                held.append(killed(phase, victim))
    held += [killed("in the analysis of a layer", victim, background=True) for victim in (0, 1)]
    print(f"\n{sum(held)} of {len(held)} held")
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
