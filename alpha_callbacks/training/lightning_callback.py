"""Alpha-Hill in a Lightning training run. Works in `lightning.pytorch` and in `pytorch_lightning`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.callers import of_a_caller
from alpha_callbacks.training.lightning_base import Callback
from alpha_callbacks.training.lightning_trainer import after_the_others, is_saved_on_exception, last_saves, log_folder
from alpha_callbacks.training.saved_weights import Place
from alpha_callbacks.training.training_callback import TrainingCallback
from alpha_callbacks.utils.own_logger import own_logger
from alpha_callbacks.weights.sharded import is_fsdp1

_log = own_logger(__name__)

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer


@dataclass
class _Hooks:
    """What the hooks of one run remember for the next hook.

    Attributes:
        last_saved: (path, step) of the last save of each checkpoint callback.
        epoch: in which the last step was made.
        saved: a full checkpoint was written since the last measurement.
        path: where it was written to.
        content: what was written, with the step; the file may come later, or lie on a server.
        due: a multiple of `every` steps was reached since the last measurement.
        published: the newest snapshot in `trainer.callback_metrics`.
    """

    last_saved: list[tuple[str, int]]
    epoch: int
    saved: bool = False
    path: str | Path | None = None
    content: Mapping[str, Any] | None = None
    due: bool = False
    published: Snapshot | None = None


class AlphaHillCallback(TrainingCallback, Callback):
    """Computes alpha-Hill at every checkpoint of a Lightning run and logs it to the trainer's loggers and to CSV.

    A checkpoint is measured once per step, at the first hook after its file is on disk, so that no error here can cost
    the file. Where the file holds an average of weights, so do its rows. The first and the last state are also
    measured. Keys are listed in docs/keys.md; the summary values are in `trainer.callback_metrics` as
    `alpha_hill/<name>`, for EarlyStopping and ModelCheckpoint.

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
        self._hooks = _Hooks(last_saves(trainer), trainer.current_epoch)
        restored = [Path(trainer.ckpt_path)] if trainer.ckpt_path and trainer.global_step else []
        self._look(trainer, pl_module, "start", self._hooks, restored)
        self._prepare_monitored_values(trainer, self._hooks)

    def on_save_checkpoint(self, trainer: "Trainer", pl_module: "LightningModule", checkpoint: dict[str, Any]) -> None:
        """Only remember it: the file does not exist yet, and an error here would cost the user the checkpoint."""
        if self._hooks is not None:
            path = of_a_caller(lambda local: local.get("filepath") if local.get("self") is trainer else None)
            self._hooks.saved, self._hooks.path, self._hooks.content = True, path, checkpoint

    def on_train_batch_start(
        self, trainer: "Trainer", pl_module: "LightningModule", batch: Any, batch_idx: int
    ) -> None:
        """Measure what was saved after the last batch."""
        self._look_after_saves(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: "Trainer", pl_module: "LightningModule", outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure every n steps: after a checkpoint of the same step, before anyone swaps weights for validation."""
        hooks = self._hooks
        if hooks is not None:
            hooks.epoch = trainer.current_epoch
            hooks.due = hooks.due or self.schedule.crossed(trainer.global_step, self.monitor.last_due)
            self.monitor.poll()
            self._publish(trainer, hooks)
            self._stop(trainer)
            if hooks.due:
                after_the_others(trainer, "on_train_batch_end", lambda: self._look_after_saves(trainer, pl_module))

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
        """Measure the last state, as the other callbacks leave it, and wait for the worker."""
        self._look_after_saves(trainer, pl_module)
        if self._hooks is not None:
            after_the_others(trainer, "on_train_end", lambda: self._end(trainer, pl_module))

    def on_exception(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """Leave quickly; what was measured is on disk. Only a checkpoint that is saved for this reason has its turn."""
        hooks = self._hooks
        if hooks is not None and (hooks.saved or is_saved_on_exception(trainer)):
            after_the_others(trainer, "on_exception", lambda: self._leave(trainer, pl_module, exception))
        else:
            self._leave(trainer, pl_module, exception)

    def teardown(self, trainer: "Trainer", pl_module: "LightningModule", stage: str) -> None:
        """Measure a checkpoint that was saved as training ended, and close the sinks."""
        self._look_after_saves(trainer, pl_module)
        if self._hooks is not None:
            self._finish(trainer, self._hooks)
            self._warn_if_nothing_measured()
            self._hooks = None
        self.monitor.close()

    def _end(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        self._look_after_saves(trainer, pl_module)
        if self._hooks is not None:
            self._look(trainer, pl_module, "end", self._hooks)
            if trainer.is_global_zero:
                self._keep_sensitivities(pl_module, trainer.optimizers)
            self._finish(trainer, self._hooks)
            self._warn_if_replaced(pl_module, trainer.global_step)

    def _leave(self, trainer: "Trainer", pl_module: "LightningModule", exception: BaseException) -> None:
        """End a run that was broken off; a checkpoint of this moment is measured unless someone waits for the end."""
        hooks = self._hooks
        try:
            saved = hooks is not None and (hooks.saved or hooks.last_saved != last_saves(trainer))
            if saved and isinstance(exception, Exception) and trainer.world_size == 1:
                self.monitor.poll(wait=True)  # else it would be left out while the worker is busy
                self._look_after_saves(trainer, pl_module)
                self.monitor.poll(wait=True)
            elif saved and trainer.is_global_zero:  # Ctrl-C, or other ranks that may never come
                _log.warning("alpha-Hill: the checkpoint of step %d has no rows: scan it.", trainer.global_step)
        except Exception as error:  # not in place of the one that ended the run
            _log.warning("alpha-Hill: %s: %s", type(error).__name__, error)
        finally:
            self._hooks = None
            self.monitor.close(wait=False)

    def _look_after_saves(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        """Measure if a checkpoint was saved since the last look.

        `on_save_checkpoint` does not fire for weights-only saves; they show in the counters of checkpoint callbacks.
        """
        hooks = self._hooks
        if hooks is None or trainer.sanity_checking:
            return
        before, hooks.last_saved = hooks.last_saved, last_saves(trainer)
        saved, hooks.saved = hooks.saved or hooks.last_saved != before, False
        due, hooks.due = hooks.due, False
        path, content = hooks.path, hooks.content or {}
        hooks.path = hooks.content = None
        state = content.get("state_dict")
        places: list[Place] = [*([path] if path else []), *([state] if isinstance(state, Mapping) else [])]
        if saved and self.schedule.every == "checkpoint":
            step = content.get("global_step", trainer.global_step)  # a module may save and then go on, by hand
            self._look(trainer, pl_module, "checkpoint", hooks, places, step)
        elif due:
            self._look(trainer, pl_module, "step", hooks, places)
        elif saved and content.get("global_step", trainer.global_step) == trainer.global_step:
            model, places = self._state(trainer, pl_module, hooks, trainer.global_step, places)
            self._tell_saved(model, trainer.global_step, places)

    def _look(
        self,
        trainer: "Trainer",
        pl_module: "LightningModule",
        event: Event,
        hooks: _Hooks,
        places: Sequence[Place] = (),
        step: int | None = None,
    ) -> None:
        """Measure a state.

        Args:
            trainer: of the run.
            pl_module: its module.
            event: why.
            hooks: of the run.
            places: where the state was saved, if not by a checkpoint callback.
            step: of the state; None: the present one.
        """
        step = trainer.global_step if step is None else step
        model, places = self._state(trainer, pl_module, hooks, step, places)
        self._measure_once(model, step, hooks.epoch, event, places)
        self._publish(trainer, hooks)
        self._stop(trainer)

    @staticmethod
    def _state(
        trainer: "Trainer", pl_module: "LightningModule", hooks: _Hooks, step: int, places: Sequence[Place]
    ) -> tuple[nn.Module, list[Place]]:
        """Return the module to read, and all places where the state of a step was saved."""
        model = trainer.model if is_fsdp1(trainer.model) else pl_module  # only FSDP1's root knows all of its parameters
        assert model is not None
        saved = [Path(path) for path, at in hooks.last_saved if at == step and path]
        return model, [*saved[-1:], *places]

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
