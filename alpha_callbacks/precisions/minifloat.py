"""Floats of a few bits, without infinities: round half to even, saturate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


# Bytes of a float -> mantissa bits, mask of the exponent bits
_BITS = {4: (23, 0x7F800000), 8: (52, 0x7FF0000000000000)}


@dataclass(frozen=True)
class Minifloat:
    """A float format.

    Attributes:
        name: as in the OCP specifications.
        bits: sign, exponent and mantissa together.
        mantissa: bits of the mantissa.
        smallest: exponent of the smallest normal number; subnormals go on in steps of its ulp.
        largest: largest finite number.
    """

    name: str
    bits: int
    mantissa: int
    smallest: int
    largest: float

    @property
    def largest_power(self) -> float:
        """Return the largest power of two that is not above `largest`."""
        return 2.0 ** (math.frexp(self.largest)[1] - 1)

    def round(self, x: Tensor) -> Tensor:
        """Return the nearest numbers of the format, ties to even mantissa; beyond `largest` it saturates.

        Args:
            x: finite, float32 or float64.

        Source: OCP OFP8 1.0 and OCP Microscaling Formats (MX) 1.0, section 5.3.
        """
        step = power_of_two_below(x).clamp_(min=2.0**self.smallest).mul_(2.0**-self.mantissa)
        return (x / step).round_().mul_(step).clamp_(-self.largest, self.largest)


E4M3 = Minifloat("e4m3", 8, 3, -6, 448.0)
E5M2 = Minifloat("e5m2", 8, 2, -14, 57344.0)
E3M2 = Minifloat("e3m2", 6, 2, -2, 28.0)
E2M3 = Minifloat("e2m3", 6, 3, 0, 7.5)
E2M1 = Minifloat("e2m1", 4, 1, 0, 6.0)


def power_of_two_below(x: Tensor, *, carry_bits: int | None = None) -> Tensor:
    """Return 2^floor(log2|x|), 0 for subnormal x, from the exponent bits.

    Args:
        x: finite, float32 or float64.
        carry_bits: first round |x| half up to this many mantissa bits, which may carry into the exponent.
    """
    import torch

    width, mask = _BITS[x.dtype.itemsize]
    codes = x.view(torch.int32 if width == 23 else torch.int64)
    if carry_bits is not None:
        codes = codes + (1 << (width - carry_bits - 1))
    return (codes & mask).view(x.dtype)
