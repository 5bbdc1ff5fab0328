"""What the callbacks of all training frameworks share: their options, and when a state is measured."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from alpha_callbacks.errors import OptionError
from alpha_callbacks.estimators.hill import Threshold
from alpha_callbacks.options import Adapters, AnalysisOptions, pick_device
from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.solvers.spectrum import Solver
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.training.schedule import Every, Schedule

_log = logging.getLogger(__name__)


class Attachment:
    """Options of a callback, and the monitor that it holds.

    Args:
        every: "checkpoint", "epoch", "train_end", or a number of optimizer steps.
        precisions: names from the registry.
        include: regex searched in layer names; only matches are analysed.
        exclude: regex searched in layer names; matches are left out.
        include_embeddings: analyse embedding tables too.
        adapters: "base" or "merged": under PEFT, the weight below an adapter or the sum of both.
        k_frac: share of the spectrum taken as its tail.
        k_min: smallest tail.
        threshold: "next" or "last", see docs/definitions.md.
        solver: "exact" or "fast".
        device: where to compute; "cpu" leaves the accelerator's memory alone.
        weights: "module": what is being trained; "checkpoint": what was saved, which differs under EMA.
        output_dir: for CSV; default `alpha_hill` in the log folder of the trainer.
        sinks: "auto": CSV and whatever the trainer logs to; or a list, see `Monitor`.
        per_layer_scalars: log a scalar per layer and precision.
        images: log charts.
        background: analyse a CPU copy while training goes on.
        max_seconds: time budget of one measurement.
        threads: CPU threads.
        on_error: "warn" or "raise".

    Attributes:
        monitor: does the work; `monitor.last` is the newest snapshot.
    """

    def __init__(
        self,
        *,
        every: Every = "checkpoint",
        precisions: str | Sequence[str] = ("fp32", "fp16", "bf16"),
        include: str | None = None,
        exclude: str | None = None,
        include_embeddings: bool = False,
        adapters: Adapters = "base",
        k_frac: float = 0.1,
        k_min: int = 10,
        threshold: Threshold = "next",
        solver: Solver = "exact",
        device: str = "cpu",
        weights: Literal["module", "checkpoint"] = "module",
        output_dir: str | Path | None = None,
        sinks: str | Sequence[Any] = "auto",
        per_layer_scalars: bool = True,
        images: bool = True,
        background: bool = False,
        max_seconds: float | None = None,
        threads: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        self.schedule = Schedule(every)
        if weights not in ("module", "checkpoint"):
            raise OptionError(f"weights: expected module or checkpoint, got {weights!r}.")
        if weights == "checkpoint" and every != "checkpoint":
            raise OptionError(f'weights: "checkpoint" needs every="checkpoint", got every={every!r}.')
        if weights == "checkpoint" and adapters == "merged":
            raise OptionError('adapters: "merged" needs weights="module": a checkpoint holds base and adapter apart.')
        options = AnalysisOptions(
            precisions=tuple(precisions.split(",") if isinstance(precisions, str) else precisions),
            include=include,
            exclude=exclude,
            include_embeddings=include_embeddings,
            adapters=adapters,
            k_frac=k_frac,
            k_min=k_min,
            threshold=threshold,
            solver=solver,
            device=pick_device(device),
        )
        self.monitor = Monitor(
            options,
            output_dir="alpha_hill" if output_dir is None else output_dir,
            sinks=sinks,
            per_layer_scalars=per_layer_scalars,
            images=images,
            background=background,
            max_seconds=max_seconds,
            threads=threads,
            on_error=on_error,
        )
        self._own_folder = output_dir is not None
        self._from_checkpoint = weights == "checkpoint"
        self._tried = -1  # step of the newest state that was due; -1: none of this run

    def run_now(self, model: nn.Module, step: int, *, epoch: float | None = None) -> Snapshot | None:
        """Measure a model at once, inside or after a training run. Collective.

        For saves that no hook reports, such as a checkpoint written after the end of training, when the trainer's
        loggers are closed: it then goes to CSV and to what `sinks` names.

        Args:
            model: any module.
            step: optimizer steps so far; not before the last one measured.
            epoch: for the records.
        """
        in_training = self.monitor.running
        try:
            return self.monitor.log(model, step, epoch=epoch, event="manual")
        finally:
            if not in_training:
                self.monitor.close()

    def _end(self) -> None:
        """Say so if nothing was measured: with weights="checkpoint" a run without a checkpoint has nothing to read."""
        if self._from_checkpoint and self.monitor.newest is None:
            _log.warning('alpha-Hill: weights="checkpoint", and no checkpoint was written: nothing was measured.')

    def _folder(self, beside: str | Path) -> Path:
        """Return the user's output folder, else one in a folder of the framework."""
        return self.monitor.output_dir if self._own_folder else Path(beside) / "alpha_hill"

    def _measure(
        self, model: nn.Module, step: int, epoch: float | None, event: Event, checkpoint: Path | None
    ) -> Snapshot | None:
        """Measure a state, once per step; from the checkpoint where the user wants that.

        The last state of a run is measured even if its step was tried before, and left out since the worker was busy.
        """
        again = step == self._tried and not (event == "end" and self.monitor.newest != step)
        if again or self._from_checkpoint and checkpoint is None:
            return None
        self._tried = step
        if self._from_checkpoint and checkpoint is not None:
            return self.monitor.log_checkpoint(checkpoint, step, epoch=epoch, event=event)
        return self.monitor.log(model, step, epoch=epoch, event=event)
