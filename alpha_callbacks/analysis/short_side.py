"""A weight as the solver reads it: blocks across its short side, in parts of the long one."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.analysis.parts import part_length
from alpha_callbacks.analysis.quantization_error import BlockMap
from alpha_callbacks.solvers.gram_of_blocks import Blocks
from alpha_callbacks.weights.weight import HOLD_BYTES, Weight, span_length, spans


def short_side_parts(weight: Weight, change: BlockMap | None) -> list[Blocks]:
    """Return what yields the weight after `change` (None: as stored) in blocks of shape (b, n), n its short side.

    The parts of a long matrix can be read side by side. Where they begin depends on the shape alone, so that sums over
    them have the same bits whoever makes them.
    """
    long, length = max(weight.out_features, weight.in_features), part_length(weight)
    return [partial(_blocks, weight, change, start, min(start + length, long)) for start in range(0, long, length)]


def short_side_blocks(weight: Weight, change: BlockMap | None) -> Iterator[Tensor]:
    """Yield the same blocks, one part after the other."""
    for part in short_side_parts(weight, change):
        yield from part()


def _blocks(weight: Weight, change: BlockMap | None, first: int, last: int) -> Iterator[Tensor]:
    """Yield the blocks from `first` to `last` on the long side.

    Formats work along rows, so columns of a wide matrix are cut from whole rows: as many at a time as can be held, and
    for the next ones the rows are read, and changed, again.
    """
    if weight.out_features >= weight.in_features:
        yield from (block if change is None else change(block) for block in weight.row_blocks(first, last))
        return
    step = span_length(weight.out_features)
    bytes_per_step = step * weight.out_features * max(4, weight.dtype.itemsize)
    at_once = max(1, HOLD_BYTES // bytes_per_step) * step
    for left in range(first, last, at_once):
        columns = _columns(weight, change, left, min(left + at_once, last))
        for start, stop in spans(columns.shape[1], weight.out_features):
            yield columns[:, start:stop].T


def _columns(weight: Weight, change: BlockMap | None, left: int, right: int) -> Tensor:
    """Return some columns of the weight after `change`, in the dtype that it returns."""
    found, start = torch.empty(0), 0
    for rows in weight.row_blocks():
        after = rows if change is None else change(rows)
        if start == 0:
            found = torch.empty(weight.out_features, right - left, dtype=after.dtype, device=after.device)
        found[start : start + len(after)] = after[:, left:right]
        start += len(after)
    return found
