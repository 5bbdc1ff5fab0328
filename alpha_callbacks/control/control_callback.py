"""What the callbacks of layer-wise control do alike, whatever the training framework."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from torch import nn

from alpha_callbacks.control.control_log import ControlLog
from alpha_callbacks.control.layerwise_control import Decision, LayerwiseControl, checked_options, checked_total
from alpha_callbacks.control.rules import Rule, get_rule
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training.error_policy import ErrorPolicy
from alpha_callbacks.training.monitor_checks import check_monitor_options
from alpha_callbacks.training.travelling_sinks import travelling


class ControlCallback:
    """Base of the callbacks: the options, checked, and the control and log of the current run.

    Args:
        rule: "tempbalance", "llr" or "alphadecay"; or a `Rule`.
        every: this and the next five are constants of the rule (see `Rule`), None: as published.
        ramp: see there.
        low: see there.
        high: see there.
        until: see there.
        min_eigs: see there.
        total_steps: only needed where the trainer does not know them.
        options: what alpha is computed from, and which layers take part (`LayerwiseControl`).
        threads: number of CPU threads.
        output_dir: folder for layerwise_control.csv; default `alpha_control` in the log folder of the trainer.
        sinks: as for `Monitor`: "auto" is every logger of the trainer.
        per_layer_scalars: log the multiplier of each layer.
        on_error: "warn": a decision that fails leaves everything as it is, with one warning; "raise": it ends training.
            The first decision of a run always does.

    Attributes:
        rule: with the constants that are used.
        last: the newest decision; None before the first.

    Raises:
        OptionError: an option that cannot be used.
    """

    _control: LayerwiseControl | None = None
    _log_of_run: ControlLog | None = None
    _of_the_run: tuple[str, ...] = ("_control", "_log_of_run")

    def __init__(
        self,
        rule: str | Rule = "llr",
        *,
        every: int | None = None,
        ramp: int | None = None,
        low: float | None = None,
        high: float | None = None,
        until: float | None = None,
        min_eigs: int | None = None,
        total_steps: int | None = None,
        options: AnalysisOptions | None = None,
        threads: int | None = None,
        output_dir: str | Path | None = None,
        sinks: Any = "auto",
        per_layer_scalars: bool = True,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        check_monitor_options(on_error=on_error, max_seconds=None, threads=threads, sinks=sinks)
        self.rule = get_rule(rule, every=every, ramp=ramp, low=low, high=high, until=until, min_eigs=min_eigs)
        self._options, self._total_steps, self._threads = checked_options(options), checked_total(total_steps), threads
        self._output_dir = Path(output_dir) if output_dir is not None else None
        self._sinks, self._per_layer_scalars = sinks, per_layer_scalars
        self._errors = ErrorPolicy(strict=on_error == "raise")
        self.last: Decision | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: a callback as it was before its run."""
        kept = {name: value for name, value in vars(self).items() if name not in self._of_the_run}
        return kept | {"_sinks": travelling(self._sinks)}

    @property
    def multipliers(self) -> dict[str, float]:
        """Layer name -> multiplier of the next optimizer step; empty outside a run."""
        return self._control.multipliers if self._control is not None else {}

    def _begin(
        self,
        model: nn.Module,
        optimizers: Any,
        step: int,
        *,
        total_steps: int | None,
        beside: str | Path | None,
        offers: Sequence[Any],
        step_key: str,
    ) -> None:
        """Take the optimizers under control, open the log (None: there is none), decide if that is due. Collective."""
        self._end()
        if total_steps is not None:  # a trainer may be asked for no epoch at all
            total_steps = max(total_steps, 1)
        total = self._total_steps or total_steps
        self._control = LayerwiseControl(
            model, optimizers, self.rule, total_steps=total, options=self._options, threads=self._threads
        )
        if beside is not None:
            self._log_of_run = ControlLog(
                self._output_dir or Path(beside) / "alpha_control",
                sinks=self._sinks,
                offers=offers,
                step_key=step_key,
                per_layer_scalars=self._per_layer_scalars,
            )
        self._record(self._control.update(step))

    def _update(self, step: int) -> None:
        """Say how many optimizer steps have been made, and decide if that is due. Collective when it is."""
        if self._control is not None:
            with self._errors:
                self._record(self._control.update(step))

    def _end(self) -> None:
        """Let go of the optimizers and close the log; may be called twice."""
        if self._control is not None:
            self._control.close()
        if self._log_of_run is not None:
            self._log_of_run.close()
        self._control = self._log_of_run = None

    def _record(self, decision: Decision | None) -> None:
        if decision is not None:
            self.last = decision
        if decision is not None and self._log_of_run is not None:
            self._log_of_run.write(decision)
