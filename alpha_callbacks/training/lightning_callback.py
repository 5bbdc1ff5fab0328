"""Alpha-Hill in a Lightning training run. Works in `lightning.pytorch` and in `pytorch_lightning`."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.lightning_base import Callback
from alpha_callbacks.training.training_callback import TrainingCallback
from alpha_callbacks.weights.sharded import is_fsdp1

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@dataclass
class _Hooks:
    """What the hooks of one run remember for the next hook.

    Attributes:
        last_saved: (path, step) of the last save of each checkpoint callback.
        epoch: in which the last step was made.
        saved: a full checkpoint was written since the last measurement.
        due: a multiple of `every` steps was reached since the last measurement.
        published: the newest snapshot in `trainer.callback_metrics`.
    """

    last_saved: list[tuple[str, int]]
    epoch: int
    saved: bool = False
    due: bool = False
    published: Snapshot | None = None


class AlphaHillCallback(TrainingCallback, Callback):
    """Computes alpha-Hill at every checkpoint of a Lightning run and logs it to the trainer's loggers and to CSV.

    A checkpoint is measured once per step, at the first hook after its file is on disk, so that no error here can cost
    the file. The first and the last state are also measured. Keys are listed in docs/keys.md; the summary values are in
    `trainer.callback_metrics` as `alpha_hill/<name>`, for EarlyStopping and ModelCheckpoint.

    Options: see `CallbackOptions` and docs/training.md.

    Raises:
        OptionError: an option that cannot be used.
        MissingExtraError: no Lightning is installed.

    Examples:
        >>> callback = AlphaHillCallback(every=500, precisions="fp32,bf16")
        >>> callback.monitor.options.precisions
        ('fp32', 'bf16')
    """

    _hooks: _Hooks | None = None  # of the current run
    _of_the_run = ("_hooks", "log", "log_dict")  # the last two are methods of the module, put here by the trainer

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Choose the folder here, on all ranks: `trainer.log_dir` is collective."""
        if stage == "fit":
            self._log_dir = log_folder(trainer)

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Open the sinks and measure the first state (in a resumed run, the restored one)."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by the trainer, declared nowhere
            return
        self.monitor.open(
            output_dir=self._folder(self._log_dir),
            offers=trainer.loggers,
            step_key="trainer/global_step",
            facts=self._same_everywhere,
        )
        if not trainer.loggers and self.monitor.finds_sinks and trainer.is_global_zero:
            _log.warning("alpha-Hill: the trainer has no logger; results go to %s only.", self.monitor.output_dir)
        self._hooks = _Hooks(_last_saved(trainer), trainer.current_epoch)
        self._look(trainer, pl_module, "start", self._hooks)
        self._prepare_monitored_values(trainer, self._hooks)

    def on_save_checkpoint(self, trainer: "Trainer", pl_module: "LightningModule", checkpoint: dict[str, Any]) -> None:
        """Only remember it: the file does not exist yet, and an error here would cost the user the checkpoint."""
        if self._hooks is not None:
            self._hooks.saved = True

    def on_train_batch_start(
        self, trainer: "Trainer", pl_module: "LightningModule", batch: Any, batch_idx: int
    ) -> None:
        """Measure what was saved after the last batch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether a multiple of `every` was reached; the next hook measures the state, after its checkpoint."""
        hooks = self._hooks
        if hooks is not None:
            hooks.epoch = trainer.current_epoch
            hooks.due = hooks.due or self.schedule.crossed(trainer.global_step, self.monitor.last_due)
            self.monitor.poll()
            self._publish(trainer, hooks)
            self._stop(trainer)

    def on_validation_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure what was saved after the last batch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_epoch_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure what was saved at the end of the last epoch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure what validation saved, and each epoch if asked to.

        This comes before the checkpoint of the epoch, which may be chosen by the value.
        """
        self._look_after_saves(trainer, pl_module)
        if self._hooks is not None and self.schedule.every == "epoch":
            self._look(trainer, pl_module, "epoch", self._hooks)

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure the last state and wait for the worker."""
        self._look_after_saves(trainer, pl_module)
        if self._hooks is not None:
            self._look(trainer, pl_module, "end", self._hooks)
            self._finish(trainer, self._hooks)

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """Leave quickly; what was measured is on disk."""
        self._hooks = None
        self.monitor.close(wait=False)

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Measure a checkpoint that was saved as training ended, and close the sinks."""
        self._look_after_saves(trainer, pl_module)
        if self._hooks is not None:
            self._finish(trainer, self._hooks)
            self._warn_if_nothing_measured()
            self._hooks = None
        self.monitor.close()

    def _look_after_saves(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure if a checkpoint was saved since the last look.

        `on_save_checkpoint` does not fire for weights-only saves; they show in the counters of checkpoint callbacks.
        """
        hooks = self._hooks
        if hooks is None or trainer.sanity_checking:
            return
        before, hooks.last_saved = hooks.last_saved, _last_saved(trainer)
        saved, hooks.saved = hooks.saved or hooks.last_saved != before, False
        due, hooks.due = hooks.due, False
        if saved and self.schedule.every == "checkpoint":
            self._look(trainer, pl_module, "checkpoint", hooks)
        elif due:
            self._look(trainer, pl_module, "step", hooks)

    def _look(self, trainer: "Trainer", pl_module: "LightningModule", event: Event, hooks: _Hooks) -> None:
        model = trainer.model if is_fsdp1(trainer.model) else pl_module  # only FSDP1's root knows all of its parameters
        assert model is not None
        saved = [path for path, step in hooks.last_saved if step == trainer.global_step and path]
        path = Path(saved[-1]) if saved else None
        self._measure_once(model, trainer.global_step, hooks.epoch, event, path)
        self._publish(trainer, hooks)
        self._stop(trainer)

    def _finish(self, trainer: "Trainer", hooks: _Hooks) -> None:
        """Wait for the worker."""
        self.monitor.poll(wait=True)
        self._publish(trainer, hooks)

    def _stop(self, trainer: "Trainer") -> None:
        """End the run where an alert says so, as EarlyStopping does: `min_epochs` and `min_steps` still count."""
        if self.monitor.should_stop:
            trainer.should_stop = True

    def _prepare_monitored_values(self, trainer: "Trainer", hooks: _Hooks) -> None:
        """Have a value ready for callbacks that monitor an alpha-Hill value, and warn where it would come too late."""
        watching = [c for c in trainer.callbacks if str(getattr(c, "monitor", "")).startswith("alpha_hill/")]  # type: ignore[attr-defined]
        if watching:
            self._finish(trainer, hooks)
        if self.schedule.every == "checkpoint" and any(c in trainer.checkpoint_callbacks for c in watching):
            _log.warning(
                "alpha-Hill: ModelCheckpoint monitors an alpha-Hill value, but a checkpoint is measured after it is "
                'written: it uses the previous checkpoint\'s value. Use AlphaHillCallback(every="epoch").'
            )

    def _publish(self, trainer: "Trainer", hooks: _Hooks) -> None:
        """Make the newest summary values known to callbacks that monitor one."""
        snapshot = self.monitor.last
        if snapshot is not None and snapshot is not hooks.published:
            hooks.published = snapshot
            device = trainer.strategy.root_device
            for name, value in snapshot.scalars.items():
                trainer.callback_metrics[f"alpha_hill/{name}"] = torch.tensor(value, device=device)


def log_folder(trainer: "Trainer") -> str:
    """Return the folder of this run alone, as ModelCheckpoint chooses it. Collective.

    A logger without a folder per run (`WandbLogger`) has its `save_dir` in common with all runs; its name and version
    make the difference.
    """
    folder = trainer.log_dir or trainer.default_root_dir
    logger = trainer.loggers[0] if trainer.loggers else None
    if logger is not None and not isinstance(getattr(logger, "log_dir", None), str):
        version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
        folder = str(Path(logger.save_dir or trainer.default_root_dir) / str(logger.name) / version)
    return trainer.strategy.broadcast(folder)


def _last_saved(trainer: "Trainer") -> list[tuple[str, int]]:
    """Return (path, step) of the last save of each checkpoint callback, as far as it tells."""
    return [
        (str(getattr(c, "_last_checkpoint_saved", "")), int(getattr(c, "_last_global_step_saved", 0)))
        for c in trainer.checkpoint_callbacks
    ]
