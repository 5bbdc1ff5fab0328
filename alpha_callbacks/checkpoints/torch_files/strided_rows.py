"""Rows of a strided tensor in a file: only the bytes that are needed, by seek and read, into memory of their own.

A file that is mapped can end the process: pages that are cut off while it is read raise SIGBUS. A read ends short.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.errors import CheckpointError

_SPAN = 32 * 2**20  # bytes read at once where a range of rows is scattered


@dataclass(frozen=True, slots=True)
class StridedTensor:
    """Where the values of a tensor lie.

    Attributes:
        file: holds them.
        start: byte offset of the first element in the file.
        shape: sizes.
        strides: elements from one index of a dimension to the next.
        dtype: type of the elements.
        swapped: their bytes are in the other order.
    """

    file: Path
    start: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype
    swapped: bool = False

    def rows(self, start: int, stop: int) -> Tensor:
        """Return that range of the first dimension; all of a tensor without dimensions.

        Raises:
            CheckpointError: the file has become shorter, or cannot be read.
        """
        if not self.shape:
            return self._gather(self.start, (), ())
        start, stop, _ = slice(start, stop).indices(self.shape[0])
        shape = (max(0, stop - start), *self.shape[1:])
        return self._gather(self.start + start * self.strides[0] * self.dtype.itemsize, shape, self.strides)

    def _gather(self, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> Tensor:
        """Read what lies close together at once, else the halves along the dimension that is spread widest."""
        elements = 1
        for size in shape:
            elements *= size
        if not elements:
            return torch.empty(shape, dtype=self.dtype)
        span = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
        widest = max(range(len(shape)), key=lambda i: (shape[i] > 1, strides[i]), default=0)
        if span <= elements or span * self.dtype.itemsize <= _SPAN or shape[widest] < 2:
            found = self._read(offset, span).as_strided(shape, strides)
            return found if span == elements else found.clone(memory_format=torch.contiguous_format)
        rows = torch.empty(shape, dtype=self.dtype)
        half = shape[widest] // 2
        for first, count in ((0, half), (half, shape[widest] - half)):
            part = (*shape[:widest], count, *shape[widest + 1 :])
            found = self._gather(offset + first * strides[widest] * self.dtype.itemsize, part, strides)
            rows.narrow(widest, first, count).copy_(found)
        return rows

    def _read(self, offset: int, count: int) -> Tensor:
        found = read_bytes(self.file, offset, count * self.dtype.itemsize)
        if self.swapped and self.dtype.itemsize > 1:
            parts = self.dtype.itemsize // (2 if self.dtype.is_complex else 1)
            found = found.view(-1, parts).flip(1).flatten()
        return found.view(self.dtype)


def read_bytes(file: Path, offset: int, count: int) -> Tensor:
    """Return that range of a file as a tensor of bytes.

    Raises:
        CheckpointError: the file ends before, or cannot be read.
    """
    found = torch.empty(count, dtype=torch.uint8)
    values: Any = found.numpy()
    rest = memoryview(values)
    try:
        with file.open("rb", buffering=0) as handle:
            handle.seek(offset)
            while len(rest):
                size = handle.readinto(rest)
                if not size:
                    raise CheckpointError(
                        f"{file}: expected {count:,} bytes at {offset:,}, the file ends {len(rest):,} bytes before. "
                        "Did it change while it was read?"
                    )
                rest = rest[size:]
    except OSError as error:
        raise CheckpointError(f"{file}: expected to read it, got: {error.strerror or error}.") from error
    return found
