"""Alpha-Hill in a Lightning training run. Works in `lightning.pytorch` and in `pytorch_lightning`."""

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from alpha_callbacks.errors import MissingExtraError
from alpha_callbacks.sinks.sink import Sink
from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.callback_options import Attachment
from alpha_callbacks.weights.sharded import is_fsdp1

_log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer

    _BASES: tuple[type[Callback]] = (Callback,)
else:

    def _callback_classes() -> tuple[type, ...]:
        """Return the Callback of each installed Lightning: different classes, and each trainer checks for its own."""
        found = []
        for name in ("lightning.pytorch", "pytorch_lightning"):
            try:
                found.append(import_module(name).Callback)
            except ImportError:
                continue
        if not found:
            raise MissingExtraError("AlphaHillCallback", "lightning")
        return tuple(dict.fromkeys(found))

    class Callback(*_callback_classes()):
        """Base of both Lightnings."""


class AlphaHillCallback(Attachment, Callback):
    """Computes alpha-Hill at every checkpoint of a Lightning run and logs it to the trainer's loggers and to CSV.

    A checkpoint is measured at the first hook after its file is on disk, so nothing here can cost it, once per step.
    The first and the last state are measured too. Keys are listed in docs/keys.md; the summary values are in
    `trainer.callback_metrics` as `alpha_hill/<name>`, for EarlyStopping and ModelCheckpoint.

    Options: those of `Attachment`, and docs/training.md.

    Raises:
        OptionError: an option that cannot be used.
        MissingExtraError: no Lightning is installed.

    Examples:
        >>> callback = AlphaHillCallback(every=500, precisions="fp32,bf16")
        >>> callback.monitor.options.precisions
        ('fp32', 'bf16')
    """

    _active = False
    _saved = False  # a full checkpoint was written since the last look
    _due = False  # a multiple of so many steps was reached since the last look
    _epoch = 0  # in which the last step was made
    _published: Snapshot | None = None

    def setup(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Choose the folder: `trainer.log_dir` is collective, so all ranks ask for it here."""
        if stage == "fit":
            self._log_dir = trainer.log_dir or trainer.default_root_dir

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Open the sinks and measure the first state (the restored one of a resumed run)."""
        if trainer.fast_dev_run:  # type: ignore[attr-defined]  # set by the trainer, declared nowhere
            return
        self.monitor.open(
            output_dir=self._folder(self._log_dir),
            offers=trainer.loggers,
            step_key="trainer/global_step",
            others=lambda found: _other_loggers(trainer.loggers, found) if self.monitor.finds_sinks else (),
        )
        if not trainer.loggers and self.monitor.finds_sinks and trainer.is_global_zero:
            _log.warning("alpha-Hill: the trainer has no logger; results go to %s only.", self.monitor.output_dir)
        self._active, self._saved, self._due, self._tried = True, False, False, -1
        self._seen, self._epoch = self._last_saved(trainer), trainer.current_epoch
        self._look(trainer, pl_module, "start")
        self._mind_monitors(trainer)

    def on_save_checkpoint(self, trainer: "Trainer", pl_module: "LightningModule", checkpoint: dict[str, Any]) -> None:
        """Only remember it: the file is not there yet, and an error here would cost the user the checkpoint."""
        self._saved = True

    def on_train_batch_start(
        self, trainer: "Trainer", pl_module: "LightningModule", batch: Any, batch_idx: int
    ) -> None:
        """Measure what was saved after the last batch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note that so many steps were made; the state is measured at the next hook, after a checkpoint of it."""
        if self._active:
            self._epoch = trainer.current_epoch
            self._due = self._due or self.schedule.crossed(trainer.global_step, self._tried)
            self.monitor.poll()
            self._publish(trainer)

    def on_validation_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure what was saved after the last batch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_epoch_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure what was saved at the end of the last epoch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_epoch_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure what validation saved, and each epoch if asked to.

        That is before the checkpoint of the epoch, which may be chosen by the value.
        """
        self._look_after_saves(trainer, pl_module)
        if self._active and self.schedule.every == "epoch":
            self._look(trainer, pl_module, "epoch")

    def on_train_end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure the last state and wait for the worker."""
        self._look_after_saves(trainer, pl_module)
        if self._active:
            self._look(trainer, pl_module, "end")
            self._finish(trainer)

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """Leave quickly; what was measured is on disk."""
        self._active = False
        self.monitor.close(wait=False)

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Measure a checkpoint that was saved as training ended, and close the sinks."""
        self._look_after_saves(trainer, pl_module)
        if self._active:
            self._finish(trainer)
            self._end()
            self._active = False
        self.monitor.close()

    def _look_after_saves(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure if a checkpoint was saved since the last look.

        `on_save_checkpoint` does not fire for weights-only saves; they show in the counters of checkpoint callbacks.
        """
        if not self._active or trainer.sanity_checking:
            return
        before, self._seen = self._seen, self._last_saved(trainer)
        saved, self._saved = self._saved or self._seen != before, False
        due, self._due = self._due, False
        if saved and self.schedule.every == "checkpoint":
            self._look(trainer, pl_module, "checkpoint")
        elif due:
            self._look(trainer, pl_module, "step")

    def _look(self, trainer: "Trainer", pl_module: "LightningModule", event: Event) -> None:
        model = trainer.model if is_fsdp1(trainer.model) else pl_module  # only FSDP1's root knows all of its parameters
        assert model is not None
        saved = [path for path, step in self._seen if step == trainer.global_step and path]
        path = Path(saved[-1]) if saved else None
        self._measure(model, trainer.global_step, self._epoch, event, path)
        self._publish(trainer)

    def _finish(self, trainer: "Trainer") -> None:
        """Wait for the worker."""
        self.monitor.poll(wait=True)
        self._publish(trainer)

    def _mind_monitors(self, trainer: "Trainer") -> None:
        """Have a value ready for callbacks that monitor one of ours, and say where it would come too late."""
        watching = [c for c in trainer.callbacks if str(getattr(c, "monitor", "")).startswith("alpha_hill/")]  # type: ignore[attr-defined]
        if watching:
            self._finish(trainer)
        if self.schedule.every == "checkpoint" and any(c in trainer.checkpoint_callbacks for c in watching):
            _log.warning(
                "alpha-Hill: ModelCheckpoint monitors a value of ours, but a checkpoint is measured after it is "
                'written: it goes by the value of the one before. Use AlphaHillCallback(every="epoch").'
            )

    @staticmethod
    def _last_saved(trainer: "Trainer") -> list[tuple[str, int]]:
        """Return (path, step) of the last save of each checkpoint callback, as far as it tells."""
        return [
            (str(getattr(c, "_last_checkpoint_saved", "")), int(getattr(c, "_last_global_step_saved", 0)))
            for c in trainer.checkpoint_callbacks
        ]

    def _publish(self, trainer: "Trainer") -> None:
        """Make the newest summary values known to callbacks that monitor one."""
        snapshot = self.monitor.last
        if snapshot is not None and snapshot is not self._published:
            self._published = snapshot
            device = trainer.strategy.root_device
            for name, value in snapshot.scalars.items():
                trainer.callback_metrics[f"alpha_hill/{name}"] = torch.tensor(value, device=device)


class LoggerSink:
    """Sends the summary values to a Lightning logger that no other sink writes to (CSVLogger, MLflow, Comet, ...).

    | key | meaning, unit | when |
    |---|---|---|
    | `alpha_hill/<name>` | the summary values of `Snapshot.scalars` | every snapshot |
    """

    def __init__(self, logger: Any) -> None:
        self.adopted = logger

    def log(self, snapshot: Snapshot) -> None:
        """Log one row of scalars."""
        prefix = f"alpha_hill{self.adopted.group_separator}"
        self.adopted.log_metrics({prefix + name: value for name, value in snapshot.scalars.items()}, step=snapshot.step)

    def close(self) -> None:
        """Do nothing: the trainer finishes its loggers."""


def _other_loggers(loggers: Sequence[Any], found: Sequence[Sink]) -> list[Sink]:
    adopted = [id(getattr(sink, "adopted", None)) for sink in found]
    return [LoggerSink(logger) for logger in loggers if id(logger) not in adopted]
