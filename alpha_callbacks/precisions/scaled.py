"""Integers and floats with one scale per tensor, row, group along a row, or square tile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alpha_callbacks.precisions.blocks import absmax, from_blocks, from_tiles, nonzero, over, to_blocks, to_tiles, wide
from alpha_callbacks.precisions.encoding import Sharing
from alpha_callbacks.precisions.minifloat import Minifloat

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Scope:
    """Which weights share a scale.

    Attributes:
        sharing: none (there is no scale), the tensor, each row, groups along a row, square tiles.
        size: weights in a group, or the side of a tile.
    """

    sharing: Sharing
    size: int = 0

    def apply(self, rows: Tensor, quantize: Callable[[Tensor], Tensor]) -> Tensor:
        """Pass rows through `quantize` in blocks whose last dimension shares a scale."""
        if self.sharing == "group":
            return from_blocks(quantize(to_blocks(rows, self.size)), rows.shape[1])
        if self.sharing == "tile":
            return from_tiles(quantize(to_tiles(rows, self.size)), self.size, rows.shape)
        return quantize(rows)


def symmetric_integer(bits: int, scope: Scope) -> Callable[[Tensor, float], Tensor]:
    """Return the round trip of signed integers of `bits`, scale absmax / (2^bits - 1) * 2, no zero point.

    Source: compressed-tensors, `calculate_qparams`; torchao's symmetric mapping is the same.
    """
    low, high, half_range = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1, (2**bits - 1) / 2

    def round_trip(rows: Tensor, largest: float) -> Tensor:
        def quantize(blocks: Tensor) -> Tensor:
            top = blocks.new_full((1, 1), largest) if scope.sharing == "tensor" else absmax(blocks)
            scale = nonzero(over(top, half_range))
            return (blocks / scale).round_().clamp_(low, high).mul_(scale)

        return scope.apply(wide(rows), quantize)

    return round_trip


def asymmetric_integer(bits: int, scope: Scope) -> Callable[[Tensor, float], Tensor]:
    """Return the round trip of integers with a zero point; the range of a block always includes 0.

    Source: compressed-tensors, `calculate_qparams`.
    """
    low, high = -(2.0 ** (bits - 1)), 2.0 ** (bits - 1) - 1

    def quantize(blocks: Tensor) -> Tensor:
        bottom = blocks.amin(dim=-1, keepdim=True).clamp_(max=0)
        top = blocks.amax(dim=-1, keepdim=True).clamp_(min=0)
        scale = nonzero(over(top - bottom, high - low))
        zero = (low - bottom / scale).clamp_(low, high).round_()
        return (blocks / scale).add_(zero).clamp_(low, high).round_().sub_(zero).mul_(scale)

    return lambda rows, largest: scope.apply(wide(rows), quantize)


def scaled_float(element: Minifloat, scope: Scope) -> Callable[[Tensor, float], Tensor]:
    """Return the round trip of a minifloat with a real scale, absmax / largest, or without a scale.

    Source: OCP OFP8 1.0 for the elements; compressed-tensors for the scale.
    """

    def round_trip(rows: Tensor, largest: float) -> Tensor:
        def quantize(blocks: Tensor) -> Tensor:
            if scope.sharing == "none":
                return element.round(blocks)
            top = blocks.new_full((1, 1), largest) if scope.sharing == "tensor" else absmax(blocks)
            scale = nonzero(over(top, element.largest))
            return element.round(blocks / scale).mul_(scale)

        return scope.apply(wide(rows), quantize)

    return round_trip
