"""Watches a model in training, whatever runs the loop."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Literal

from torch import nn

from alpha_callbacks.analysis.processes import training_ranks
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.chart_schedule import EVERY
from alpha_callbacks.sinks.sink import AUTO, Host, Sink, as_list, open_sinks
from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.alert_rules import AlertRule, alert_rules
from alpha_callbacks.training.alert_watch import AlertWatch
from alpha_callbacks.training.baseline import Baseline, checked_baseline
from alpha_callbacks.training.error_policy import ErrorPolicy
from alpha_callbacks.training.live_weights import LiveWeights
from alpha_callbacks.training.measured_weights import of_checkpoint, of_module, open_baseline
from alpha_callbacks.training.measurer import Measurer
from alpha_callbacks.training.monitor_checks import check_monitor_options, checked_step
from alpha_callbacks.training.monitored_run import Moment, MonitoredRun
from alpha_callbacks.training.run_folder import RunFolder, claim
from alpha_callbacks.training.saved_weights import Place, Saved
from alpha_callbacks.training.travelling_sinks import travelling
from alpha_callbacks.weights.inventory import Inventory

REUSE_GB = 1.0


class Monitor(AbstractContextManager["Monitor"]):
    """Computes the alphas of a model when told to, and sends them to sinks; the core of both callbacks.

    It never modifies the model. Layers whose bits have not changed since they were last analysed (a frozen base under
    LoRA) are not analysed again. In a distributed run every rank must call it: the layers are divided among the ranks,
    sharded parameters are gathered one at a time, and the first rank writes. Calls from several threads wait for one
    another. A copy or a pickle, made at any time, has the options and the last snapshot, and starts a run of its own.

    Args:
        options: what to compute.
        output_dir: folder for CSV files, and for the event files of a TensorBoard writer that no one else provides. It
            is locked during a run; where another run has it, this one takes `<output_dir>-2` and says so.
        sinks: "auto" (CSV, every writer and logger that the framework offers, and active runs of W&B, MLflow, Trackio
            and Comet), the name of one of them ("csv", "tensorboard", "wandb", "mlflow", "trackio", "comet"), or an
            object (a `Sink`, SummaryWriter, W&B run, Lightning or Fabric logger); or a list, as in ["auto", MySink()].
        per_layer_scalars: also log a scalar per layer and precision.
        images: also log charts: of the first, the last and every tenth state, or of every n-th if a number is given.
        background: analyse a copy on the CPU while training continues. A state that comes due while the previous one is
            still being analysed is left out and counted; the last state of a run never is (for which `log`, where
            training does not say which state is the last, keeps a copy of the newest one until `close`).
        max_seconds: start no further layer after this time; layers left out become rows with status "skipped" and come
            first the next time.
        threads: number of CPU threads; default: all while training waits, one in the background.
        reuse_gb: memory in GB, of this rank and at most a quarter of what is free, for eigenvectors of earlier states,
            from which alpha of a layer that has moved little is proved instead of solved anew (docs/reuse_bound.md);
            0: each state is solved anew.
        alerts: rules such as "alpha_ratio > 1.2" or "stop if non_finite", the name of a set of them ("default",
            "finetune"), or a list (docs/alerts.md). A rule that newly holds for a layer is told to the log, the loggers
            and the history; one with "stop if" also makes `should_stop` True.
        baseline: also analyse the update W - W0 of each layer, in a row "(update)" beside that of W. "start": W0
            are the weights at the first state of the run, kept in its folder, where a run that resumes finds them (see
            `StartBaseline`); a path or a model id: those of that model.
        on_error: "warn": internal errors become warnings, and training continues; "raise": they are raised.

    Raises:
        OptionError: an option that cannot be used.

    Examples:
        >>> from alpha_callbacks import AnalysisOptions, MemorySink, Monitor
        >>> model, memory = nn.Sequential(nn.Linear(64, 64)), MemorySink()
        >>> with Monitor(AnalysisOptions(precisions=("fp32",)), sinks=[memory]) as monitor:
        ...     snapshot = monitor.log(model, step=0)
        >>> [row.layer_name for row in memory.snapshots[0].table]
        ['0']
    """

    def __init__(
        self,
        options: AnalysisOptions | None = None,
        *,
        output_dir: str | Path = "alpha_hill",
        sinks: Any = "auto",
        per_layer_scalars: bool = True,
        images: bool | int = True,
        background: bool = False,
        max_seconds: float | None = None,
        threads: int | None = None,
        reuse_gb: float = REUSE_GB,
        alerts: str | AlertRule | Sequence[str | AlertRule] | None = None,
        baseline: str | Path | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        check_monitor_options(
            on_error=on_error, max_seconds=max_seconds, threads=threads, sinks=sinks, images=images, reuse_gb=reuse_gb
        )
        self.options = options or AnalysisOptions()
        self._baseline = checked_baseline(baseline)
        self._output_dir = Path(output_dir)
        self._wanted, self._per_layer_scalars, self._images = sinks, per_layer_scalars, images
        self._background, self._max_seconds, self._strict = background, max_seconds, on_error == "raise"
        self._threads = threads or (1 if background else None)
        self._reuse_gb = reuse_gb
        self._rules = alert_rules(alerts, self.options.precisions)
        self._run: MonitoredRun | None = None
        self._weights = LiveWeights()
        self._turn = threading.RLock()  # calls from several threads come one after the other

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle holds: the options and the results so far. A run under way stays here."""
        state = vars(self) | {"_wanted": travelling(self._wanted)}
        del state["_turn"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state; the copy opens a run of its own when it is first used."""
        vars(self).update(state, _turn=threading.RLock())

    @property
    def last(self) -> Snapshot | None:
        """The newest snapshot of the run, the same on every rank; None before the first."""
        return self._run.last_snapshot if self._run else None

    @property
    def newest(self) -> int | None:
        """Step of the newest state of the run that was taken to be analysed; None before the first."""
        return self._run.last_step if self._run else None

    @property
    def last_due(self) -> int:
        """Step of the newest state of the run that a callback asked for, measured or not; -1 before the first."""
        return self._run.last_due if self._run else -1

    @property
    def dropped(self) -> int:
        """Number of states of the run that were left out because the worker was busy."""
        return self._run.dropped if self._run else 0

    @property
    def output_dir(self) -> Path:
        """Folder of the current or last run; before the first, that of the constructor."""
        return self._run.output_dir if self._run else self._output_dir

    @property
    def running(self) -> bool:
        """True between `open` and `close`."""
        return self._run is not None and not self._run.closed

    @property
    def should_stop(self) -> bool:
        """True once a rule with "stop if" holds; on every rank after the same call of `log` or `poll`."""
        return self._run is not None and self._run.should_stop

    @property
    def finds_sinks(self) -> bool:
        """True if "auto" is among the sinks."""
        return AUTO in as_list(self._wanted)

    def open(
        self,
        *,
        output_dir: str | Path | None = None,
        offers: Sequence[Any] = (),
        step_key: str = "",
        facts: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        """Start a run: join the ranks, make the folder, find the sinks. `log` does so if no run is open. Collective.

        Args:
            output_dir: replaces the constructor's, for this run and later ones.
            offers: loggers or callbacks of the framework that sinks may write through.
            step_key: key under which the framework logs its step to W&B.
            facts: what else has to be the same on every rank, such as when a callback measures.

        Raises:
            PeerError: not all ranks called it, or with other options.
            OptionError: the folder cannot be made, or a sink has nowhere to write.
            MissingExtraError: a sink that was asked for needs an optional package.
        """
        with self._turn:
            self.close()
            self._run = self._opened(Path(output_dir or self.output_dir), offers, step_key, facts)

    def _opened(self, folder: Path, offers: Sequence[Any], step_key: str, more: Mapping[str, object]) -> MonitoredRun:
        ranks = training_ranks()
        facts = vars(self.options) | {"device": self.options.device.partition(":")[0], "background": self._background}
        facts |= {"max_seconds": self._max_seconds, "on_error": "raise" if self._strict else "warn"}
        facts |= {"reuse_gb": self._reuse_gb}
        facts |= {"baseline": None if self._baseline is None else str(self._baseline)}
        facts |= {"alerts": [(str(rule), rule.stop) for rule in self._rules], **more}
        ranks.expect_same(facts, "Give every rank the same options.")
        claimed, found = list[RunFolder](), list[Sink]()

        def prepare() -> Path:
            if ranks.rank != 0:
                return folder
            claimed.append(claim(folder))
            images = EVERY if self._images is True else int(self._images)
            host = Host(claimed[0].path, tuple(offers), step_key, self._per_layer_scalars, images)
            found.extend(open_sinks(self._wanted, host))
            return claimed[0].path

        try:
            path = ranks.agree(prepare)[0]
            made = list[Baseline | None]()
            ranks.agree(lambda: made.append(open_baseline(self._baseline, path)))
            measurer = Measurer(
                self.options,
                ranks,
                threads=self._threads,
                max_seconds=self._max_seconds,
                reuse_bytes=int(min(self._reuse_gb, 1e9) * 1e9),
                baseline=made[0],
            )
            worker_ranks = training_ranks() if self._background else None
        except BaseException:
            for each in claimed:
                each.release()
            raise
        return MonitoredRun(
            path,
            measurer,
            ranks,
            worker_ranks,
            found,
            solver=self.options.solver,
            watch=AlertWatch(self._rules) if self._rules else None,
            errors=ErrorPolicy(strict=self._strict),
            at_end=[each.release for each in claimed],
            earlier=self._run,
        )

    def log(
        self,
        model: nn.Module,
        step: int,
        *,
        epoch: float | None = None,
        event: Event = "manual",
        checkpoint: Place | Saved | None = None,
    ) -> Snapshot | None:
        """Compute the alphas of a model as it is now, and send them to the sinks. Collective.

        Args:
            model: any module, wrapped (DDP, FSDP, torch.compile, PEFT) or not.
            step: number of optimizer steps so far, an integer (also of NumPy or in a tensor); grows from call to call.
            epoch: for the records.
            event: for the records; "end" also waits for the worker.
            checkpoint: file or folder that this state was saved to, readable by the first rank, or the state dict.
                Where it holds other values than the model (an average of weights, another format), the rows are of it,
                and a warning says so once.

        Returns:
            The snapshot; None if it comes later (`background`), was left out, or failed with on_error="warn".

        Raises:
            OptionError: model is not a module, or step is not an integer from 0.
            MonitorError: at the first call, a model without weights to analyse.
            AlphaCallbacksError: at the first call, what `open` raises; with on_error="raise", every error.
        """
        if not isinstance(model, nn.Module):
            raise OptionError(
                f"model: expected an nn.Module, got {type(model).__name__}. For a file use log_checkpoint."
            )
        saved = checkpoint if checkpoint is None or isinstance(checkpoint, Saved) else Saved((checkpoint,))
        return self._measure(self._listed(model), Moment(checked_step(step), epoch, event, saved))

    def log_checkpoint(
        self, path: str | Path, step: int, *, epoch: float | None = None, event: Event = "checkpoint"
    ) -> Snapshot | None:
        """Like `log`, for the weights in a checkpoint on disk that every rank can read. Collective."""
        return self._measure(
            lambda baseline: of_checkpoint(path, self.options, baseline), Moment(checked_step(step), epoch, event)
        )

    def tell_checkpoint(self, model: nn.Module, step: int, checkpoint: Saved) -> None:
        """Warn, once, if a checkpoint of the model's present state holds other values; it gets no rows. Collective."""
        with self._turn:
            run = self._run
            if run is not None and self.running:
                run.tell_checkpoint(lambda: self._listed(model)(run.baseline), step, checkpoint)

    def is_replaced(self, model: nn.Module, step: int) -> bool:
        """Return True if the rows of a step, the newest of the run, are of other bits than the model; until `close`.

        Collective.
        """
        with self._turn:
            run = self._run
            if run is None:
                return False
            return run.is_replaced(lambda: self._listed(model)(run.baseline), step)

    def poll(self, *, wait: bool = False) -> Snapshot | None:
        """Send what the worker has finished to the sinks and return it; costs nothing without a worker.

        Not collective; but where an alert may stop the run, every rank has to call it equally often.

        Args:
            wait: wait for the worker.
        """
        if not self._background:
            return None
        with self._turn:
            return self._run.poll(wait=wait) if self._run is not None and self.running else None

    def close(self, *, wait: bool = True) -> None:
        """End the run: wait for the worker (or ask it to stop), close the sinks. May be called twice.

        Collective with `background=True`: the state that came last may still have to be analysed. A rank that logs
        another state after this one has closed gets an error at once.
        """
        with self._turn:
            try:
                self.finish(wait=wait)
            finally:
                if self._run is not None:
                    self._run.leave()

    def finish(self, *, wait: bool = True) -> None:
        """Like `close`, but stay with the other ranks until then: `is_replaced` can still be asked."""
        with self._turn:
            self._weights.forget()
            if self._run is not None and self.running:
                self._run.close(wait=wait)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error, without waiting, and without an error of its own in place of that one."""
        try:
            self.close(wait=error is None)
        except Exception as further:
            if error is None:
                raise
            error.add_note(f"then, while the monitor was closed: {type(further).__name__}: {further}")

    def _listed(self, model: nn.Module) -> Callable[[Baseline | None], Inventory]:
        return lambda baseline: of_module(model, self.options, baseline, self._weights)

    def _measure(self, find: Callable[[Baseline | None], Inventory], moment: Moment) -> Snapshot | None:
        """Measure in the run that is open, or open one. Collective."""
        with self._turn:
            if not self.running:
                self.open()
            run = self._run
            assert run is not None
            return run.measure(lambda: find(run.baseline), moment)
