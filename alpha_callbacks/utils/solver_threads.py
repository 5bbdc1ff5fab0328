"""One CPU thread for each eigenvalue solve."""

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
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
