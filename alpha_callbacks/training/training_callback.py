"""What the callbacks of all training frameworks do alike: decide whether a state is measured, and have it measured."""

import logging
from pathlib import Path
from typing import Any

from torch import nn

from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.callback_options import CallbackOptions

_log = logging.getLogger(__name__)


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
        self, model: nn.Module, step: int, epoch: float | None, event: Event, checkpoint: Path | None
    ) -> None:
        """Measure a state that is due, once per step; from the checkpoint where the user wants that. Collective.

        The last state of a run is measured even if it was due before and dropped because the worker was busy.
        """
        monitor = self.monitor
        dropped_last = event == "end" and monitor.newest != step
        if step == monitor.last_due and not dropped_last:
            return
        if not self.reads_checkpoints:
            monitor.log(model, step, epoch=epoch, event=event)
        elif checkpoint is not None:
            monitor.log_checkpoint(checkpoint, step, epoch=epoch, event=event)

    def _warn_if_nothing_measured(self) -> None:
        """Warn after a run with weights="checkpoint" that wrote no checkpoint: there was nothing to read."""
        if self.reads_checkpoints and self.monitor.newest is None:
            _log.warning('alpha-Hill: weights="checkpoint", and no checkpoint was written: nothing was measured.')
