"""Integer codes with a scale, and often a zero point or an offset, per group of columns."""

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_tensor import StoredTensor


def is_float(tensor: StoredTensor) -> bool:
    """Return True for numbers of at least 16 bits, as scales have them."""
    return tensor.dtype is not None and tensor.dtype.itemsize >= 2 and readable(tensor)


def readable(tensor: StoredTensor) -> bool:
    """Return True if the values can be read any time and are those of a tensor of the usual kind."""
    return tensor.sharded is None and not tensor.packed


def group_of_columns(columns: int, group_size: int) -> Tensor:
    """Return the group of each column, int64, shape (columns,)."""
    return torch.arange(columns) // group_size


def dequantize(codes: Tensor, scales: Tensor, zeros: Tensor | None, groups: Tensor) -> Tensor:
    """Return (code - zero point) * scale, in float32.

    Args:
        codes: any numbers, shape (..., columns).
        scales: per group, shape (..., groups).
        zeros: zero point per group, of the same shape; None: no zero points.
        groups: group of each column, shape (columns,).
    """
    groups = groups.to(codes.device)
    values = codes.float()
    if zeros is not None:
        values -= zeros.float().index_select(-1, groups)
    return values.mul_(scales.float().index_select(-1, groups))


def group_words(group_size: int, columns: int) -> str:
    """Return how many columns share a scale, for a reader."""
    return "row" if group_size >= columns else f"group {group_size}"
