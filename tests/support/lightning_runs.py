"""A small Lightning run, in either namespace."""

from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def module_class(pl: ModuleType) -> Any:
    """Return the LightningModule: two layers, a validation loop, a logged loss."""

    class Net(pl.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(32, 24), nn.Tanh(), nn.Linear(24, 16))

        def training_step(self, batch: Any, index: int) -> Any:
            loss = self.net(batch[0]).square().mean()
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", self.net(batch[0]).square().mean())

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.5)

    return Net


def loader(batches: int) -> Any:
    """Return `batches` batches of 4."""
    generator = torch.Generator().manual_seed(1)
    return DataLoader(TensorDataset(torch.randn(4 * batches, 32, generator=generator)), batch_size=4)


def trainer(pl: ModuleType, folder: Path, callbacks: list[Any], **options: Any) -> Any:
    """Return a quiet CPU trainer of two epochs."""
    defaults: dict[str, Any] = dict(
        accelerator="cpu", devices=1, max_epochs=2, default_root_dir=folder, logger=False, enable_progress_bar=False,
        enable_model_summary=False,
    )  # fmt: skip
    return pl.Trainer(callbacks=list(callbacks), **{**defaults, **options})


def fit(
    pl: ModuleType, folder: Path, callbacks: list[Any], *, val: bool = True, ckpt: Any = None, **options: Any
) -> Any:
    """Train for two epochs of three batches and return (trainer, module)."""
    module = module_class(pl)()
    run = trainer(pl, folder, callbacks, **options)
    run.fit(module, loader(3), loader(1) if val else None, ckpt_path=ckpt)
    return run, module
