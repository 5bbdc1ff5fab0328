"""Weights from a slow source: the next ones are read while others are solved."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType

import torch
from torch import Tensor

from alpha_callbacks.utils.machine import available_memory
from alpha_callbacks.weights.weight import HOLD_BYTES, Weight

_READERS = 4
_MOST_AHEAD = 2**30  # bytes
_SHARE = 8  # what is read ahead takes at most 1/8 of the free memory, and so does a matrix that is read as a whole


class ReadAhead(AbstractContextManager["ReadAhead"]):
    """Reads weights in the order in which they will be taken, within a number of bytes.

    A weight is yielded as soon as it is asked for; who reads its rows waits until they are there. They live as long as
    the weight that was yielded. A matrix is read once, so that no byte is sent twice, unless it is larger than `most`:
    then its rows are read in blocks, as often as they are needed.
    """

    def __init__(self, *, readers: int = _READERS, budget: int | None = None, most: int | None = None) -> None:
        """Start nothing yet.

        Args:
            readers: weights that are read at the same time.
            budget: bytes of weights that are read or being read and not taken; by default up to 1 GiB.
            most: bytes of the largest matrix that is read as a whole.
        """
        part = available_memory() // _SHARE
        self._budget = min(_MOST_AHEAD, part) if budget is None else budget
        self._most = max(HOLD_BYTES, part) if most is None else most
        self._pool = ThreadPoolExecutor(readers, "alpha-hill-read", initializer=torch.set_num_threads, initargs=(1,))

    def __call__(self, weights: Sequence[Weight]) -> Iterator[Weight]:
        """Yield the weights in their order; the first to come are always being read."""
        begun, ahead, upcoming = deque[Weight](), 0, 0
        for taken in weights:
            while upcoming < len(weights) and (not begun or ahead + weights[upcoming].nbytes <= self._budget):
                begun.append(self._begin(weights[upcoming]))
                ahead += weights[upcoming].nbytes
                upcoming += 1
            ahead -= taken.nbytes
            yield begun.popleft()

    def _begin(self, weight: Weight) -> Weight:
        if weight.unsupported or weight.n_eigs < 2 or weight.nbytes > self._most:
            return weight
        return replace(weight, rows=_rows_of(self._pool.submit(weight.rows, 0, weight.out_features)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Begin no further reads."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _rows_of(matrix: Future[Tensor]) -> Callable[[int, int], Tensor]:
    return lambda start, stop: matrix.result()[start:stop]
