"""One CPU thread for what more of them would change or slow down."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
