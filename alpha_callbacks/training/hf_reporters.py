"""Hugging Face's reporters without a sink of their own (MLflow, Trackio, Comet, …) as loggers of summary values."""

import copy
import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any
from weakref import ref

from torch import nn

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_WITH_A_SINK = ("TensorBoardCallback", "WandbCallback")


class ReporterLogger:
    """Hands values to a reporter as the Trainer does, past `Trainer.log`: nothing is added to `trainer_state.json`.

    Attributes:
        kind: class of the reporter.
        reporter: the callback.
    """

    def __init__(
        self,
        reporter: Any,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        model: nn.Module,
    ) -> None:
        self.kind = type(reporter).__name__
        self.reporter, self._args, self._state, self._control, self._model = reporter, args, state, control, ref(model)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Log a row; reporters put `train/` before each key and take the step from the state."""
        values = {name: value for name, value in metrics.items() if math.isfinite(value)}
        if self.kind == "DVCLiveCallback":  # its on_log would also go on to the next step
            for name, value in values.items():
                self.reporter.live.log_metric(f"train/{name}", value)
            return
        state = copy.copy(self._state)
        state.global_step = step
        self.reporter.on_log(self._args, state, self._control, logs=values, model=self._model())


def other_reporters(
    callbacks: Iterable[Any],
    args: "TrainingArguments",
    state: "TrainerState",
    control: "TrainerControl",
    model: nn.Module,
) -> list[ReporterLogger]:
    """Return a logger for each callback that `report_to` can name, that logs, and that no sink writes through."""
    from transformers import TrainerCallback
    from transformers.integrations import integration_utils

    kinds = tuple(getattr(integration_utils, "INTEGRATION_TO_CALLBACK", {}).values())
    return [
        ReporterLogger(callback, args, state, control, model)
        for callback in callbacks
        if isinstance(callback, kinds)
        and type(callback).on_log is not TrainerCallback.on_log
        and not any(base.__name__ in _WITH_A_SINK for base in type(callback).__mro__)
    ]
