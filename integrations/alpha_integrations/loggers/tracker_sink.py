"""Snapshots to experiment trackers that take values, pictures and tables: MLflow, Trackio, Comet."""

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np

from alpha_callbacks.errors import OptionError
from alpha_callbacks.foreign_text import distinct
from alpha_callbacks.sinks.alert import AlertLine, alert_lines
from alpha_callbacks.sinks.chart_schedule import ChartSchedule
from alpha_callbacks.sinks.sink import Host, Sink
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_integrations.loggers.logger_rows import MOVE_COLUMNS, columns, move_rows, table_rows
from alpha_integrations.loggers.offers import imported

_Value = TypeVar("_Value")


class Tracker(Protocol):
    """A run of a tracker, as far as `TrackerSink` needs one. Names are like `alpha_hill/mean_fp32`."""

    def values(self, values: Mapping[str, float], step: int, epoch: float | None) -> None:
        """Log numbers."""

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        """Log an image: uint8, (height, width, 3)."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Log a table; its first column is the step."""

    def alert(self, line: AlertLine, step: int) -> None:
        """Tell the user."""


def _tagged(values: Mapping[str, _Value]) -> dict[str, _Value]:
    """Return values under keys of characters that every tracker takes."""
    return {f"alpha_hill/{key}": values[name] for name, key in distinct(values).items()}


class TrackerSink:
    """Logs snapshots to a run that the user or the framework has started and will end. Keys: docs/keys.md.

    Attributes:
        adopted: the object among the host's offers that leads to the run; the package for the process' active run.
        name: of the tracker, for messages.
    """

    def __init__(self, host: Host, name: str, find: Callable[[], Tracker | None], adopted: Any) -> None:
        self.adopted, self.name = adopted, name
        self._find, self._tracker = find, find()
        self._charts = ChartSchedule(host.images)

    def log(self, snapshot: Snapshot) -> None:
        """Log values, alerts, tables and, where they are due, charts.

        Raises:
            OptionError: the run that the framework was expected to start is not there.
        """
        tracker, due, step = self._run(), self._charts.due(snapshot), snapshot.step
        try:
            values = _tagged(snapshot.cards)
            tracker.values(values, step, snapshot.epoch)  # first: a tracker that takes no pictures still has these
            for line in alert_lines(snapshot.alerts or ()):
                tracker.alert(line, step)
            tracker.table("alpha_hill/table", columns(snapshot.table), table_rows(snapshot.table, step), step)
            if moves := move_rows(snapshot):
                tracker.table("alpha_hill/moves", MOVE_COLUMNS, moves, step)
            if due:
                self._draw(snapshot)
        except Exception:
            if due:
                self._charts.lost()
            raise

    def log_values(self, values: Mapping[str, float], layers: Mapping[str, float], step: int) -> None:
        """Log values that belong to no snapshot, without those per layer; raises what `log` raises."""
        self._run().values(values, step, None)

    def close(self) -> None:
        """Log the charts of the last state; the run stays open."""
        last = self._charts.left()
        if last is not None:
            self._draw(last)

    def _run(self) -> Tracker:
        self._tracker = self._tracker or self._find()
        if self._tracker is None:
            raise OptionError(f"{self.name}: expected the run that the training reports to, got none.")
        return self._tracker

    def _draw(self, snapshot: Snapshot) -> None:
        tracker = self._run()
        for key, pixels in _tagged(snapshot.images).items():
            tracker.picture(key, pixels, snapshot.step)


def tracker_sinks(
    host: Host,
    name: str,
    package: str,
    found: Mapping[int, tuple[Any, Callable[[], Tracker | None]]],
    active: Callable[[], Tracker | None],
    *,
    asked: bool,
) -> list[Sink]:
    """Return a sink per offer that leads to a run, else one for the active run of this process.

    Args:
        host: what the training framework offers.
        name: of the tracker, for messages.
        package: what has to be installed.
        found: by the id of an offer: the offer, and how it leads to its run.
        active: returns the active run, None if there is none.
        asked: the user named this tracker.

    Raises:
        OptionError: asked, and there is no run, or the package is not installed.
    """
    sinks: list[Sink] = [TrackerSink(host, name, find, adopted=offer) for offer, find in found.values()]
    if not sinks and active() is not None:
        sinks.append(TrackerSink(host, name, active, adopted=imported(package)))
    if asked and not sinks:
        missing = importlib.util.find_spec(package) is None
        remedy = f"Install {package}." if missing else "Start one before training, or let the framework report to it."
        raise OptionError(f'sinks: expected an active {name} run for "{name.lower()}", got none. {remedy}')
    return sinks
