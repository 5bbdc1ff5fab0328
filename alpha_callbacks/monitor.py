"""Watches a model in training, whoever runs the loop."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from torch import nn

from alpha_callbacks.background import Background
from alpha_callbacks.checkpoint import open_checkpoint
from alpha_callbacks.errors import MonitorError, OptionError
from alpha_callbacks.files import make_folder
from alpha_callbacks.measure import Measurer, Taken
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.ranks import Ranks, training_ranks
from alpha_callbacks.sinks import Host, Sink, check_sinks, open_sinks
from alpha_callbacks.snapshot import Event, Snapshot
from alpha_callbacks.sources import module_inventory
from alpha_callbacks.weight import Weight

_log = logging.getLogger(__name__)

Finder = Callable[[], Sequence[Weight]]


class Monitor(AbstractContextManager["Monitor"]):
    """Computes the alphas of a model when told to, and sends them to sinks; the core of both callbacks.

    Weights are only read. Layers whose bits have not changed since they were last analysed (a frozen base under LoRA)
    are not analysed again. In a distributed run every rank must call it: the layers are shared among the ranks,
    sharded parameters are gathered one at a time, and the first rank writes.

    Args:
        options: what to compute.
        output_dir: folder for CSV files and for writers of our own.
        sinks: "auto", or a list of names ("csv", "tensorboard", "wandb"), `Sink` objects, SummaryWriters, W&B runs.
        per_layer_scalars: log a scalar a layer and precision too.
        images: log charts too.
        background: analyse a copy on the CPU while training goes on. A state that comes due while the last one is still
            being analysed is left out and counted; the last state of a run never is.
        max_seconds: begin no further layer after this time; those left out are rows "skipped", and come first next.
        threads: CPU threads; default all while training waits, one in the background.
        on_error: "warn": an error of ours is one warning, and training goes on; "raise": it is raised.

    Attributes:
        last: the newest snapshot, on every rank; None before the first.
        newest: step of the newest state of this run that was taken to be analysed; None before the first.
        dropped: states left out since the worker was busy.

    Raises:
        OptionError: an option that cannot be used.

    Example:
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
        sinks: str | Sequence[Any] = "auto",
        per_layer_scalars: bool = True,
        images: bool = True,
        background: bool = False,
        max_seconds: float | None = None,
        threads: int | None = None,
        on_error: Literal["warn", "raise"] = "warn",
    ) -> None:
        if on_error not in ("warn", "raise"):
            raise OptionError(f"on_error: expected warn or raise, got {on_error!r}.")
        if max_seconds is not None and not max_seconds > 0:
            raise OptionError(f"max_seconds: expected a positive number, got {max_seconds}.")
        if threads is not None and threads < 1:
            raise OptionError(f"threads: expected at least 1, got {threads}.")
        check_sinks(sinks)
        self.options = options or AnalysisOptions()
        self.output_dir = Path(output_dir)
        self.last: Snapshot | None = None
        self.newest: int | None = None
        self.dropped = 0
        self._wanted, self._per_layer_scalars, self._images = sinks, per_layer_scalars, images
        self._background, self._max_seconds, self._on_error = background, max_seconds, on_error
        self._threads = threads or (1 if background else None)
        self._running: _Run | None = None
        self._warned: set[str] = set()

    def open(
        self,
        *,
        output_dir: Path | None = None,
        offers: Sequence[Any] = (),
        step_key: str = "",
        others: Callable[[Sequence[Sink]], Sequence[Sink]] = lambda found: (),
    ) -> None:
        """Start a run: join the ranks, make the folder, find the sinks. `log` does it where nobody has. Collective.

        Args:
            output_dir: in place of that of the constructor.
            offers: loggers or callbacks of the framework that sinks may write through.
            step_key: of the framework, for W&B.
            others: given the sinks that were found, returns further ones.

        Raises:
            PeerError: not on all ranks.
            OptionError: the folder cannot be made, or a sink has nowhere to write.
            MissingExtraError: a sink that was asked for needs an optional package.
        """
        self.close()
        self.newest = None
        self.output_dir = output_dir or self.output_dir
        ranks = training_ranks()
        host = Host(self.output_dir, tuple(offers), step_key, self._per_layer_scalars, self._images)

        def sinks() -> list[Sink] | None:
            if ranks.rank != 0:
                return None
            make_folder(self.output_dir)
            found = open_sinks(self._wanted, host)
            return [*found, *others(found)]

        found: list[Sink] = []
        ranks.agree(lambda: found.extend(sinks() or ()))
        measurer = Measurer(self.options, ranks, threads=self._threads, max_seconds=self._max_seconds)
        worker = Background[Snapshot]() if self._background else None
        self._running = _Run(ranks, training_ranks() if worker else ranks, measurer, found, worker)

    def log(
        self, model: nn.Module, step: int, *, epoch: float | None = None, event: Event = "manual"
    ) -> Snapshot | None:
        """Compute the alphas of a model as it is now, and send them to the sinks. Collective.

        Args:
            model: any module, wrapped (DDP, FSDP, torch.compile, PEFT) or not.
            step: optimizer steps so far; grows from call to call.
            epoch: for the records.
            event: for the records; "end" waits for the worker.

        Returns:
            The snapshot; None where it comes later (`background`), was dropped, or failed with on_error="warn".

        Raises:
            MonitorError: at the first call, a model without weights to analyse.
            AlphaCallbacksError: at the first call, what `open` raises; with on_error="raise", all that goes wrong.
        """
        return self._log(lambda: module_inventory(model, self.options).weights, step, epoch, event)

    def log_checkpoint(
        self, path: Path, step: int, *, epoch: float | None = None, event: Event = "checkpoint"
    ) -> Snapshot | None:
        """Like `log`, of the weights in a checkpoint that is on disk, where every rank can read it. Collective."""
        return self._log(lambda: open_checkpoint(path).inventory(self.options).weights, step, epoch, event)

    @property
    def finds_sinks(self) -> bool:
        """True with sinks="auto"."""
        return self._wanted == "auto"

    def poll(self, *, wait: bool = False) -> Snapshot | None:
        """Send what the worker has finished to the sinks and return it; costs nothing where there is none.

        Args:
            wait: wait for the worker.
        """
        worker = self._running and self._running.worker
        snapshot: Snapshot | None = self._guarded(lambda: self._receive(wait=wait)) if worker else None
        return snapshot

    def close(self, *, wait: bool = True) -> None:
        """End the run: wait for the worker (or tell it to stop), close the sinks. May be called twice."""
        run = self._running
        if run is None:
            return
        if run.worker is not None:
            if not wait:
                run.worker.abandon()
            self.poll(wait=True)
        self._running = None
        for sink in run.sinks:
            self._guarded(sink.close)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close; after an error, without waiting."""
        self.close(wait=error is None)

    def _log(self, find: Finder, step: int, epoch: float | None, event: Event) -> Snapshot | None:
        if self._running is None:
            self.open()
        run = self._running
        assert run is not None
        if not run.proven:  # before training has cost anything, errors are told as such
            return self._measured(run, find, step, epoch, event)
        snapshot: Snapshot | None = self._guarded(lambda: self._measured(run, find, step, epoch, event))
        return snapshot

    def _measured(self, run: "_Run", find: Finder, step: int, epoch: float | None, event: Event) -> Snapshot | None:
        if run.worker is None:
            begun = time.monotonic()
            taken = run.measurer.take(find, copy=False)
            run.proven, self.newest = True, step
            table = run.measurer.compute(taken, run.ranks)
            return self._deliver(self._snapshot(step, epoch, event, taken, table, begun))
        self._guarded(lambda: self._receive_together(run, wait=event == "end"))
        if any(run.ranks.gather(run.worker.busy)):  # all ranks leave it out, or none
            self.dropped += 1
            self._warn(f"the state of step {step} is left out, an earlier one is still being analysed", "busy")
            return None
        self._guarded(lambda: self._receive_together(run, wait=True))  # of a worker that ended since it was asked
        taken = run.measurer.take(find, copy=True)
        run.proven, self.newest = True, step
        run.worker.submit(partial(self._job, run, step, epoch, event, taken))
        return self._receive_together(run, wait=True) if event == "end" else None

    def _job(
        self, run: "_Run", step: int, epoch: float | None, event: Event, taken: Taken, stop: Callable[[], bool]
    ) -> Snapshot:
        begun = time.monotonic()
        table = run.measurer.compute(taken, run.worker_ranks, stop=stop)
        return self._snapshot(step, epoch, event, taken, table, begun)

    def _snapshot(
        self, step: int, epoch: float | None, event: Event, taken: Taken, table: Any, begun: float
    ) -> Snapshot:
        seconds = time.monotonic() - begun
        return Snapshot(step, epoch, event, table, seconds, len(taken.reused), self.options.solver)

    def _receive(self, *, wait: bool) -> Snapshot | None:
        """Deliver what the worker has; an error of its job is raised here."""
        run = self._running
        snapshot = run.worker.fetch(wait=wait) if run is not None and run.worker is not None else None
        return self._deliver(snapshot) if snapshot is not None else None

    def _receive_together(self, run: "_Run", *, wait: bool) -> Snapshot | None:
        """Like `_receive`; an error on one rank is one on all, since who went on alone would wait for the others."""
        received: list[Snapshot | None] = []
        run.ranks.agree(lambda: received.append(self._receive(wait=wait)))
        return received[0]

    def _deliver(self, snapshot: Snapshot) -> Snapshot:
        """Keep a snapshot and send it to every sink; the first error is raised after all had their turn."""
        self.last = snapshot
        run = self._running
        assert run is not None
        problem = _problem_of(snapshot)
        if problem and run.ranks.rank == 0:
            self._warn(problem, problem)
        for sink in run.sinks:
            try:
                sink.log(snapshot)
            except Exception as error:
                self._warn(f"{type(sink).__name__}: {type(error).__name__}: {error}", type(sink).__name__)
                problem = problem or f"{type(sink).__name__}: {error}"
        if self._on_error == "raise" and run.worker is None:
            problem = next((told for told in run.ranks.gather(problem) if told), "")
        if problem and self._on_error == "raise":
            raise MonitorError(f"step {snapshot.step}: {problem}")
        return snapshot

    def _guarded(self, task: Callable[[], Any]) -> Any:
        """Run a task of ours; what goes wrong is one warning unless the user wants errors."""
        try:
            return task()
        except Exception as error:
            if self._on_error == "raise":
                raise
            self._warn(f"{type(error).__name__}: {error}", str(error))
            return None

    def _warn(self, text: str, once: str) -> None:
        if once not in self._warned:
            self._warned.add(once)
            _log.warning("alpha-Hill: %s. Training goes on; this is said once.", text.rstrip("."))


@dataclass
class _Run:
    """What a monitor holds between `open` and `close`; `proven` once a state was taken: the environment is fit."""

    ranks: Ranks
    worker_ranks: Ranks
    measurer: Measurer
    sinks: list[Sink]
    worker: Background[Snapshot] | None
    proven: bool = False


def _problem_of(snapshot: Snapshot) -> str:
    failed = next((row for row in snapshot.table if row.status == "failed"), None)
    return f"{failed.layer_name}: {failed.reason}" if failed else ""
