"""Layer-wise control in a Lightning run. Works in `lightning.pytorch` and in `pytorch_lightning`."""

import math
from typing import TYPE_CHECKING, Any

from alpha_callbacks.control.control_callback import ControlCallback
from alpha_callbacks.training.lightning_base import Callback
from alpha_callbacks.training.lightning_trainer import log_folder

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


class AlphaControlCallback(ControlCallback, Callback):
    """Sets learning rates or weight decays per layer from alpha in a Lightning run. Experimental: see docs/control.md.

    Every layer needs a parameter group of its own: return `split_per_layer(self, optimizer)` from
    `configure_optimizers`, before a scheduler is made. What is decided is saved with the optimizer's state, so a run
    that is resumed continues bit for bit.

    Options: see `ControlCallback` and `LayerwiseControl`.

    Raises:
        OptionError: an option that cannot be used; when training starts, optimizers that cannot be controlled.
        MissingExtraError: no Lightning is installed.

    Examples:
        >>> callback = AlphaControlCallback("tempbalance", every=100)
        >>> callback.rule.sets, callback.rule.every
        ('lr', 100)
    """

    _of_the_run = (*ControlCallback._of_the_run, "log", "log_dict")  # the last two are put here by the trainer

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Choose the folder here, on all ranks: `trainer.log_dir` is collective."""
        if stage == "fit":
            self._beside = log_folder(trainer)

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Take the optimizers under control (in a resumed run, after their state is restored)."""
        total = trainer.estimated_stepping_batches if self.rule.until < 1 else math.inf
        self._begin(
            pl_module,
            trainer.optimizers,
            trainer.global_step,
            total_steps=int(total) if math.isfinite(total) else None,
            beside=None if trainer.fast_dev_run else self._beside,  # type: ignore[attr-defined]  # declared nowhere
            offers=trainer.loggers,
            step_key="trainer/global_step",
        )

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide if that is due."""
        self._update(trainer.global_step)

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """Give the groups their own values back before other callbacks save a checkpoint."""
        self._end()

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Let go of the optimizers."""
        self._end()
