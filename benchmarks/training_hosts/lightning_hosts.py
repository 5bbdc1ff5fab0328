"""Lightning's Trainer and LightningCLI."""

import json
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger, WandbLogger
from torch.utils.data import DataLoader, TensorDataset

from alpha_callbacks import AlphaHillCallback
from benchmarks.training_hosts.host import (
    PRECISIONS,
    Copies,
    Trained,
    read_torch,
    small_net,
    tensorboard_steps,
    wandb_steps,
)


class Module(L.LightningModule):
    """Three layers."""

    def __init__(self, rate: float = 1e-2) -> None:
        super().__init__()
        self.net, self.rate = small_net(), rate

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss, and log it."""
        loss: torch.Tensor = self.net(batch[0]).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        """Log a loss."""
        self.log("val_loss", self.net(batch[0]).square().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), self.rate)


class Data(L.LightningDataModule):
    """Three batches."""

    def train_dataloader(self) -> Any:
        """Return them."""
        data = torch.randn(12, 32, generator=torch.Generator().manual_seed(1))
        return DataLoader(TensorDataset(data), batch_size=4)

    val_dataloader = train_dataloader


class MidRun(L.Callback):
    """Copies the callback as validation begins, when a data loader pickles it for its workers."""

    def __init__(self, ours: Any, copies: Copies) -> None:
        self._ours, self._copies = ours, copies

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Copy."""
        if not trainer.sanity_checking:
            self._copies.make("during", self._ours)


def trainer(folder: Path, attached: bool, copies: Copies) -> Trained:
    """`Trainer.fit` with three loggers."""
    ours = AlphaHillCallback(precisions=PRECISIONS)
    if attached:
        copies.make("before", ours)
    loggers = [TensorBoardLogger(folder), CSVLogger(folder), WandbLogger(save_dir=folder, offline=True)]
    callbacks = [ModelCheckpoint(folder / "saved", every_n_train_steps=2, save_top_k=-1, filename="{step}")]
    run = L.Trainer(
        accelerator="cpu", max_epochs=2, logger=loggers, default_root_dir=folder, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[*([ours, MidRun(ours, copies)] if attached else []), *callbacks],
    )  # fmt: skip
    module = Module()
    run.fit(module, datamodule=Data())
    if attached:
        copies.make("after", ours)
    import wandb

    wandb.finish()
    if not attached:
        return _trained(folder, module, None, {})
    heard = {"TensorBoard": tensorboard_steps(folder), "CSVLogger": _csv_steps(folder), "W&B": wandb_steps(folder)}
    return _trained(folder, module, ours.monitor.output_dir, heard)


def cli(folder: Path, attached: bool, copies: Copies) -> Trained:
    """LightningCLI from a config file, which names the callback."""
    from lightning.pytorch.cli import LightningCLI

    ours = {
        "class_path": "alpha_callbacks.AlphaHillCallback", "init_args": {"precisions": list(PRECISIONS)}
    }  # fmt: skip
    saves = {
        "class_path": "lightning.pytorch.callbacks.ModelCheckpoint",
        "init_args": {
            "every_n_train_steps": 2, "save_top_k": -1, "dirpath": str(folder / "saved"), "filename": "{step}"
        },
    }  # fmt: skip
    logger = {"class_path": "lightning.pytorch.loggers.TensorBoardLogger", "init_args": {"save_dir": str(folder)}}
    config = {
        "seed_everything": 1,
        "trainer": {
            "accelerator": "cpu", "max_epochs": 2, "logger": logger, "enable_progress_bar": False,
            "enable_model_summary": False, "callbacks": [*([ours] if attached else []), saves],
        },
    }  # fmt: skip
    (folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    done = LightningCLI(Module, Data, args=["fit", "--config", str(folder / "config.yaml")])
    if not attached:
        return _trained(folder, done.model, None, {})
    run: Any = done.trainer
    (callback,) = [each for each in run.callbacks if isinstance(each, AlphaHillCallback)]
    copies.make("after", callback)
    return _trained(folder, done.model, callback.monitor.output_dir, {"TensorBoard": tensorboard_steps(folder)})


def _trained(folder: Path, module: L.LightningModule, results: Path | None, heard: dict[str, list[int]]) -> Trained:
    files = {int(path.stem.partition("=")[2]): path for path in (folder / "saved").glob("*.ckpt")}
    saved = {step: read_torch(path, "state_dict") for step, path in files.items()}
    return Trained(module.state_dict(), saved, results, heard)


def _csv_steps(folder: Path) -> list[int]:
    import pandas

    (path,) = folder.rglob("metrics.csv")
    frame = pandas.read_csv(path)
    return [int(step) for step in frame[frame["alpha_hill/median_fp32"].notna()]["step"]]
