"""Lightning on two processes: sharded and DDP."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.distributed.launch import TORCH, launch
from tests.distributed.worker import Tiny, measured

pytest.importorskip("lightning.pytorch")

LIGHTNING = ("lightning.pytorch", "alpha_callbacks.training.lightning_callback")


@pytest.mark.parametrize(("name", "processes"), [("sharded", 2), ("fork", 1)])
def test_checkpoints_are_analysed_on_both_ranks(name: str, processes: int, tmp_path: Path) -> None:
    launch("lightning_worker.py", tmp_path, name, processes=processes, imports=(*TORCH, *LIGHTNING))
    told = [json.loads((tmp_path / f"told_{rank}.json").read_text()) for rank in range(2)]
    (file,) = (tmp_path / "run").rglob("*.ckpt")
    model = nn.ModuleDict({"net": Tiny()})
    model.load_state_dict(torch.load(file, weights_only=True)["state_dict"])
    assert told[0]["last"] == told[1]["last"] == [4, measured(model)]
    assert told[0]["delivered"] == [[0, "start", 0], [2, "checkpoint", 0], [4, "checkpoint", 0]]
    assert told[1]["delivered"] == []
    assert told[0]["metrics"] == told[1]["metrics"]
    assert {"alpha_hill/mean_fp32", "alpha_hill/failed_layers"} <= set(told[1]["metrics"])
    assert (tmp_path / "run" / "alpha_hill" / "alpha_hill_history.csv").exists()
