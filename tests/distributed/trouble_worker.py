"""What goes wrong on one rank, with a default group that gives up after a short time. Argument: name of a scenario."""

import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import alpha_callbacks.analysis.analyze
import alpha_callbacks.analysis.processes
import alpha_callbacks.training.measurer
import alpha_callbacks.training.monitor
from alpha_callbacks import MemorySink, Monitor
from alpha_callbacks.analysis.processes import training_ranks
from alpha_callbacks.weights.weight import Weight
from tests.distributed.worker import FOLDER, OPTIONS, RANK, Tiny, alphas, join, report

DEFAULT_TIMEOUT = 3.0


class Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


class BrokenSink:
    def log(self, snapshot: Any) -> None:
        raise OSError("disk full")

    def close(self) -> None:
        pass


WARNINGS = Warnings()


def attempt(task: Callable[[], Any]) -> dict[str, Any]:
    """Return what a call gave: the status of each layer or the error, the seconds, the warnings."""
    WARNINGS.texts.clear()
    begun, outcome = time.monotonic(), {}
    try:
        snapshot = task()
        outcome["status"] = {row.layer_name: row.status for row in snapshot.table} if snapshot else None
        outcome["reused"] = snapshot.reused if snapshot else None
    except Exception as error:
        outcome["error"] = f"{type(error).__name__}: {error}"
    return {**outcome, "seconds": time.monotonic() - begun, "warnings": list(WARNINGS.texts)}


def watch(sinks: list[Any] | None = None, **options: Any) -> Monitor:
    return Monitor(OPTIONS, sinks=sinks or [], output_dir=FOLDER / "none", **options)


def change(model: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.25)
    return model


def failing_on_rank_1(real: Callable[..., Any], when: Callable[..., bool] = lambda *_: True) -> Callable[..., Any]:
    def fails(*args: Any, **options: Any) -> Any:
        if RANK == 1 and when(*args):
            raise MemoryError("no more")
        return real(*args, **options)

    return fails


def in_one_layer() -> dict[str, Any]:
    model, analyze = Tiny(), alpha_callbacks.analysis.analyze._analyze
    with watch() as monitor:
        with patch.object(alpha_callbacks.analysis.analyze, "_analyze", failing_on_rank_1(analyze)):
            first = attempt(lambda: monitor.log(model, 1))
        return {"first": first, "second": attempt(lambda: monitor.log(model, 2))}


def outside_the_layers() -> dict[str, Any]:
    model, find = Tiny(), alpha_callbacks.training.monitor.of_module
    with watch() as monitor:
        monitor.log(model, 1)
        with patch.object(alpha_callbacks.training.monitor, "of_module", failing_on_rank_1(find)):
            second = attempt(lambda: monitor.log(change(model), 2))
        parallelism = alpha_callbacks.training.measurer.choose_parallelism
        with patch.object(alpha_callbacks.training.measurer, "choose_parallelism", failing_on_rank_1(parallelism)):
            third = attempt(lambda: monitor.log(model, 3))
        return {"second": second, "third": third, "fourth": attempt(lambda: monitor.log(model, 4))}


def in_the_copy_of_a_shard() -> dict[str, Any]:
    model = Tiny()
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    with watch() as monitor:
        with patch.object(Weight, "copied", failing_on_rank_1(Weight.copied)):
            first = attempt(lambda: monitor.log(model, 1))
        return {"first": first, "second": attempt(lambda: monitor.log(model, 2))}


def slow() -> dict[str, Any]:
    analyze = alpha_callbacks.analysis.analyze._analyze

    def sleepy(weight: Weight, options: Any, **others: Any) -> Any:
        if RANK == 1 and weight.layer_name == "gate":
            time.sleep(DEFAULT_TIMEOUT + 1)
        return analyze(weight, options, **others)

    with watch() as monitor, patch.object(alpha_callbacks.analysis.analyze, "_analyze", sleepy):
        return attempt(lambda: monitor.log(OnlyGates(), 1))


class OnlyGates(nn.Module):
    """Two layers of one size: the second is rank 1's."""

    def __init__(self) -> None:
        torch.manual_seed(1)
        super().__init__()
        self.first, self.gate = nn.Linear(48, 48), nn.Linear(48, 48)


def different_layers() -> dict[str, Any]:
    with watch() as monitor:
        return attempt(lambda: monitor.log(Tiny() if RANK == 0 else OnlyGates(), 1))


def different_options() -> dict[str, Any]:
    """Whatever differs is an error of the first call on both ranks, and the groups are in order afterwards."""

    def first_call(options: dict[str, Any], **others: Any) -> dict[str, Any]:
        monitor = Monitor(replace(OPTIONS, **options), sinks=[], output_dir=FOLDER / "none", **others)
        with monitor:
            return attempt(lambda: monitor.log(OnlyGates(), 1))

    on_rank_1: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "precisions": ({"precisions": ("fp32",)}, {}),
        "k_frac": ({"k_frac": 0.5}, {}),
        "threshold": ({"threshold": "last"}, {}),
        "include": ({"include": "gate"}, {}),
        "background": ({}, {"background": True}),
        "max_seconds": ({}, {"max_seconds": 100.0}),
        "on_error": ({}, {"on_error": "raise"}),
        "nothing": ({"device": "cpu"}, {"threads": 2}),
    }
    told = {}
    for name, (options, others) in on_rank_1.items():
        told[name] = first_call(options, **others) if RANK == 1 else first_call({})
    told["every"] = attempt(lambda: watch().open(facts={"every": 10 + RANK}))  # what a callback adds
    return told


