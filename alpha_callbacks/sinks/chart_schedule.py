"""Which states of a run have charts in a logger: the first, the last and every n-th, where anything has changed."""

from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.tables.table import Table

EVERY = 10  # as many pictures per tag as TensorBoard keeps, in a run of 100 states


class ChartSchedule:
    """Counts the states of one sink.

    Args:
        every: 1: all states have charts; 0: none.

    Examples:
        >>> from alpha_callbacks.tables.table import Table
        >>> schedule = ChartSchedule(2)
        >>> states = [Snapshot(step, None, "step", Table((), ("fp32",), str(step)), 0.0) for step in range(4)]
        >>> [schedule.due(state) for state in states]
        [True, False, True, False]
        >>> schedule.left().step, schedule.left()
        (3, None)
    """

    def __init__(self, every: int) -> None:
        self._every, self._seen = int(every), 0
        self._left: Snapshot | None = None
        self._drawn: Table | None = None

    def due(self, snapshot: Snapshot) -> bool:
        """Return True if the charts of this state are to be logged now; those of the same table are there already."""
        new = bool(self._every) and snapshot.table != self._drawn
        due = new and (self._seen % self._every == 0 or snapshot.event == "end")
        self._seen += 1
        self._left = snapshot if new and not due else None
        self._drawn = snapshot.table if due else self._drawn
        return due

    def lost(self) -> None:
        """Forget what was drawn last: it may not have arrived, and the same charts are due again."""
        self._drawn = None

    def left(self) -> Snapshot | None:
        """Return, once, the newest state if its charts were not due: at the end of a run they are."""
        left, self._left = self._left, None
        self._drawn = left.table if left is not None else self._drawn
        return left
