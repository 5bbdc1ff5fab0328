"""Threads that help each other: a long task is cut into parts, and whoever is free takes the next."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_own = threading.local()


class Crew:
    """The threads of a pool, as one of them calls the others for help."""

    def __init__(self, pool: ThreadPoolExecutor, size: int) -> None:
        """Take the pool and the number of its threads."""
        self._pool, self._size = pool, size

    def enter(self) -> None:
        """Let `in_order` in the calling thread call this crew."""
        _own.crew = self

    def called(self, task: Callable[[], None]) -> None:
        """Run a task in each of the other threads: now in those that are idle, in others before they take new work."""
        for _ in range(self._size - 1):
            try:
                self._pool.submit(task)
            except RuntimeError:  # no new work is taken: the run is at its end
                return


def in_order(parts: Sequence[Callable[[], T]]) -> Iterator[T]:
    """Yield the result of each part, in their order, computed here and by those of the thread's crew who are free.

    Who computes a part decides nothing. One that fails raises here when its turn comes. Results wait for those before
    them, which may be all but one at the same time.
    """
    crew: Crew | None = getattr(_own, "crew", None)
    if crew is None or len(parts) < 2:
        yield from (part() for part in parts)
        return
    shared = _Shared(parts)
    crew.called(shared.compute)
    try:
        for index in range(len(parts)):
            while not shared.has(index):
                if not shared.compute_one():
                    shared.wait_for(index)
            yield shared.take(index)
    finally:
        shared.abandon()


class _Shared(Generic[T]):
    """Parts, of which each is computed once by whoever takes it."""

    def __init__(self, parts: Sequence[Callable[[], T]]) -> None:
        self._parts, self._begun = parts, 0
        self._found: dict[int, Callable[[], T]] = {}
        self._done = threading.Condition()

    def compute(self) -> None:
        """Compute parts until all are begun."""
        while self.compute_one():
            pass

    def compute_one(self) -> bool:
        """Compute the next part; return False if all are begun."""
        with self._done:
            if self._begun == len(self._parts):
                return False
            index, self._begun = self._begun, self._begun + 1
        found = _outcome(self._parts[index])
        with self._done:
            self._found[index] = found
            self._done.notify_all()
        return True

    def has(self, index: int) -> bool:
        """Return True if this part is computed."""
        with self._done:
            return index in self._found

    def wait_for(self, index: int) -> None:
        """Return when another thread has computed this part."""
        with self._done:
            self._done.wait_for(lambda: index in self._found)

    def take(self, index: int) -> T:
        """Return a result, or raise its error, and forget it."""
        with self._done:
            found = self._found.pop(index)
        return found()

    def abandon(self) -> None:
        """Let no further part begin, and forget what was found."""
        with self._done:
            self._begun = len(self._parts)
            self._found.clear()


def _outcome(part: Callable[[], T]) -> Callable[[], T]:
    try:
        result = part()
    except BaseException as error:
        return lambda error=error: _raise(error)  # type: ignore[misc]
    return lambda: result


def _raise(error: BaseException) -> Any:
    raise error
