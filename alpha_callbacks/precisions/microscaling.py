"""Block formats whose scale is a small float itself: MX (a power of two) and NVFP4 (e4m3, under one of the tensor)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from alpha_callbacks.precisions.blocks import absmax, from_blocks, over, to_blocks, wide
from alpha_callbacks.precisions.minifloat import E2M1, E4M3, Minifloat, power_of_two_below

if TYPE_CHECKING:
    from torch import Tensor

ScaleRule = Literal["floor", "even", "rceil"]

MX_BLOCK = 32
NVFP4_BLOCK = 16
_E8M0_SMALLEST, _E8M0_LARGEST = 2.0**-127, 2.0**127
_NVFP4_SMALLEST = 2.0**-120  # 1 / (scale of the tensor * scale of a block) stays finite; all zeros stay zeros


def mx(element: Minifloat, rule: ScaleRule) -> Callable[[Tensor, float], Tensor]:
    """Return the round trip of an OCP MX format: blocks of 32 along a row under a power of two.

    Args:
        element: e4m3, e5m2, e3m2, e2m3 or e2m1.
        rule: how the power follows from the block's absmax. "floor" is the text of the specification (gguf, torchao's
            default); "even" rounds absmax to the element's mantissa first (compressed-tensors for fp4 and fp6); "rceil"
            takes the smallest power that saturates nothing (NVIDIA; compressed-tensors for fp8, but for blocks whose
            absmax is 1.75 * 2^n to the last bit, which it gives twice the scale).

    torchao takes the power of "rceil" from a rounded logarithm, so that up to 4 ulps above a power it saturates. gguf
    rounds ties of the elements towards zero.

    Source: OCP Microscaling Formats (MX) 1.0, section 6.3.
    """

    def round_trip(rows: Tensor, largest: float) -> Tensor:
        import torch

        matrix = wide(rows)
        blocks = to_blocks(matrix, MX_BLOCK)
        top = absmax(blocks)
        if rule == "rceil":
            ideal = over(top, element.largest)
            power = power_of_two_below(ideal)
            scale = torch.where(ideal > power, 2 * power, power)
        else:
            carry = element.mantissa if rule == "even" else None
            scale = power_of_two_below(top, carry_bits=carry) / element.largest_power
        scale = scale.clamp(_E8M0_SMALLEST, _E8M0_LARGEST)
        return from_blocks(element.round(blocks / scale).mul_(scale), matrix.shape[1])

    return round_trip


def nvfp4(rows: Tensor, largest: float) -> Tensor:
    """Round e2m1 blocks of 16 under e4m3 scales under one fp32 scale of the tensor, largest / (448 * 6).

    Scales of blocks stay normal, >= 2^-6: a block 28672 times smaller than the tensor's largest loses precision.

    Source: NVIDIA, NVFP4; the order of the products and the smallest scale are those of torchao.
    """
    matrix = wide(rows)
    blocks = to_blocks(matrix, NVFP4_BLOCK)
    whole = over(blocks.new_full((1, 1, 1), largest), E4M3.largest * E2M1.largest)
    whole.clamp_(min=_NVFP4_SMALLEST)
    scale = E4M3.round((over(absmax(blocks), E2M1.largest) / whole).clamp_(2.0**E4M3.smallest, E4M3.largest))
    values = E2M1.round(blocks * ((1.0 / whole) / scale))
    return from_blocks(values.mul_(whole * scale), matrix.shape[1])
