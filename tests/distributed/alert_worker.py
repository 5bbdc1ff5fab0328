"""A rule that stops the run, under DDP: both ranks leave the loop after the same batch, also where a worker decides."""

import sys
import time

import torch
from torch.nn.parallel import DistributedDataParallel

import alpha_callbacks.analysis.parallel
from alpha_callbacks import MemorySink, Monitor
from tests.distributed.worker import FOLDER, OPTIONS, RANK, Tiny, batch, join, report

BREAKS, LAST = 3, 400


def main(background: bool) -> None:
    join()
    model, memory = DistributedDataParallel(Tiny()), MemorySink()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    real = alpha_callbacks.analysis.parallel.analyze_weight

    def slow(*given: object) -> object:
        time.sleep(0.02 * RANK)  # the worker of rank 0 ends first
        return real(*given)

    alpha_callbacks.analysis.parallel.analyze_weight = slow
    rules = ["default", "stop if non_finite in gate"]
    steps = 0
    with Monitor(
        OPTIONS, output_dir=FOLDER / "out", sinks=["csv", memory], alerts=rules, background=background
    ) as monitor:
        for steps in range(1, LAST):
            model(batch(steps)).backward()
            optimizer.step()
            optimizer.zero_grad()
            if steps == BREAKS:
                with torch.no_grad():
                    model.module.gate.weight.fill_(float("nan"))
            if steps == BREAKS or not background:
                monitor.log(model, steps)
            time.sleep(0.01 * (1 - RANK) * (steps % 3))  # ranks reach their polls at different times
            monitor.poll()
            if monitor.should_stop:
                break
    assert monitor.last is not None
    found = [(alert.rule, alert.layer_name, alert.stops) for alert in monitor.last.alerts or ()]
    report(steps=steps, stopped=monitor.should_stop, found=found, delivered=[s.step for s in memory.snapshots])


if __name__ == "__main__":
    main(sys.argv[1] == "background")
