"""DDP with a Monitor, in the foreground and in the background."""

import time

import torch
from torch.nn.parallel import DistributedDataParallel

import alpha_callbacks.analysis.parallel
from alpha_callbacks import MemorySink, Monitor
from tests.distributed.worker import FOLDER, OPTIONS, RANK, Tiny, alphas, analysed, batch, fingerprint, join, report


def main() -> None:
    join()
    model = DistributedDataParallel(Tiny())
    model(batch(0)).backward()
    said, memory = {}, MemorySink()
    monitor = Monitor(OPTIONS, output_dir=FOLDER / f"csv_{RANK}", sinks=["csv", memory], on_error="raise")
    with monitor, analysed() as names:
        before = fingerprint(model)
        first = monitor.log(model, 1)
        said["untouched"] = fingerprint(model) == before
        said["first"], said["own"] = alphas(first.table), list(names)
        said["equal_last"] = monitor.last is first
        names.clear()
        second = monitor.log(model, 2)
        said["unchanged"] = [second.reused, list(names), alphas(second.table) == said["first"]]
        with torch.no_grad():
            model.module.layers[1].mlp.up_proj.weight[3, 3] += 1.0
        third = monitor.log(model, 3)
        said["one_changed"], said["third"] = [third.reused, list(names)], alphas(third.table)
        model.eval()
        before = fingerprint(model)
        monitor.log(model, 4)
        said["untouched"] = said["untouched"] and fingerprint(model) == before
    said["delivered"] = [snapshot.step for snapshot in memory.snapshots]
    said["background"] = in_background(model)
    report(**said)


def in_background(model: DistributedDataParallel) -> dict[str, object]:
    """Rank 1 is slow in its analysis: both ranks leave out the same states."""
    real, memory = alpha_callbacks.analysis.parallel.analyze_weight, MemorySink()

    def slow(*given: object) -> object:
        time.sleep(0.15 * RANK)
        return real(*given)

    alpha_callbacks.analysis.parallel.analyze_weight = slow
    with Monitor(OPTIONS, sinks=[memory], background=True, on_error="raise", output_dir=FOLDER / "none") as monitor:
        for step in range(1, 8):
            monitor.log(model, step)
            with torch.no_grad():
                model.module.gate.weight.add_(0.25)
            time.sleep(0.08)
            monitor.poll()
        last = monitor.log(model, 8, event="end")
        return {"last": [last.step, alphas(last.table)], "dropped": monitor.dropped, "newest": monitor.newest}


if __name__ == "__main__":
    main()
