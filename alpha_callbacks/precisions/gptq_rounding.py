"""Rounding one column after the other, the error of each made up for in those that follow: GPTQ.

Source: Frantar et al. 2023 (arXiv 2210.17323): columns in their order, 1 % damping, lazy updates of blocks of columns.
Scales are taken where a group begins, from the weights as they are by then. Unlike the authors' program, columns whose
inputs were always 0 are rounded to nearest there, not set to 0: another text may reach them.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.precisions.blocks import nonzero
from alpha_callbacks.precisions.encoding import Encoding

DAMPING = 0.01  # of the mean of the diagonal, added to it
_SCALE_ERROR = 2.0**-8  # rounding to bf16 makes half of it
_BLOCK = 128  # columns that are updated at once; all others wait for their errors together


@dataclass(frozen=True)
class Codes:
    """A matrix as signed integers under scales.

    Attributes:
        integers: shape (out_features, in_features), int8.
        scales: shape (out_features, groups), float32, each a number of the dtype that was asked for.
        dead: how many columns had no input at all.
    """

    integers: Tensor
    scales: Tensor
    dead: int

    def weight(self) -> Tensor:
        """Return what the codes say, shape (out_features, in_features), float32."""
        size = self.integers.shape[1] // self.scales.shape[1]
        return self.integers.float() * self.scales.repeat_interleave(size, dim=1)


def takes(encoding: Encoding) -> bool:
    """Return True for the formats that `gptq_codes` has: symmetric integers with a scale per group or row."""
    integer = encoding.element == "int" and encoding.symmetric and encoding.scale == "real"
    return integer and encoding.sharing in ("group", "channel")


def gptq_codes(
    weight: Tensor, products: Tensor, encoding: Encoding, *, scale_dtype: torch.dtype = torch.float32
) -> Codes:
    """Round a matrix so that its outputs stay close for inputs that are as those seen.

    Args:
        weight: shape (out_features, in_features), finite; groups divide in_features.
        products: sum or mean over inputs x of x xᵀ, shape (in_features, in_features), finite.
        encoding: one that `takes`.
        scale_dtype: in which scales will be stored.

    Raises:
        ValueError: an encoding, a shape or values that it is not made for, or scales that their dtype cannot hold.
    """
    columns = weight.shape[1]
    size = encoding.size or columns
    if not takes(encoding) or columns % size or products.shape != (columns, columns):
        raise ValueError(f"expected symmetric integers and matching shapes, got {encoding}, {tuple(products.shape)}")
    if not (torch.isfinite(weight).all() and torch.isfinite(products).all()):
        raise ValueError("expected finite weights and inputs")
    factor, dead = _factor(products)
    left = weight.double().T.contiguous()  # by columns of the weight; what is still to be rounded changes
    low, high, half_range = -(2.0 ** (encoding.bits - 1)), 2.0 ** (encoding.bits - 1) - 1, (2**encoding.bits - 1) / 2
    integers, scales = torch.empty_like(left, dtype=torch.int8), list[Tensor]()
    step = size if size > _BLOCK else _BLOCK // size * size  # a group is never cut
    for start in range(0, columns, step):
        stop = min(start + step, columns)
        errors = torch.empty_like(left[start:stop])
        for i in range(start, stop):
            if i % size == 0:
                top = left[i : i + size].abs().amax(0)
                scales.append(_held(top / half_range, scale_dtype))
            # In fp32, as the formats divide: the largest weight of a group lies on a tie.
            codes = (left[i].float() / scales[-1].float()).round_().clamp_(low, high).double()
            integers[i] = codes.to(torch.int8)
            errors[i - start] = (left[i] - codes * scales[-1]) / factor[i, i]
            left[i + 1 : stop] -= factor[i, i + 1 : stop, None] * errors[i - start]
        left[stop:] -= factor[start:stop, stop:].T @ errors
    return Codes(integers.T.contiguous(), torch.stack(scales, dim=1).float(), dead)


def _held(scale: Tensor, dtype: torch.dtype) -> Tensor:
    """Return scales as a dtype stores them, 1 for 0.

    Raises:
        ValueError: it cannot hold one.
    """
    exact = scale.float()
    held = exact.to(dtype).float()
    worst = ((held - exact).abs() / nonzero(exact)).amax()
    if not worst <= _SCALE_ERROR:
        raise ValueError(f"expected scales that {dtype} holds, got one that is off by {float(worst):.0%}")
    return nonzero(held).double()


def _factor(products: Tensor) -> tuple[Tensor, int]:
    """Return the upper Cholesky factor of the inverse of the damped products, and how many columns are dead."""
    damped = products.double().clone()
    diagonal = damped.diagonal()
    dead = diagonal <= 0
    live = int((~dead).sum())
    if not live:
        return torch.eye(len(damped), dtype=damped.dtype, device=damped.device), len(damped)
    mean = float(diagonal[~dead].mean())
    damped /= mean if math.isfinite(mean) else 1.0
    diagonal[dead] = 1.0  # of an identity: no error of theirs goes to others, nor of others to them
    diagonal += DAMPING
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True), len(damped) - live
