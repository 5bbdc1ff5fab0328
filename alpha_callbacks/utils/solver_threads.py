"""How many CPU threads torch uses in one thread of ours, while those of all other threads stay as they are."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def solver_threads() -> Iterator[None]:
    """Run the body with one CPU thread.

    LAPACK's eigenvalue drivers hardly gain from more, and their last bits depend on the number: with one, results are
    the same bits whatever the machine, the workers or the ranks. torch keeps this number per thread.
    """
    before = torch.get_num_threads()
    if before == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def set_own_threads(count: int, default: int) -> None:
    """Set the number for the calling thread only.

    torch keeps a number per thread and one for threads that have not used it yet; a call sets both. Another thread,
    gone at once, therefore puts the second one back.

    Args:
        count: CPU threads that operations of the calling thread may use.
        default: the number for threads that are started later.
    """
    torch.set_num_threads(count)
    restorer = threading.Thread(target=torch.set_num_threads, args=(default,), name="alpha-hill-threads")
    restorer.start()
    restorer.join()
