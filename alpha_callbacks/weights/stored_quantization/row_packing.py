"""Codes of several rows in one integer: row r lies in the integers of row r % n of the n that are stored."""

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_tensor import StoredTensor


def read_packed_rows(packed: StoredTensor, bits: int, start: int, stop: int, *, top: int = 0) -> Tensor:
    """Return the codes of rows start..stop, reading no others.

    Args:
        packed: integers, shape (n, columns).
        bits: of a code.
        start: first row.
        stop: row after the last.
        top: 0: the first n rows are in the lowest bits. Otherwise the number of codes in an integer, and the first n
            rows are in the highest of their bits.

    Returns:
        Integers, shape (stop - start, columns).
    """
    count, pieces = packed.shape[0], list[Tensor]()
    while start < stop or not pieces:
        part = start // count
        end = min(stop, (part + 1) * count)
        shift = bits * max(top - 1 - part if top else part, 0)
        pieces.append((packed.read(start - part * count, end - part * count) >> shift) & (2**bits - 1))
        start = end
    return torch.cat(pieces)
