"""What the callbacks of all training frameworks do alike: decide whether a state is measured, and have it measured."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from alpha_callbacks.evaluation.trained_sensitivities import optimizer_sensitivities
from alpha_callbacks.planning.sensitivities_file import SENSITIVITIES, write_sensitivities
from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.callback_options import CallbackOptions
from alpha_callbacks.training.saved_weights import Place, Saved
from alpha_callbacks.utils.own_logger import own_logger

_log = own_logger(__name__)


class TrainingCallback(CallbackOptions):
    """Base of the callbacks. What changes during a run is kept by `monitor` and by the hooks of the framework."""

    _of_the_run: tuple[str, ...] = ()  # attributes with a default in the class, that mean nothing outside a run

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: a callback as it was before its run, with the results so far."""
        return {name: value for name, value in vars(self).items() if name not in self._of_the_run}

    def run_now(self, model: nn.Module, step: int, *, epoch: float | None = None) -> Snapshot | None:
        """Measure a model at once, inside or after a training run. Collective.

        For saves that no hook reports, such as a checkpoint written after the end of training. The trainer's loggers
        are closed by then, so the results go to CSV and to the destinations that `sinks` names.

        Args:
            model: any module.
            step: number of optimizer steps so far; not before the last one measured.
            epoch: for the records.
        """
        in_training = self.monitor.running
        try:
            return self.monitor.log(model, step, epoch=epoch, event="manual")
        finally:
            if not in_training:
                self.monitor.close()

    @property
    def _same_everywhere(self) -> dict[str, object]:
        """What decides which states are measured: ranks that differ in it would wait for one another for ever."""
        return {"every": self.schedule.every, "weights": "checkpoint" if self.reads_checkpoints else "module"}

    def _folder(self, beside: str | Path) -> Path:
        """Return the user's output folder, else `alpha_hill` in a folder of the framework."""
        return self.output_dir or Path(beside) / "alpha_hill"

    def _measure_once(
        self, model: nn.Module, step: int, epoch: float | None, event: Event, checkpoint: Sequence[Place] = ()
    ) -> None:
        """Measure a state that is due, once per step; from the checkpoint where the user wants that. Collective.

        The last state of a run is measured even if it was due before and dropped because the worker was busy.

        Args:
            model: the module in training.
            step: number of optimizer steps so far.
            epoch: for the records.
            event: why it is measured.
            checkpoint: where this state was saved; the first place that can be read counts.
        """
        monitor = self.monitor
        dropped_last = event == "end" and monitor.newest != step
        if step == monitor.last_due and not dropped_last:
            return
        if not self.reads_checkpoints:
            # Between checkpoints there is only the model, and all rows of one history are of one kind.
            saved = Saved(checkpoint, used=self.schedule.every in ("checkpoint", "train_end")) if checkpoint else None
            monitor.log(model, step, epoch=epoch, event=event, checkpoint=saved)
        elif event != "start":
            for path in checkpoint[:1]:
                if not isinstance(path, Mapping):
                    monitor.log_checkpoint(path, step, epoch=epoch, event=event)

    def _tell_saved(self, model: nn.Module, step: int, checkpoint: Sequence[Place]) -> None:
        """Warn of a checkpoint that differs from the model where rows are of the model, and not of files. Collective.

        Args:
            model: the module in training, in the state that was saved.
            step: number of optimizer steps so far.
            checkpoint: where it was saved; the first place that can be read counts.
        """
        if checkpoint and not self.reads_checkpoints and self.schedule.every not in ("checkpoint", "train_end"):
            self.monitor.tell_checkpoint(model, step, Saved(checkpoint, used=False))

    def _warn_if_replaced(
        self, model: nn.Module, step: int, why: str = "one of the two is an average, or the like"
    ) -> None:
        """Warn if the module no longer holds what the rows of its last step are of. Collective.

        An averaging callback puts the average in when training ends, perhaps after the checkpoint of that step.

        Args:
            model: the module after training.
            step: the last one.
            why: for the message.
        """
        if not self.reads_checkpoints and self.monitor.is_replaced(model, step):
            _log.warning(
                "alpha-Hill: the rows of step %d are not of the weights that the module holds after training; %s. "
                "To measure these too: callback.run_now(module, %d).",
                step,
                why,
                step + 1,
            )

    def _keep_sensitivities(self, model: nn.Module, optimizers: Iterable[Any]) -> None:
        """Write what the optimizers know of each layer, if that is wanted. For the first rank; never raises.

        Args:
            model: the module after training.
            optimizers: of the run.
        """
        if not self.keeps_sensitivities:
            return
        try:
            write_sensitivities(optimizer_sensitivities(model, optimizers), self.monitor.output_dir)
        except Exception as error:  # training is over, and what it made must not be lost
            _log.warning("alpha-Hill: no %s: %s", SENSITIVITIES, error)

    def _warn_if_nothing_measured(self) -> None:
        """Warn after a run with weights="checkpoint" that wrote no checkpoint: there was nothing to read."""
        if self.reads_checkpoints and self.monitor.newest is None:
            _log.warning('alpha-Hill: weights="checkpoint", and no checkpoint was written: nothing was measured.')
