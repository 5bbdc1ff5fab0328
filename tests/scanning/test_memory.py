"""A scan's memory is that of a matrix being solved, not of the checkpoint."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.support.scan_runs import command


def test_a_tall_tensor_is_streamed(tmp_path: Path) -> None:
    """lm_head of 614 MB: the whole process, torch included, stays below the size of that one tensor."""
    rows, cols = 400_000, 768
    stripe = torch.randn(1000, cols).bfloat16()
    save_file({"lm_head.weight": stripe.repeat(rows // 1000, 1)}, tmp_path / "model.safetensors")
    done = command("-m", "alpha_callbacks", "scan", str(tmp_path), "-o", str(tmp_path / "out"), "--no-plots")
    assert done.returncode == 0, done.stderr
    peak = json.loads((tmp_path / "out" / "run.json").read_text())["peak_memory_bytes"]
    assert peak < rows * cols * 2
