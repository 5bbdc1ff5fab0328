"""One run of a monitor: takes states, has them analysed here or by the worker, delivers the snapshots."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.errors import MonitorError
from alpha_callbacks.sinks.alert import Alert
from alpha_callbacks.sinks.sink import Sink
from alpha_callbacks.sinks.snapshot import Earlier, Event, Snapshot
from alpha_callbacks.tables.table import Table
from alpha_callbacks.training.alert_watch import AlertWatch, first_state
from alpha_callbacks.training.background import Background
from alpha_callbacks.training.baseline import Baseline
from alpha_callbacks.training.error_policy import ErrorPolicy
from alpha_callbacks.training.measurer import CopiedState, Measurer, PendingState
from alpha_callbacks.training.saved_weights import Note, Saved
from alpha_callbacks.training.snapshot_warnings import failure, warn_of
from alpha_callbacks.training.stop_signal import StopSignal
from alpha_callbacks.weights.inventory import Inventory

_EVERY_RANK = "Attach the callback on every rank, or call Monitor.log there, for the same states."


@dataclass(frozen=True)
class Moment:
    """Which state of a run is measured, and why; as in `Snapshot`.

    Attributes:
        step: number of optimizer steps so far.
        epoch: as the framework counts.
        event: why.
        saved: where this state was saved, if it was.
    """

    step: int
    epoch: float | None
    event: Event
    saved: Saved | None = None


class MonitoredRun:
    """Owns all that changes between `open` and `close` of a monitor. Methods say so where they are collective.

    Args:
        output_dir: folder of the run.
        measurer: analyses states.
        ranks: the group of the main thread.
        worker_ranks: the group of the worker; None: there is no worker, training waits.
        sinks: of this rank.
        solver: of the options, for the snapshots.
        watch: follows the rules of alerts; None: there are none.
        errors: decides what becomes of errors after the first state.
        at_end: called when all sinks are closed.
        earlier: the run before this one; what it measured of the same bits in the same folder is not done again.

    Attributes:
        last_snapshot: the newest snapshot.
        last_step: step of the newest state that was taken to be analysed.
        last_due: step of the newest state that a callback asked for, whatever became of it; -1 before the first.
        dropped: number of states left out because the worker was busy.
        should_stop: True once an alert ends the run.
        closed: True after `close`.
    """

    def __init__(
        self,
        output_dir: Path,
        measurer: Measurer,
        ranks: Ranks,
        worker_ranks: Ranks | None,
        sinks: Sequence[Sink],
        *,
        solver: str,
        watch: AlertWatch | None = None,
        errors: ErrorPolicy,
        at_end: Sequence[Callable[[], object]] = (),
        earlier: "MonitoredRun | None" = None,
    ) -> None:
        self.last_snapshot: Snapshot | None = None
        self.last_step: int | None = None
        self.last_due = -1
        self.dropped = 0
        self.should_stop = False
        self.closed = False
        self.output_dir = output_dir
        self._measurer, self._ranks, self._worker_ranks, self._sinks = measurer, ranks, worker_ranks, sinks
        self._worker = Background[Snapshot]() if worker_ranks is not None else None
        self._solver, self._errors, self._at_end = solver, errors, at_end
        self._watch, self._signal = watch, StopSignal()
        self._earlier = earlier if earlier is not None and earlier.output_dir == output_dir else None
        self._compared: Earlier | None = None  # with what the next state is compared
        self._held: tuple[Moment, CopiedState] | None = None  # analysed at the end if no later state was

    @property
    def baseline(self) -> Baseline | None:
        """What the weights are compared with."""
        return self._measurer.baseline

    def __getstate__(self) -> dict[str, object]:
        """What travels with a copy of the monitor: the results of the run so far, as of one that has ended."""
        told = ("last_snapshot", "last_step", "last_due", "dropped", "should_stop", "output_dir")
        return {name: getattr(self, name) for name in told} | {"closed": True}

    @property
    def _knows_bits(self) -> bool:
        """False in a copy, which holds results alone."""
        return hasattr(self, "_measurer")

    def measure(self, find: Callable[[], Inventory], moment: Moment) -> Snapshot | None:
        """Measure the state whose weights `find` lists. Collective.

        Errors at the first state of a run are always raised: training has cost nothing yet.
        """
        first = self.last_step is None and moment.event in ("start", "manual")
        if moment.event != "manual":
            self.last_due = moment.step
        try:
            return self._measured(find, moment, ErrorPolicy(strict=True) if first else self._errors)
        finally:
            self.should_stop = self._signal.raised

    def _measured(self, find: Callable[[], Inventory], moment: Moment, errors: ErrorPolicy) -> Snapshot | None:
        self._signal.poll()
        with errors:
            # Also waits for all: the first rank comes when a checkpoint is on disk, and no wait is left to the
            # training's own groups.
            self._ranks.expect_same({"step": moment.step, "event": moment.event}, _EVERY_RANK)
            before = self._before(moment)
            if self._worker is not None:
                return self._measure_beside(find, moment, before, self._worker)
            begun = time.monotonic()
            pending = self._measurer.take(find, copy=False, step=moment.step, saved=moment.saved)
            self._tell(pending)
            self.last_step = moment.step
            if before is not None and not pending.changed:
                self.last_snapshot = before
                self._compared = before.later()
                return None
            return self._deliver(self._snapshot(pending, moment, self._ranks, lambda: False, begun))
        return None

    def tell_checkpoint(self, find: Callable[[], Inventory], step: int, saved: Saved) -> None:
        """Warn if a checkpoint of this step differs from the model, and the model is as its rows say. Collective."""
        with self._errors:
            note = self._measurer.checkpoint_note(find, saved)
            if note is not None and not (self.last_step == step and self._measurer.is_replaced(find)):
                self._warn_note(note)

    def is_replaced(self, find: Callable[[], Inventory], step: int) -> bool:
        """Return True if the rows of this step, the newest, are of other bits of the model. Collective."""
        with self._errors:
            snapshot = self.last_snapshot
            if snapshot is not None and snapshot.step == step and self._knows_bits and not self._ranks.left:
                return self._measurer.is_replaced(find)
        return False

    def poll(self, *, wait: bool = False) -> Snapshot | None:
        """Deliver what the worker has finished, if there is one. Not collective."""
        self._signal.poll()
        self.should_stop = self._signal.raised
        with self._errors:
            return self._receive(wait=wait or self.should_stop)
        return None

    def close(self, *, wait: bool) -> None:
        """Deliver what the worker has (or will have, with `wait`) and the last state, and close the sinks.

        Collective with `wait`, where there is a worker.
        """
        self.closed, self._earlier = True, None
        errors: list[Exception] = []
        try:
            self._attempt(lambda: self.poll(wait=wait), errors)
            if wait:
                self._attempt(self._measure_held, errors)
        finally:  # no sink stays open, whatever is raised
            if self._worker is not None and self._worker_ranks is not None:
                if not self._worker.busy:  # else its thread may be in an exchange
                    self._worker_ranks.leave()
                self._worker.abandon()
            self._forget_held()
            for task in (*(sink.close for sink in self._sinks), *self._at_end):
                self._attempt(task, errors)
        if errors:
            raise errors[0]

    def leave(self) -> None:
        """Let go of the other ranks, after `close`: one that comes to a state more is told so, and does not wait."""
        if self._knows_bits:
            self._ranks.leave()

    def _attempt(self, task: Callable[[], object], errors: list[Exception]) -> None:
        """Run a task; an error that the policy would raise is kept for later."""
        try:
            with self._errors:
                task()
        except Exception as error:
            errors.append(error)

    def _measure_beside(
        self,
        find: Callable[[], Inventory],
        moment: Moment,
        before: Snapshot | None,
        worker: Background[Snapshot],
    ) -> Snapshot | None:
        """Copy a state and hand it to the worker; wait for it only where it is the last of the run. Collective."""
        with self._errors:
            self._receive_together(wait=moment.event == "end")
        if any(self._ranks.gather(worker.busy)):  # all ranks leave it out, or none
            if moment.event == "manual":  # who calls `log` does not say which state is the last one
                copied = self._measurer.copy(find, moment.saved)
                self._tell(copied)
                self._forget_held()
                self._held = replace(moment, saved=None), copied
            else:
                self._leave_out(moment)
            return None
        with self._errors:
            self._receive_together(wait=True)  # of a worker that ended since it was asked
        self._forget_held()
        pending = self._measurer.take(find, copy=True, step=moment.step, saved=moment.saved)
        ranks = self._worker_ranks
        self._tell(pending)
        assert ranks is not None
        self.last_step = moment.step
        if before is not None and not pending.changed:
            self.last_snapshot = before
            self._compared = before.later()
            return None
        told = replace(moment, saved=None)  # a state dict is copied by now
        worker.submit(lambda stop: self._snapshot(pending, told, ranks, stop, time.monotonic()))
        return self._receive_together(wait=True) if moment.event == "end" else None

    def _before(self, moment: Moment) -> Snapshot | None:
        """Return the last snapshot of the run before this one if this one starts where that ended.

        If no bit has changed since, that state has its rows. A copy of a run knows no bits, and a baseline has to see
        all weights of the start.
        """
        earlier, self._earlier = self._earlier, None
        if earlier is None or self.baseline or moment.event != "start" or not earlier._knows_bits:
            return None
        last = earlier.last_snapshot
        if last is None or last.step != moment.step:
            return None
        self._measurer.recall(earlier._measurer)
        return last

    def _tell(self, state: PendingState | CopiedState) -> None:
        if state.note is not None:
            self._warn_note(state.note)

    def _warn_note(self, note: Note) -> None:
        if self._ranks.rank == 0:
            self._errors.warn(f"{note.name}{note.text}", once=note.text)

    def _forget_held(self) -> None:
        if self._held is not None:
            self._leave_out(self._held[0])
        self._held = None

    def _leave_out(self, moment: Moment) -> None:
        self.dropped += 1
        text = f"the state of step {moment.step} is left out, an earlier one was still being analysed"
        self._errors.warn(text, once="busy")

    def _measure_held(self) -> None:
        """Analyse the last state, which came while the worker was busy. Collective."""
        held, self._held = self._held, None
        if held is not None:
            moment, copied = held
            begun = time.monotonic()
            pending = self._measurer.take_copied(copied)
            self.last_step = moment.step
            self._deliver(self._snapshot(pending, moment, self._ranks, lambda: False, begun))

    def _snapshot(
        self, pending: PendingState, moment: Moment, ranks: Ranks, stop: Callable[[], bool], begun: float
    ) -> Snapshot:
        """Analyse a state that was taken, here or in the worker's thread. Collective in `ranks`."""
        table = self._measurer.analyze(pending, ranks, stop=stop)
        alerts = self._alerts(table, moment.step, ranks) if self._watch is not None else None
        seconds, reused = time.monotonic() - begun, len(pending.reused)
        snapshot = Snapshot(
            moment.step, moment.epoch, moment.event, table, seconds, reused, self._solver, alerts, self._compared
        )
        self._compared = snapshot.later()
        return snapshot

    def _alerts(self, table: Table, step: int, ranks: Ranks) -> tuple[Alert, ...]:
        """Return what the rules say of a state, and end the run if one of them says so. Collective in `ranks`."""
        assert self._watch is not None
        if not self._watch.begun:
            start = ranks.agree(lambda: first_state(self.output_dir, step) if ranks.rank == 0 else None)[0]
            self._watch.begin(start, table)
        alerts = self._watch.see(table)
        if any(alert.new and alert.stops for alert in alerts):
            if ranks is self._worker_ranks:
                self._signal.raise_beside(ranks)
            else:
                self._signal.raise_here()
        return alerts

    def _receive(self, *, wait: bool) -> Snapshot | None:
        """Deliver what the worker has; an error of its job is raised here."""
        snapshot = self._worker.fetch(wait=wait) if self._worker is not None else None
        return self._deliver(snapshot) if snapshot is not None else None

    def _receive_together(self, *, wait: bool) -> Snapshot | None:
        """Like `_receive`; an error on one rank is raised on all: a rank that continued alone would deadlock."""
        received: list[Snapshot | None] = []
        self._ranks.agree(lambda: received.append(self._receive(wait=wait)))
        return received[0]

    def _deliver(self, snapshot: Snapshot) -> Snapshot:
        """Keep a snapshot and send it to every sink; the first error is raised after all had their turn."""
        self.last_snapshot = snapshot
        problem = failure(snapshot)
        if self._ranks.rank == 0:
            for note in (*self._measurer.notes, *(self._watch.notes if self._watch is not None else ())):
                self._errors.say(note)
            warn_of(snapshot, self._errors)
        for sink in self._sinks:
            try:
                sink.log(snapshot)
            except Exception as error:
                name = getattr(sink, "name", type(sink).__name__)
                self._errors.warn(f"{name}: {type(error).__name__}: {error}", once=name)
                problem = problem or f"{name}: {error}"
        if self._errors.strict and self._worker is None:
            problem = next((told for told in self._ranks.gather(problem) if told), "")
        if problem and self._errors.strict:
            raise MonitorError(f"step {snapshot.step}: {problem}")
        return snapshot
