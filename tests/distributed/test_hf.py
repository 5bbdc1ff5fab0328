"""Hugging Face's Trainer on two processes."""

from pathlib import Path

import pytest

from alpha_callbacks import Monitor
from tests.distributed.launch import TORCH, launch
from tests.distributed.worker import OPTIONS, alphas

pytest.importorskip("transformers")

IMPORTS = (*TORCH, "transformers.models.llama.modeling_llama", "transformers.trainer", "accelerate")


def test_checkpoints_are_analysed_on_both_ranks(tmp_path: Path) -> None:
    first, second = launch("hf_worker.py", tmp_path, imports=IMPORTS)
    assert first["live"] == second["live"] and first["files"] == second["files"]
    for i, step in enumerate((2, 4)):
        with Monitor(OPTIONS, sinks=[], on_error="raise") as monitor:
            saved = monitor.log_checkpoint(tmp_path / "run" / f"checkpoint-{step}", step)
        assert saved is not None
        expected = [step, step, "checkpoint" if step == 2 else "end", alphas(saved.table)]
        assert first["live"][i] == first["files"][i] == expected
    for name in ("live", "files"):
        assert (tmp_path / f"{name}_0" / "alpha_hill_history.csv").exists()
        assert not (tmp_path / f"{name}_1").exists()
