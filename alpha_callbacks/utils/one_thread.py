"""How many CPU threads torch uses: one for what more would change or slow down; for others as many as before."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_for_new: list[int] = []  # the number to be put back, once for each analysis at work


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the body with one CPU thread, in a worker's thread: torch keeps this number per thread.

    For eigenvalue solves: LAPACK's drivers hardly gain from more, and their last bits depend on the number; with one,
    results are the same bits whatever the machine, the workers or the ranks. And for passes over entries in small
    pieces: several threads wait for the slowest at each operation, which is dozens of times as long once another
    process holds a core.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def same_for_new_threads() -> Iterator[None]:
    """Leave the number that new threads begin with, which workers set as they set their own, as it was.

    It is one for the process: of several analyses side by side the last to end puts back what the first found.
    """
    with _lock:
        _for_new.append(_for_new[0] if _for_new else torch.get_num_threads())
    try:
        yield
    finally:
        with _lock:
            number = _for_new.pop()
            if not _for_new:
                torch.set_num_threads(number)
