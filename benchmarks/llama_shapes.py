"""A scan of the shapes of Llama 3.1 8B on the CPU: how it is stored and which formats are asked for decide the solves.

    python -m benchmarks.llama_shapes                       # 48 GB of disk, hours on two cores
    python -m benchmarks.llama_shapes --layers 8            # a quarter of it and the whole lm_head
    python -m benchmarks.llama_shapes --layers 2 --scale 8  # a small version

Each case is a process of its own, since what is shown is its largest resident memory. Files are read once before;
charts and report are left out.
"""

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import torch

from alpha_callbacks.analysis.parallel import Parallelism
from alpha_callbacks.analysis.result import Result
from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.scanning.observer import Observer
from alpha_callbacks.scanning.scan import scan
from alpha_callbacks.scanning.write_results import Plots
from alpha_callbacks.utils.machine import cpu_threads, peak_memory
from alpha_callbacks.weights.weight import Weight
from scripts.make_llama31_shapes import llama_config, split_shards, tensor_shapes, write_json, write_shard

DEFAULT = ("fp32", "fp16", "bf16")
CASES = (
    ("(a) stored in bf16", "bf16", DEFAULT),
    ("(b) stored in fp32", "fp32", DEFAULT),
    ("(c) stored in bf16", "bf16", (*DEFAULT, "int4")),
)


def make(folder: Path, layers: int, scale: int, dtype: str = "bf16") -> None:
    """Write the checkpoint, one process per file."""
    config = llama_config(layers=layers, scale=scale)
    shards = split_shards(tensor_shapes(config), min(16, len(tensor_shapes(config))))
    files = [folder / f"model-{i:05}-of-{len(shards):05}.safetensors" for i in range(1, len(shards) + 1)]
    with ProcessPoolExecutor(cpu_threads(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(write_shard, files, shards, len(files) * [0], len(files) * [dtype]))
    weight_map = {name: file.name for file, shard in zip(files, shards, strict=True) for name in shard}
    write_json(folder / "config.json", config)
    write_json(folder / "model.safetensors.index.json", {"weight_map": weight_map})


class Watch(Observer):
    """Add up what the workers took, and how each value was found."""

    def __init__(self) -> None:
        self.seconds, self.workers, self.methods = 0.0, 0, Counter[str]()

    def opened(self, checkpoint: Checkpoint, todo: Sequence[Weight], kept: int, parallelism: Parallelism) -> None:
        """Note the number of workers."""
        self.workers = parallelism.workers

    def finished(self, result: Result) -> None:
        """Add one layer."""
        self.seconds += result.seconds
        self.methods.update(row.method for row in result.rows)


def scanned(folder: Path, precisions: tuple[str, ...], output: Path) -> str:
    """Scan the files, and return what it took as a line."""
    for file in folder.glob("*.safetensors"):
        with file.open("rb") as opened:
            while opened.read(1 << 26):
                pass
    watch, start = Watch(), time.perf_counter()
    scan(folder, output_dir=output, options=AnalysisOptions(precisions=precisions), plots=Plots(()), report=False,
         save_spectra=False, observer=watch)  # fmt: skip
    took, rows = time.perf_counter() - start, watch.methods.total()
    shares = ", ".join(f"{name} {count / rows:.0%}" for name, count in watch.methods.most_common())
    return (
        f"{took:7.1f} s with {watch.workers} workers, busy for {watch.seconds / watch.workers / took:.0%} of it, "
        f"peak {peak_memory() / 1e9:.2f} GB; rows: {shares}"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="A scan of the shapes of Llama 3.1 8B on the CPU.")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--scale", type=int, default=1)
    arguments = parser.parse_args()
    print(f"{cpu_threads()} CPU threads, torch {torch.__version__}; {arguments.layers} blocks", flush=True)
    with tempfile.TemporaryDirectory() as name:
        for number, (case, dtype, precisions) in enumerate(CASES):
            folder = Path(name) / dtype
            if not folder.exists():
                folder.mkdir()
                make(folder, arguments.layers, arguments.scale, dtype)
            with ProcessPoolExecutor(1) as alone:  # its peak begins with that of this process, which holds no weights
                line = alone.submit(scanned, folder, precisions, Path(name) / f"results{number}").result()
            print(f"{case}, {','.join(precisions)}: {line}", flush=True)


if __name__ == "__main__":
    main()
