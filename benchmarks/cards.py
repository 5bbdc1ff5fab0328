"""What does a state cost TensorBoard, in CPU seconds and in bytes? A run of 100 states, charts of every tenth.

    python -m benchmarks.cards                        # about 2 minutes of CPU
    python -m benchmarks.cards --before CHECKOUT      # the same with the code of another checkout, in turns

A Llama of narrow matrices at fp32, bf16 and int4 is analysed once; then its alphas move from state to state, as in
training, so that only the sink is timed: scalars, histograms, texts, and charts where they are due. All threads of the
process count. The mean is over all states; the first one, which loads matplotlib, and the last, whose charts are drawn
when the run ends, are in it.

Prediction, before measuring, of 30 blocks and 100 states: 0.20 CPU seconds per state (0.41 before), 120 KB; with charts
1.2 (2.9 before), without 0.10; of 80 blocks twice as much with and without.
"""

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[1]
PRECISIONS = ("fp32", "bf16", "int4")
RUNS = ((30, 100), (80, 20))  # blocks, states


def table_of(blocks: int) -> Any:
    """Return the table of a model as it was initialised."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from alpha_callbacks import AnalysisOptions, MemorySink, Monitor

    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(hidden_size=96, intermediate_size=256, num_hidden_layers=blocks, num_attention_heads=6,
                    num_key_value_heads=2, vocab_size=512)
    )  # fmt: skip
    sink = MemorySink()
    options = AnalysisOptions(precisions=PRECISIONS)
    with tempfile.TemporaryDirectory() as folder, Monitor(options, sinks=[sink], output_dir=folder) as monitor:
        monitor.log(model, 0)
    return sink.snapshots[0].table


def moved(table: Any, state: int) -> Any:
    """Return the table after some training: alphas away from noise, each with a little of its own."""
    from alpha_callbacks.tables.table import Table

    share, rows = 0.3 * (1 - math.exp(-state / 30)), []
    for layer in table.layers:
        alpha = layer["fp32"].alpha * (1 - share) + random.gauss(0, 0.003)
        drifts = {"fp32": 0.0, "bf16": random.gauss(0, 0.002), "int4_g32": random.gauss(0, 0.1)}
        rows += [replace(row, alpha=alpha + drifts[row.precision], method="computed") for row in layer.rows]
    return Table.from_rows(rows, table.precisions)


def measure(blocks: int, states: int) -> str:
    """Return one line: CPU seconds of a state and bytes per state."""
    from alpha_integrations.loggers.tensorboard_sink import TensorBoardSink
    from torch.utils.tensorboard import SummaryWriter

    from alpha_callbacks.sinks.sink import Host
    from alpha_callbacks.sinks.snapshot import Snapshot

    random.seed(0)
    start, earlier, costs = table_of(blocks), None, []
    with tempfile.TemporaryDirectory() as folder:
        writer = SummaryWriter(folder)
        sink = TensorBoardSink(Host(Path(folder), (writer,), images=10), writer)
        for state in range(states):
            snapshot = Snapshot(10 * state, None, "step", moved(start, state), 1.0, earlier=earlier)
            earlier = snapshot.later()
            begun = time.process_time()
            sink.log(snapshot)
            costs.append(time.process_time() - begun)
        begun = time.process_time()
        sink.close()
        closing = time.process_time() - begun
        writer.close()
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    drawn, plain = costs[10::10], [cost for state, cost in enumerate(costs) if state % 10]
    parts = [(sum(costs) + closing) / states, *(statistics.median(of) if of else math.nan for of in (drawn, plain))]
    return "".join(f"{part:12.3f}" for part in parts) + f"{size / 1e3 / states:9.0f}"


def main() -> None:
    """Measure each run in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("--one", nargs=2, type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        print(measure(*chosen.one), flush=True)
        return
    checkouts = {**({"before": chosen.before.resolve()} if chosen.before else {}), "now": HERE}
    heads = f"{'CPU s each':>12}{'with charts':>12}{'without':>12}{'KB each':>9}"
    print(f"{'code':8}{'blocks':>7}{'states':>7}{heads}", flush=True)
    for blocks, states in RUNS:
        for name, checkout in checkouts.items():
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join([str(checkout), str(checkout / "integrations")]),
                "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1",
            }  # fmt: skip
            # -P: benchmarks/cuda.py is not the package of that name.
            command = [sys.executable, "-P", __file__, "--one", str(blocks), str(states)]
            line = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
            print(f"{name:8}{blocks:7}{states:7}{line.rstrip()}", flush=True)


if __name__ == "__main__":
    main()
