"""A tensor that is stored in pieces: boxes of it, in one file or in many."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor


@dataclass(frozen=True)
class Chunk:
    """A box of a tensor.

    Attributes:
        offsets: where it begins, per dimension.
        shape: its sizes.
        read: `read(start, stop)` returns that range of its first dimension.
    """

    offsets: tuple[int, ...]
    shape: tuple[int, ...]
    read: Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Chunked:
    """All chunks of a tensor; see `require_whole`.

    Attributes:
        shape: of the whole tensor.
        dtype: of its elements.
        chunks: do not overlap, and leave nothing out.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: tuple[Chunk, ...]

    def rows(self, start: int, stop: int) -> Tensor:
        """Return that range of the first dimension; all of a tensor without dimensions."""
        if not self.shape:
            return self.chunks[0].read(0, 1)
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        rows = torch.empty((max(0, stop - start), *self.shape[1:]), dtype=self.dtype)
        for chunk in self.chunks:
            first, last = max(start, chunk.offsets[0]), min(stop, chunk.offsets[0] + chunk.shape[0])
            if first < last:
                place = [slice(first - start, last - start)]
                place += [slice(o, o + n) for o, n in zip(chunk.offsets[1:], chunk.shape[1:], strict=True)]
                rows[tuple(place)] = chunk.read(first - chunk.offsets[0], last - chunk.offsets[0])
        return rows


def require_whole(shape: Sequence[int], boxes: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
    """Check that boxes make up a tensor.

    Args:
        shape: of the tensor.
        boxes: (offsets, sizes) of each.

    Raises:
        ValueError: one reaches beyond the tensor, two overlap, or something is left out.
    """
    for offsets, sizes in boxes:
        inside = len(offsets) == len(sizes) == len(shape)
        if not inside or any(o < 0 or n < 0 or o + n > s for o, n, s in zip(offsets, sizes, shape, strict=True)):
            raise ValueError(f"a chunk {tuple(sizes)} at {tuple(offsets)} of a tensor {tuple(shape)}")
    found, total = sum(prod(sizes) for _, sizes in boxes), prod(shape)
    if found < total:
        raise ValueError(f"{len(boxes)} chunks with {found:,} of {total:,} elements")
    if found > total or _overlap(boxes):
        raise ValueError(f"{len(boxes)} chunks that overlap")


def _overlap(boxes: Sequence[tuple[Sequence[int], Sequence[int]]]) -> bool:
    """Return True if two boxes share an element. Those that are slabs of one dimension are compared in order."""
    full = [(offsets, sizes) for offsets, sizes in boxes if all(sizes)]
    if len(full) < 2 or not full[0][0]:
        return len(full) > 1
    cut = [i for i in range(len(full[0][0])) if len({(offsets[i], sizes[i]) for offsets, sizes in full}) > 1]
    if len(cut) == 1:
        spans = sorted((offsets[cut[0]], offsets[cut[0]] + sizes[cut[0]]) for offsets, sizes in full)
        return any(before[1] > after[0] for before, after in zip(spans, spans[1:], strict=False))
    low = torch.tensor([list(offsets) for offsets, _ in full])
    high = low + torch.tensor([list(sizes) for _, sizes in full])
    return any(
        bool(((low[i] < high[i + 1 :]) & (low[i + 1 :] < high[i])).all(dim=1).any()) for i in range(len(full) - 1)
    )
