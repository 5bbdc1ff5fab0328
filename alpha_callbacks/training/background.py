"""One worker thread with at most one job, whose result is fetched from the thread that gave it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs a job beside the training loop.

    The thread is a daemon: a process that ends does not wait for it.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._outcome: T | Exception | None = None
        self._stop = threading.Event()

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return self._thread is not None and self._thread.is_alive()

    def submit(self, job: Callable[[Callable[[], bool]], T]) -> None:
        """Start a job, given a function that says whether to stop early; the last result must have been fetched."""
        assert self._thread is None, "the result of the last job was not fetched"
        self._stop.clear()

        def run() -> None:
            try:
                self._outcome = job(self._stop.is_set)
            except Exception as error:  # raised in the thread that fetches it
                self._outcome = error

        self._thread = threading.Thread(target=run, name="alpha-hill-background", daemon=True)
        self._thread.start()

    def fetch(self, *, wait: bool = False) -> T | None:
        """Return the result of a job that has ended, once; None if there is none.

        Args:
            wait: wait for the end.

        Raises:
            Exception: that of the job.
        """
        if self._thread is None or self.busy and not wait:
            return None
        self._thread.join()
        outcome, self._thread, self._outcome = self._outcome, None, None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def abandon(self) -> None:
        """Ask the job to stop and do not wait for it; its result is lost."""
        self._stop.set()
        self._thread = None
