"""One worker thread with at most one job, whose result is fetched from the thread that submitted it."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

from alpha_callbacks.errors import MonitorError

T = TypeVar("T")
Job = Callable[[Callable[[], bool]], T]


@dataclass(frozen=True)
class _Running(Generic[T]):
    """A job under way; an abandoned one takes its result or error with it."""

    thread: threading.Thread
    outcome: Future[T]
    stop: threading.Event


class Background(Generic[T]):
    """Runs a job beside the training loop.

    The thread is a daemon: a process that ends does not wait for it.
    """

    def __init__(self) -> None:
        self._running: _Running[T] | None = None

    @property
    def busy(self) -> bool:
        """True while a job runs."""
        return self._running is not None and self._running.thread.is_alive()

    def submit(self, job: Job[T]) -> None:
        """Start a job, given a function that says whether to stop early; the last result must have been fetched."""
        assert self._running is None, "the result of the last job was not fetched"
        outcome, stop = Future[T](), threading.Event()
        thread = threading.Thread(target=_run, args=(job, stop, outcome), name="alpha-hill-background", daemon=True)
        self._running = _Running(thread, outcome, stop)
        thread.start()

    def fetch(self, *, wait: bool = False) -> T | None:
        """Return the result of a job that has ended, once; None if there is none.

        Args:
            wait: wait for the end.

        Raises:
            Exception: raised by the job.
            MonitorError: the job ended with SystemExit, KeyboardInterrupt or the like, which end no run from a thread.
        """
        if self._running is None or self.busy and not wait:
            return None
        running = self._running
        try:
            running.thread.join()  # after Ctrl-C here the job can still be told to stop
            self._running = None
            return running.outcome.result(timeout=0)
        except TimeoutError as error:  # in a forked child, which has no such thread
            if running.outcome.done():
                raise
            raise MonitorError("the worker stayed in the process that started it") from error
        finally:
            del running  # an error's traceback leads to this frame: a cycle would keep all that the job held

    def abandon(self) -> None:
        """Ask the job to stop without waiting for it; its result is lost."""
        if self._running is not None:
            self._running.stop.set()
        self._running = None


def _run(job: Job[T], stop: threading.Event, outcome: Future[T]) -> None:
    try:
        outcome.set_result(job(stop.is_set))
    except BaseException as error:
        ended = error if isinstance(error, Exception) else MonitorError(f"the worker ended with {error!r}")
        outcome.set_exception(ended)
        del job, outcome, ended  # as above
