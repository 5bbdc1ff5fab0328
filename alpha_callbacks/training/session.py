"""One run of a monitor: takes states, has them analysed here or by the worker, delivers the snapshots."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.errors import MonitorError
from alpha_callbacks.sinks.sink import Sink
from alpha_callbacks.sinks.snapshot import Event, Snapshot
from alpha_callbacks.training.background import Background
from alpha_callbacks.training.measurer import Measurer, PendingState
from alpha_callbacks.weights.weight import Weight

_log = logging.getLogger(__name__)


class Session:
    """What a monitor holds from `open` to `close`. Its methods are collective where it says so.

    Args:
        measurer: analyses states.
        ranks: the group of the main thread.
        worker_ranks: the group of the worker; None: there is no worker, training waits.
        sinks: of this rank.
        solver: of the options, for the snapshots.
        strict: raise what goes wrong; else it is one warning.

    Attributes:
        last: the newest snapshot.
        newest: step of the newest state that was taken.
        dropped: states left out since the worker was busy.
        closed: True after `close`.
    """

    def __init__(
        self,
        measurer: Measurer,
        ranks: Ranks,
        worker_ranks: Ranks | None,
        sinks: Sequence[Sink],
        *,
        solver: str,
        strict: bool,
    ) -> None:
        self.last: Snapshot | None = None
        self.newest: int | None = None
        self.dropped = 0
        self.closed = False
        self._measurer, self._ranks, self._worker_ranks, self._sinks = measurer, ranks, worker_ranks, sinks
        self._worker = Background[Snapshot]() if worker_ranks is not None else None
        self._solver, self._strict = solver, strict
        self._warned: set[str] = set()

    def measure(
        self, find: Callable[[], Sequence[Weight]], step: int, epoch: float | None, event: Event
    ) -> Snapshot | None:
        """Measure the state that `find` lists the weights of. Collective.

        Errors at the first state of a run are raised whatever the user wants: training has cost nothing yet.
        """

        def task() -> Snapshot | None:
            return self._measure(find, step, epoch, event)

        first = self.newest is None and event in ("start", "manual")
        return task() if first else self._guarded(task)

    def poll(self, *, wait: bool = False) -> Snapshot | None:
        """Deliver what the worker has finished, if there is one. Not collective."""
        return self._guarded(lambda: self._receive(wait=wait)) if self._worker else None

    def close(self, *, wait: bool) -> None:
        """Deliver what the worker has (or will have, with `wait`), and close the sinks."""
        self.closed = True
        try:
            self.poll(wait=wait)
        finally:  # where errors are raised, no sink stays open for it
            if self._worker is not None:
                self._worker.abandon()
            for sink in self._sinks:
                self._guarded(sink.close)

    def _measure(
        self, find: Callable[[], Sequence[Weight]], step: int, epoch: float | None, event: Event
    ) -> Snapshot | None:
        worker, begun = self._worker, time.monotonic()

        def compute(taken: PendingState, ranks: Ranks, stop: Callable[[], bool], begun: float) -> Snapshot:
            table = self._measurer.compute(taken, ranks, stop=stop)
            seconds = time.monotonic() - begun
            return Snapshot(step, epoch, event, table, seconds, len(taken.reused), self._solver)

        if worker is None:
            taken = self._measurer.take(find, copy=False)
            self.newest = step
            return self._deliver(compute(taken, self._ranks, lambda: False, begun))
        self._guarded(lambda: self._receive_together(wait=event == "end"))
        if any(self._ranks.gather(worker.busy)):  # all ranks leave it out, or none
            self.dropped += 1
            self._warn(f"the state of step {step} is left out, an earlier one is still being analysed", "busy")
            return None
        self._guarded(lambda: self._receive_together(wait=True))  # of a worker that ended since it was asked
        taken, ranks = self._measurer.take(find, copy=True), self._worker_ranks
        assert ranks is not None
        self.newest = step
        worker.submit(lambda stop: compute(taken, ranks, stop, time.monotonic()))
        return self._receive_together(wait=True) if event == "end" else None

    def _receive(self, *, wait: bool) -> Snapshot | None:
        """Deliver what the worker has; an error of its job is raised here."""
        snapshot = self._worker.fetch(wait=wait) if self._worker is not None else None
        return self._deliver(snapshot) if snapshot is not None else None

    def _receive_together(self, *, wait: bool) -> Snapshot | None:
        """Like `_receive`; an error on one rank is one on all, since who went on alone would wait for the others."""
        received: list[Snapshot | None] = []
        self._ranks.agree(lambda: received.append(self._receive(wait=wait)))
        return received[0]

    def _deliver(self, snapshot: Snapshot) -> Snapshot:
        """Keep a snapshot and send it to every sink; the first error is raised after all had their turn."""
        self.last = snapshot
        failed = next((row for row in snapshot.table if row.status == "failed"), None)
        problem = f"{failed.layer_name}: {failed.reason}" if failed else ""
        if problem and self._ranks.rank == 0:
            self._warn(problem, problem)
        lost = next((row for row in snapshot.table if row.status in ("non_finite", "degenerate")), None)
        if lost is not None and self._ranks.rank == 0:
            self._warn(f"step {snapshot.step}: no alpha of {lost.layer_name} ({lost.reason})", lost.layer_name)
        for sink in self._sinks:
            try:
                sink.log(snapshot)
            except Exception as error:
                self._warn(f"{type(sink).__name__}: {type(error).__name__}: {error}", type(sink).__name__)
                problem = problem or f"{type(sink).__name__}: {error}"
        if self._strict and self._worker is None:
            problem = next((told for told in self._ranks.gather(problem) if told), "")
        if problem and self._strict:
            raise MonitorError(f"step {snapshot.step}: {problem}")
        return snapshot

    def _guarded(self, task: Callable[[], Any]) -> Any:
        """Run a task of ours; what goes wrong is one warning unless the user wants errors."""
        try:
            return task()
        except Exception as error:
            if self._strict:
                raise
            self._warn(f"{type(error).__name__}: {error}", str(error))
            return None

    def _warn(self, text: str, once: str) -> None:
        if once not in self._warned:
            self._warned.add(once)
            _log.warning("alpha-Hill: %s. Training goes on; this is said once.", text.rstrip("."))
