"""Lightning with the callback: "sharded" (ModelParallelStrategy), "fork" (ddp_fork, which starts the ranks itself)."""

import json
import os
import sys
import time
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader

from alpha_callbacks import MemorySink
from alpha_callbacks.training.lightning_callback import AlphaHillCallback
from tests.distributed.worker import FOLDER, Tiny, alphas


class Net(LightningModule):
    def __init__(self, *, shard: bool) -> None:
        super().__init__()
        self.net, self.shard = Tiny(), shard

    def configure_model(self) -> None:
        if self.shard:
            for layer in self.net.layers:
                fully_shard(layer)
            fully_shard(self.net)

    def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
        return self.net(batch)

    def validation_step(self, batch: torch.Tensor, index: int) -> None:
        self.net(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.05)


class Teller(AlphaHillCallback):
    """Reports at the end of training what each rank knows."""

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        super().on_train_end(trainer, pl_module)
        last = self.monitor.last
        assert last is not None
        told = {
            "last": [last.step, alphas(last.table)],
            "metrics": {k: float(v) for k, v in trainer.callback_metrics.items() if k != "alpha_hill/seconds"},
            "delivered": [[snapshot.step, snapshot.event, snapshot.reused] for snapshot in MEMORY.snapshots],
            "folder": str(self.monitor.output_dir),
        }
        (FOLDER / f"told_{trainer.global_rank}.json").write_text(json.dumps(told))


MEMORY = MemorySink()


def main(name: str) -> None:
    options: dict[str, Any] = {"strategy": "ddp_fork"}
    if name == "sharded":
        options["strategy"] = ModelParallelStrategy(
            data_parallel_size=2,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            process_group_backend="gloo",
        )
    else:
        for variable in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE"):
            del os.environ[variable]
    data = DataLoader(torch.randint(0, 64, (16, 8), generator=torch.Generator().manual_seed(3)), batch_size=2)
    trainer = Trainer(
        accelerator="cpu",
        devices=2,
        max_epochs=2,
        limit_train_batches=2,
        limit_val_batches=1,
        logger=False,
        callbacks=[Teller(every="checkpoint", precisions="fp32,bf16", sinks=["csv", MEMORY], on_error="raise")],
        default_root_dir=FOLDER / "run",
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(Net(shard=name == "sharded"), data, data)
    time.sleep(0.1)  # as in worker.report


if __name__ == "__main__":
    main(sys.argv[1])