def different_calls() -> dict[str, Any]:
    """Rank 1 leaves one state out; the second time it calls it by another event."""
    told = {}
    with watch() as monitor:
        told["first"] = attempt(lambda: monitor.log(OnlyGates(), 0))
        told["steps"] = attempt(lambda: monitor.log(OnlyGates(), 1 + RANK))
        told["events"] = attempt(lambda: monitor.log(OnlyGates(), 3, event="end" if RANK else "step"))
        told["after"] = attempt(lambda: monitor.log(OnlyGates(), 4))
    return told


def fewer_calls() -> dict[str, Any]:
    """Rank 1 has one state less, closes its monitor and goes on to wait for rank 0 in the group of the training."""
    with watch() as monitor:
        told = [attempt(lambda step=step: monitor.log(OnlyGates(), step)) for step in range(3 - RANK)]
    monitor.close()
    everyone = dist.new_group(backend="gloo", timeout=timedelta(seconds=20))
    dist.all_reduce(torch.zeros(1), group=everyone)
    with watch() as monitor:
        return {"told": told, "again": attempt(lambda: monitor.log(OnlyGates(), 9))}


def last_state_of_a_busy_worker() -> dict[str, Any]:
    """The loop ends while the worker is at an earlier state: of a sharded model, and one with a changed layer."""
    model, memory = Tiny(), MemorySink()
    for layer in model.layers:
        fully_shard(layer)
    fully_shard(model)
    gate, analyze = threading.Event(), alpha_callbacks.training.measurer.analyze_weights

    def slow(*args: Any, **options: Any) -> Any:
        gate.wait(30)
        return analyze(*args, **options)

    with (
        patch.object(alpha_callbacks.training.measurer, "analyze_weights", slow),
        watch([memory], background=True) as m,
    ):
        for step in range(3):
            m.log(change(model), step)
        gate.set()
    expected = measured_everywhere(model)
    found = alphas(memory.snapshots[-1].table) if memory.snapshots else alphas(m.last.table) if m.last else {}
    return {"steps": [s.step for s in memory.snapshots], "dropped": m.dropped, "same": found == expected}


def measured_everywhere(model: nn.Module) -> dict[str, Any]:
    with watch() as monitor:
        snapshot = monitor.log(model, 0)
    return alphas(snapshot.table) if snapshot else {}


def broken_sink() -> dict[str, Any]:
    with watch([BrokenSink()], on_error="warn") as monitor:
        warned = [attempt(lambda step=step: monitor.log(OnlyGates(), step)) for step in (1, 2)]
    with watch([BrokenSink()], on_error="raise") as monitor:
        raised = [attempt(lambda step=step: monitor.log(OnlyGates(), step)) for step in (1, 2)]
    with watch([BrokenSink()], on_error="raise", background=True) as monitor:
        beside = [
            attempt(lambda step=step, event=event: monitor.log(OnlyGates(), step, event=event))
            for step, event in ((1, "start"), (2, "end"))
        ]
    return {"warned": warned, "raised": raised, "beside": beside}


def result_that_cannot_be_sent() -> dict[str, Any]:
    ranks = training_ranks()
    return attempt(lambda: ranks.agree(lambda: (lambda: 0) if RANK == 1 else 1) and None)


def bound_to_a_device() -> dict[str, Any]:
    """Our groups under a default group that was made with device_id=, as far as it can be seen without a device."""
    world = dist.distributed_c10d._get_default_group()
    world.bound_device_id = torch.device("cuda", 0)
    try:
        with watch() as monitor:
            return attempt(lambda: monitor.log(OnlyGates(), 1))
    finally:
        world.bound_device_id = None


def absent() -> dict[str, Any]:
    """Rank 1 comes when rank 0 has given up; last, since the two no longer agree how many groups there are."""
    alpha_callbacks.analysis.processes.ATTENDANCE = timedelta(seconds=0.5)  # gloo tries five times as long
    time.sleep(1.5 * RANK)
    monitor = watch()
    return attempt(lambda: monitor.log(OnlyGates(), 1))


def default_group_gives_up() -> dict[str, Any]:
    """The control of all others: such a wait in the default group is an error."""
    deadline = time.monotonic() + DEFAULT_TIMEOUT + 1
    while RANK and not (FOLDER / "report_0.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)  # until rank 0 has given up
    return attempt(lambda: dist.all_reduce(torch.zeros(1)))


def dies(rank: int) -> dict[str, Any]:
    model, analyze = Tiny(), alpha_callbacks.analysis.analyze._analyze

    def deadly(weight: Weight, options: Any, **others: Any) -> Any:
        if rank == RANK:
            os._exit(3)
        return analyze(weight, options, **others)

    monitor = watch()
    monitor.log(model, 1)
    with patch.object(alpha_callbacks.analysis.analyze, "_analyze", deadly):
        second = attempt(lambda: monitor.log(change(model), 2))
    return {"second": second, "third": attempt(lambda: monitor.log(model, 3))}


SURVIVED = (
    in_one_layer,
    outside_the_layers,
    in_the_copy_of_a_shard,
    slow,
    different_layers,
    different_options,
    different_calls,
    fewer_calls,
    last_state_of_a_busy_worker,
    broken_sink,
    result_that_cannot_be_sent,
    bound_to_a_device,
    absent,
    default_group_gives_up,
)


def main(name: str) -> None:
    logging.getLogger("alpha_callbacks").addHandler(WARNINGS)
    join()
    dist.distributed_c10d._set_pg_timeout(timedelta(seconds=DEFAULT_TIMEOUT))
    if name.startswith("dies"):
        report(dies=dies(int(name[-1])))
    else:
        chosen = [scenario for scenario in SURVIVED if name in ("survived", f"only:{scenario.__name__}")]
        report(**{scenario.__name__: scenario() for scenario in chosen})
    os._exit(0)  # the groups are no longer in order, and nobody is to wait for them


if __name__ == "__main__":
    main(sys.argv[1])
