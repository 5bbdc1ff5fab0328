"""The values of a GGUF tensor, decoded a range of rows at a time; blocks are decoded by the package gguf."""

import math
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alpha_callbacks.errors import CheckpointError
from alpha_integrations.checkpoints.gguf_types import PLAIN, GgufType

_PIECE = 2**18  # values decoded at a time, a multiple of every block: what gguf needs beside them stays in the cache
_READ = 2**22  # bytes read at a time, or one piece if that is more: of a file on a server, each read is a request


@dataclass(frozen=True)
class GgufRows:
    """The values of one tensor; `read(start, stop)` decodes those rows and no others.

    Attributes:
        file: where they are.
        offset: of the first byte.
        kind: how they are stored.
        shape: rows first; need not be the shape in the file, as long as it holds as many values.
        big_endian: True where numbers are stored with the highest byte first.
        factors: what the decoded values are multiplied by, one number for all or one per row; None: by nothing.
    """

    file: Path
    offset: int
    kind: GgufType
    shape: tuple[int, ...]
    big_endian: bool
    factors: Tensor | None = None

    def read(self, start: int, stop: int) -> Tensor:
        """Return rows start..stop of the first dimension.

        Raises:
            CheckpointError: the file cannot be read any more, or has become shorter.
        """
        width = math.prod(self.shape[1:])
        first, last = start * width, stop * width
        values = torch.empty(last - first, dtype=self.kind.dtype)
        out = values.numpy()
        try:
            with self.file.open("rb", buffering=0) as handle:
                step = max(1, _READ * self.kind.block // (self.kind.size * _PIECE)) * _PIECE
                for begin in range(first, last, step):
                    end = min(begin + step, last)
                    self._decode(self._stored(handle, begin, end), begin, out[begin - first : end - first])
        except OSError as error:
            raise CheckpointError(f"{self.file}: expected to read its tensors, got {error.strerror}.") from error
        rows = values.view(stop - start, *self.shape[1:])
        if self.factors is None:
            return rows
        factors = self.factors if self.factors.numel() == 1 else self.factors[start:stop]
        return rows * factors.to(rows.dtype).view(-1, *[1] * (rows.ndim - 1))

    def _stored(self, handle: RawIOBase, first: int, last: int) -> Any:
        """Return the blocks that hold values first..last, shape (blocks, bytes of one)."""
        begin, end = first // self.kind.block, -(-last // self.kind.block)
        stored = np.empty((end - begin, self.kind.size), np.uint8)
        handle.seek(self.offset + begin * self.kind.size)
        if handle.readinto(stored.reshape(-1).data) != stored.size:
            raise CheckpointError(f"{self.file}: expected to read all of its tensors, it ended. Did the file change?")
        return stored

    def _decode(self, stored: Any, first: int, out: Any) -> None:
        """Decode values first, first + 1, ... from the blocks that hold them."""
        block, lead = self.kind.block, first % self.kind.block
        for begin in range(0, len(out) + lead, _PIECE):
            found = self._decoded(stored[begin // block : (begin + _PIECE) // block].reshape(-1))
            a, b = max(begin, lead), min(begin + _PIECE, len(out) + lead)
            out[a - lead : b - lead] = found[a - begin : b - begin]

    def _decoded(self, stored: Any) -> Any:
        if self.kind.name == "BF16":
            return (stored.view("<u2").astype(np.uint32) << 16).view(np.float32)
        if plain := PLAIN.get(self.kind.name):
            return stored.view(f"{'>' if self.big_endian else '<'}{plain}")
        if self.kind.name == "Q1_0":
            return _signs(stored.reshape(-1, self.kind.size))
        import gguf

        with np.errstate(all="ignore"):  # scales that are no numbers give values that are none, and the row says so
            return gguf.dequantize(stored.reshape(1, -1), gguf.GGMLQuantizationType[self.kind.name]).ravel()


def _signs(blocks: Any) -> Any:
    """Decode Q1_0: a float16 d and 128 bits, lowest first; a set bit is d, any other -d (ggml-quants)."""
    scale = blocks[:, :2].copy().view("<f2").astype(np.float32)
    return np.where(np.unpackbits(blocks[:, 2:], axis=1, bitorder="little"), scale, -scale).ravel()
