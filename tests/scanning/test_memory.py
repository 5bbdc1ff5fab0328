"""A scan's memory is that of a matrix being solved, not of the checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.conftest import REPOSITORY


def test_a_tall_tensor_is_streamed(tmp_path: Path) -> None:
    """lm_head of 614 MB: the whole process, torch included, stays below the size of that one tensor."""
    rows, cols = 4_800_000, 64  # few columns: the product of so long a matrix is not what is tested
    stripe = torch.randn(10_000, cols).bfloat16()
    save_file({"lm_head.weight": stripe.repeat(rows // 10_000, 1)}, tmp_path / "model.safetensors")
    scan = [
        sys.executable,
        "-m",
        "alpha_callbacks",
        "scan",
        tmp_path,
        "-o",
        tmp_path / "out",
        "--no-plots",
        "-p",
        "fp32",
    ]
    done = subprocess.run(scan, capture_output=True, text=True, timeout=240, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    peak = json.loads((tmp_path / "out" / "run.json").read_text())["peak_memory_bytes"]
    assert peak < rows * cols * 2
