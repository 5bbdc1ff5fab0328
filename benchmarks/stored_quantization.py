"""Peak memory of scanning a checkpoint in FP8 blocks, and how fast each layout is decoded.

python -m benchmarks.stored_quantization                  # 16 GB of FP8, about half an hour on 2 cores
python -m benchmarks.stored_quantization --blocks 4       # 4 of its blocks: the largest matrices come first
python -m benchmarks.stored_quantization --gigabytes 0.5  # a small version

The checkpoint has the shapes of Llama 3.1 8B, as many layers as it takes, one file each. The scan runs in a process of
its own, whose largest resident set is printed. The speed is that of reading every row of a 4096 x 4096 matrix from a
file that the operating system holds in memory, decoded, per second of processor time; a matrix in bf16, which is only
read, is the measure.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions

REPOSITORY = Path(__file__).parents[1]
SIZE = 4096
SHAPES = {
    "self_attn.q_proj": (4096, 4096),
    "self_attn.k_proj": (1024, 4096),
    "self_attn.v_proj": (1024, 4096),
    "self_attn.o_proj": (4096, 4096),
    "mlp.gate_proj": (14336, 4096),
    "mlp.up_proj": (14336, 4096),
    "mlp.down_proj": (4096, 14336),
}
BLOCKS = {"quant_method": "fp8", "weight_block_size": [128, 128]}


def make(folder: Path, gigabytes: float) -> None:
    """Write the checkpoint layer by layer."""
    layers = max(1, round(gigabytes * 1e9 / sum(rows * columns for rows, columns in SHAPES.values())))
    weight_map: dict[str, str] = {}
    for layer in range(layers):
        tensors: dict[str, Tensor] = {}
        for i, (name, (rows, columns)) in enumerate(SHAPES.items()):
            torch.manual_seed(layer * len(SHAPES) + i)
            path = f"model.layers.{layer}.{name}"
            codes = torch.randint(0, 254, (rows, columns), dtype=torch.uint8)
            codes += codes >= 127  # that one and 255 are no numbers
            tensors[f"{path}.weight"] = codes.view(torch.float8_e4m3fn)
            tensors[f"{path}.weight_scale_inv"] = torch.rand(rows // 128, columns // 128) * 1e-4
        file = f"model-{layer + 1:05}-of-{layers:05}.safetensors"
        save_file(tensors, folder / file)
        weight_map |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": BLOCKS}))


def scan(folder: Path, output: Path, blocks: int) -> tuple[float, float]:
    """Scan in a new process; return the seconds it took and its largest resident set in GB."""
    start = time.perf_counter()
    options = ["-o", str(output), "-p", "fp32", "--no-plots", "--no-report", "--log-level", "error"]
    options += ["--filter-layers", rf"layers\.[0-{blocks - 1}]\."] if blocks else []
    command = [sys.executable, "-m", "alpha_callbacks", "scan", str(folder), *options]
    subprocess.run(command, check=True, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def layouts() -> dict[str, tuple[dict[str, Tensor], dict[str, Any]]]:
    """Return label -> (tensors of one matrix, quantization_config)."""
    codes = (torch.randn(SIZE, SIZE) * 100).to(torch.float8_e4m3fn)
    pairs = torch.randint(0, 256, (SIZE, SIZE // 2), dtype=torch.uint8)
    small = (torch.rand(SIZE, SIZE // 16) + 0.5).to(torch.float8_e4m3fn)
    powers = torch.randint(110, 130, (SIZE, SIZE // 32), dtype=torch.uint8)
    shape = torch.tensor([SIZE, SIZE])
    groups = torch.rand(SIZE, SIZE // 128).bfloat16()
    found: dict[str, tuple[dict[str, Tensor], dict[str, Any]]] = {
        "bf16, only read": ({"weight": torch.randn(SIZE, SIZE).bfloat16()}, {}),
        "FP8, 128x128 blocks": ({"weight": codes, "weight_scale_inv": torch.rand(SIZE // 128, SIZE // 128)}, BLOCKS),
        "FP8, rows": ({"weight": codes, "weight_scale": torch.rand(SIZE, 1)}, {}),
        "MXFP4": ({"weight": pairs, "weight_scale": powers}, {"quant_method": "quark"}),
        "NVFP4": (
            {"weight": pairs, "weight_scale": small, "weight_scale_2": torch.ones(1)},
            {"quant_method": "modelopt"},
        ),
    }
    for bits in (3, 4, 8):
        words = torch.randint(-(2**31), 2**31, (SIZE, SIZE * bits // 32), dtype=torch.int64).int()
        packed = {"weight_packed": words, "weight_scale": groups, "weight_shape": shape}
        found[f"compressed-tensors, int{bits} in groups of 128"] = packed, {"quant_method": "compressed-tensors"}
    return found


def decoding(folder: Path) -> dict[str, float]:
    """Return layout -> million weights per second of processor time, the best of three."""
    speeds = {}
    for i, (label, (tensors, quantization)) in enumerate(layouts().items()):
        (place := folder / str(i)).mkdir()
        save_file({f"fc.{name}": tensor for name, tensor in tensors.items()}, place / "model.safetensors")
        (place / "config.json").write_text(json.dumps({"quantization_config": quantization} if quantization else {}))
        (weight,) = open_checkpoint(place).inventory(AnalysisOptions()).weights
        assert not weight.unsupported, weight.unsupported
        seconds = []
        for _ in range(3):
            start = time.process_time()
            for _ in weight.row_blocks():
                pass
            seconds.append(time.process_time() - start)
        speeds[label] = weight.numel / min(seconds) / 1e6
    return speeds


def main() -> None:
    """Measure and print both."""
    parser = argparse.ArgumentParser(description="Memory and speed of decoding stored quantization.")
    parser.add_argument("--blocks", type=int, default=0, help="analyse the first few blocks only, at most 10 (0: all)")
    parser.add_argument("--checkpoint", type=Path, help="where the checkpoint is, or is made and kept")
    parser.add_argument("--gigabytes", type=float, default=16.0, help="size of the checkpoint (0: speed only)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.gigabytes:
            checkpoint = arguments.checkpoint or Path(folder) / "checkpoint"
            if not checkpoint.exists():
                checkpoint.mkdir()
                make(checkpoint, arguments.gigabytes)
            layers = arguments.blocks or len(list(checkpoint.glob("*.safetensors")))
            stored = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors")) / 1e9
            seconds, peak = scan(checkpoint, Path(folder) / "results", arguments.blocks)
            print(
                f"{layers * len(SHAPES)} matrices of {stored:.1f} GB of FP8: {seconds:.0f} s, peak {peak:.2f} GB",
                flush=True,
            )
        (matrices := Path(folder) / "matrices").mkdir()
        speeds = decoding(matrices)
        for label, speed in speeds.items():
            print(
                f"{label:44}{speed:8.0f} million weights/s, {speed / next(iter(speeds.values())):.2f} of a plain read"
            )


if __name__ == "__main__":
    main()
