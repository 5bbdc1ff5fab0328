"""Ends a run on all ranks between the same two batches, also where a worker decides beside training."""

import threading

from alpha_callbacks.analysis.processes import Ranks


class StopSignal:
    """Says whether the run is to end. Every rank polls equally often; the number of a poll is their common clock.

    A worker cannot know how far the training of other ranks has come. So each promises that its training waits at its
    next poll until the answer is there; then the workers exchange where they are, and the run ends at the poll after
    the farthest: no rank has passed it. Workers never wait for training, so this wait is short and always ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._polls = 0
        self._at: int | None = None  # the poll at which the run ends
        self._answer: threading.Event | None = None  # while workers exchange where they are

    @property
    def raised(self) -> bool:
        """True when the run is to end now."""
        return self._at is not None and self._polls >= self._at

    def poll(self) -> None:
        """Count a poll in the thread that trains; wait where an answer was promised."""
        with self._lock:
            self._polls += 1
            answer = self._answer
        if answer is not None:
            answer.wait()

    def raise_here(self) -> None:
        """End the run now; called where all ranks are at the same point of the training."""
        with self._lock:
            self._at = self._polls

    def raise_beside(self, ranks: Ranks) -> None:
        """End the run at the next poll that no rank has passed; called by every worker. Collective in `ranks`."""
        answer = threading.Event()
        with self._lock:
            self._answer, polls = answer, self._polls
        try:
            self._at = max(ranks.gather(polls)) + 1
        finally:
            self._answer = None
            answer.set()
