"""How many CPU threads torch uses in one thread of ours, while those of all other threads stay as they are."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


_ONE_AT_A_TIME = threading.Lock()  # another thread must not take what is set for a moment for the number of the process


@contextmanager
def solver_threads() -> Iterator[None]:
    """Run the body with one CPU thread.

    LAPACK's eigenvalue drivers hardly gain from more, and their last bits depend on the number: with one, results are
    the same bits whatever the machine, the workers or the ranks.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    set_own_threads(1)
    try:
        yield
    finally:
        set_own_threads(before)


def set_own_threads(count: int) -> None:
    """Set how many CPU threads operations of the calling thread may use, for this thread only.

    torch keeps a number per thread and one for threads that have not used it yet; a call sets both. Other threads, gone
    at once, therefore read the second one before and put it back.
    """
    with _ONE_AT_A_TIME:
        others = _in_a_thread(torch.get_num_threads)
        torch.set_num_threads(count)
        _in_a_thread(lambda: torch.set_num_threads(others))


def _in_a_thread(task: Callable[[], T]) -> T:
    found: list[T] = []
    thread = threading.Thread(target=lambda: found.append(task()), name="alpha-hill-threads")
    thread.start()
    thread.join()
    return found[0]
