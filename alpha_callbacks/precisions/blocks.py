"""Rows cut into blocks that share a scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def wide(rows: Tensor) -> Tensor:
    """Return rows in the arithmetic of the formats: float64 stays, all else becomes float32."""
    import torch

    return rows if rows.dtype is torch.float64 else rows.float()


def to_blocks(rows: Tensor, size: int) -> Tensor:
    """Return rows (r, in_features) as (r, blocks, size), a ragged last block filled up with zeros."""
    import torch

    missing = -rows.shape[1] % size
    padded = torch.nn.functional.pad(rows, (0, missing)) if missing else rows
    return padded.reshape(len(rows), -1, size)


def from_blocks(blocks: Tensor, in_features: int) -> Tensor:
    """Undo `to_blocks`."""
    return blocks.flatten(1)[:, :in_features]


def to_tiles(rows: Tensor, size: int) -> Tensor:
    """Return rows (r, in_features) as (row tiles, column tiles, size * size), ragged edges filled up with zeros."""
    import torch

    down, right = -rows.shape[0] % size, -rows.shape[1] % size
    padded = torch.nn.functional.pad(rows, (0, right, 0, down))
    tiles = padded.reshape(padded.shape[0] // size, size, padded.shape[1] // size, size)
    return tiles.transpose(1, 2).flatten(2)


def from_tiles(tiles: Tensor, size: int, shape: torch.Size) -> Tensor:
    """Undo `to_tiles`."""
    down, right = tiles.shape[:2]
    whole = tiles.reshape(down, right, size, size).transpose(1, 2).reshape(down * size, right * size)
    return whole[: shape[0], : shape[1]]


def absmax(blocks: Tensor) -> Tensor:
    """Return the largest |x| of each block, shape (..., 1)."""
    return blocks.abs().amax(dim=-1, keepdim=True)  # several times as fast as aminmax over a short last dimension


def over(values: Tensor, number: float) -> Tensor:
    """Return values / number, rounded as a division is, on any device.

    On CUDA torch multiplies by the reciprocal of a Python number. A scale that is one ulp off moves the largest weight
    of a block, which lies between two integers, to the other one: alpha of int2 was seen 7 % off.
    """
    return values / values.new_full((), number)


def nonzero(scale: Tensor) -> Tensor:
    """Return the scale with 1 for 0, so that a block of zeros stays one."""
    return scale.masked_fill(scale == 0, 1.0)
