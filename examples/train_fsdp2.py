"""FSDP2 through Lightning: two processes, each holding half of every weight.

python examples/train_fsdp2.py

The callback gathers one weight at a time, on all ranks; each rank analyses its share.
"""

import argparse
from pathlib import Path

import corpus
import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import ModelParallelStrategy
from torch.distributed.fsdp import fully_shard
from torch.utils.data import DataLoader, TensorDataset
from train_lightning import LanguageModel

from alpha_callbacks import AlphaHillCallback


class ShardedModel(LanguageModel):
    """The same model, sharded layer by layer."""

    def configure_model(self) -> None:
        """Shard each block, then what is left."""
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        for layer in self.model.encoder.layers:
            fully_shard(layer, mesh=mesh)
        fully_shard(self.model, mesh=mesh)


def main() -> None:
    """Train for some steps on two CPU processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default=Path("results/train_fsdp2"))
    parser.add_argument("--max-steps", type=int, default=20)
    options = parser.parse_args()

    L.seed_everything(0)
    strategy = ModelParallelStrategy(
        data_parallel_size=2, tensor_parallel_size=1, save_distributed_checkpoint=False, process_group_backend="gloo"
    )
    trainer = L.Trainer(
        accelerator="cpu",
        devices=2,
        strategy=strategy,
        max_steps=options.max_steps,
        logger=False,
        enable_progress_bar=False,
        callbacks=[
            AlphaHillCallback(output_dir=options.output_dir / "alpha_hill", precisions=("fp32", "bf16")),
            ModelCheckpoint(
                options.output_dir / "checkpoints", every_n_train_steps=options.max_steps // 2, save_top_k=-1
            ),
        ],
    )
    trainer.fit(ShardedModel(), DataLoader(TensorDataset(corpus.characters()), batch_size=16))
    if trainer.is_global_zero:
        print(f"CSV in {options.output_dir}/alpha_hill")


if __name__ == "__main__":
    main()
