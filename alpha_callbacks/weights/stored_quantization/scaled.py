"""Codes of a matrix times the scales of their blocks, decoded row by row: what most layouts have in common."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.unpack_bits import power_of_two
from alpha_callbacks.weights.stored_tensor import StoredTensor

REAL = {"float64", "float32", "float16", "bfloat16"}  # scales that are what they say
EXPONENTS = {"float8_e8m0fnu", "uint8"}  # scales that are powers of two, see `power_of_two`

_PIECE = 128 * 1024  # weights decoded at a time, so that they stay in the processor's cache between the steps
_SMALLEST_BLOCK = 16  # no format shares a scale among fewer weights


@dataclass(frozen=True)
class Blocks:
    """Which weights share a scale.

    Attributes:
        rows: rows of a block.
        columns: columns of a block.
        words: what it is, for a reader.
    """

    rows: int
    columns: int
    words: str


def grid(scale: StoredTensor) -> tuple[int, ...]:
    """Return the shape of the scales of one matrix; ModelOpt keeps dimensions of length 1 between those of the grid."""
    shape = scale.shape
    return (shape[0], shape[2]) if len(shape) == 4 and shape[1] == shape[3] == 1 else shape


def blocks_of(scales: Sequence[int], matrix: tuple[int, int], sizes: object = None) -> Blocks | None:
    """Return which weights share a scale, or None where that is in doubt.

    Without sizes only what the shapes leave no choice about: one scale, one per row, groups along the rows, or square
    blocks, whose size is a power of two. As ceil(n / b) = count > 1 has one such b at most, the answer is the only one.

    Args:
        scales: shape of the scales.
        matrix: (out_features, in_features).
        sizes: [rows, columns] of a block, where the model's config says it.
    """
    out_features, in_features = matrix
    if sizes is not None:
        if not (isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(n) is int and n > 0 for n in sizes)):
            return None
        rows, columns = sizes
        expected = (math.ceil(out_features / rows), math.ceil(in_features / columns))
        fits = tuple(scales) == expected or math.prod(scales) == math.prod(expected) == 1
        return Blocks(rows, columns, f"{rows}x{columns} block") if fits else None
    if math.prod(scales) == 1:
        return Blocks(out_features, in_features, "tensor")
    if tuple(scales) in ((out_features,), (out_features, 1)):
        return Blocks(1, in_features, "row")
    if len(scales) != 2:
        return None
    rows, columns = scales
    if rows == out_features:
        size = _block_size(in_features, columns)
        return Blocks(1, size, f"group of {size}") if size else None
    size = _block_size(in_features, columns) or _block_size(out_features, rows)
    square = size and (math.ceil(out_features / size), math.ceil(in_features / size)) == (rows, columns)
    return Blocks(size, size, f"{size}x{size} block") if square else None


def as_numbers(scales: Tensor) -> Tensor:
    """Return scales as they are stored, or the powers of two that they stand for, in float32 (float64 stays)."""
    if str(scales.dtype).removeprefix("torch.") in EXPONENTS:
        return power_of_two(scales)
    return scales if scales.dtype is torch.float64 else scales.float()


def _block_size(length: int, count: int) -> int:
    """Return the power of two b with ceil(length / b) = count > 1, or 0."""
    size = _SMALLEST_BLOCK
    while count > 1 and size < length:
        if math.ceil(length / size) == count:
            return size
        size *= 2
    return 0


@dataclass(frozen=True)
class Scaled:
    """A matrix of codes, and how its rows are decoded.

    Attributes:
        codes: what is stored; its first dimension is out_features.
        in_features: columns of the decoded matrix.
        values: codes of some rows -> their values, shape (rows, in_features).
        scales: first dimension: row blocks.
        blocks: which weights share a scale.
        as_numbers: scales as stored -> the numbers that the values are multiplied by, float32 or float64.
        zeros: `zeros(first, last)` returns the zero points of those row blocks, which are subtracted first.
        group_of_column: which column of the scales belongs to a column of the matrix, if they are not in order.
        dtype: what the product is rounded to.
    """

    codes: StoredTensor
    in_features: int
    values: Callable[[Tensor], Tensor]
    scales: StoredTensor
    blocks: Blocks
    as_numbers: Callable[[Tensor], Tensor] = as_numbers
    zeros: Callable[[int, int], Tensor] | None = None
    group_of_column: Tensor | None = None
    dtype: torch.dtype = torch.float32

    def rows(self, start: int, stop: int) -> Tensor:
        """Return decoded rows start..stop, shape (stop - start, in_features)."""
        codes = self.codes.read(start, stop)
        decoded = torch.empty(stop - start, self.in_features, dtype=self.dtype, device=codes.device)
        if start == stop:
            return decoded
        first, last = start // self.blocks.rows, math.ceil(stop / self.blocks.rows)
        stored = self.scales.read(first, last)
        scales = self.as_numbers(stored).reshape(last - first, -1)
        zeros = None if self.zeros is None else self.zeros(first, last).to(scales.dtype).reshape(last - first, -1)
        step = max(1, _PIECE // max(self.in_features, 1))
        for begin in range(0, stop - start, step):
            end = min(begin + step, stop - start)
            block = torch.arange(start + begin, start + end, device=codes.device) // self.blocks.rows - first
            values = self.values(codes[begin:end]).to(scales.dtype)
            if zeros is not None:
                self._per_block(values, zeros[block], Tensor.sub_)
            self._per_block(values, scales[block], Tensor.mul_)
            decoded[begin:end] = values
        return decoded

    def _per_block(self, values: Tensor, numbers: Tensor, apply: Callable[[Tensor, Tensor], Tensor]) -> None:
        """Apply one number per block to `values`, in place.

        Args:
            values: shape (rows, in_features).
            numbers: shape (rows, blocks of a row).
            apply: `Tensor.mul_` or `Tensor.sub_`.
        """
        if self.group_of_column is not None:
            apply(values, numbers[:, self.group_of_column])
        elif numbers.shape[1] == 1:
            apply(values, numbers)
        else:
            size = self.blocks.columns
            whole = values.shape[1] // size  # a view by blocks needs no second matrix of numbers
            apply(values[:, : whole * size].unflatten(1, (whole, size)), numbers[:, :whole, None])
            if whole < numbers.shape[1]:
                apply(values[:, whole * size :], numbers[:, whole:])


def decoded(tensor: StoredTensor, matrix: Scaled, *, name: str, stored_dtype: str) -> StoredTensor:
    """Return a tensor whose rows are those of the decoded matrix.

    Args:
        tensor: the codes.
        matrix: how they are decoded.
        name: of the matrix.
        stored_dtype: the layout in the field's words.
    """
    return replace(
        tensor,
        name=name,
        shape=(tensor.shape[0], matrix.in_features),
        dtype=matrix.dtype,
        stored_dtype=stored_dtype,
        read=matrix.rows,
    )


def decoded_stack(
    tensor: StoredTensor, matrices: Callable[[int], Scaled], shape: tuple[int, int], *, name: str, stored_dtype: str
) -> StoredTensor:
    """Return a stack of decoded matrices, shape (experts, *shape); those that are asked for are decoded.

    Args:
        tensor: the codes of all.
        matrices: number of the expert -> how its matrix is decoded.
        shape: of one decoded matrix.
        name: of the stack.
        stored_dtype: the layout in the field's words.
    """

    def read(start: int, stop: int) -> Tensor:
        found = [matrices(index).rows(0, shape[0]) for index in range(start, stop)]
        return torch.stack(found) if found else torch.empty(0, *shape)

    return replace(
        tensor,
        name=name,
        shape=(tensor.shape[0], *shape),
        dtype=matrices(0).dtype,
        stored_dtype=stored_dtype,
        read=read,
    )


def expert(tensor: StoredTensor, index: int, *, transposed: bool = False) -> StoredTensor:
    """Return one matrix of a stack, or one scalar as shape (1,).

    Args:
        tensor: shape (experts, ...).
        index: which one.
        transposed: swap its two dimensions, so that rows are out_features.
    """
    shape = tensor.shape[1:]
    return replace(
        tensor,
        shape=shape[::-1] if transposed else shape or (1,),
        read=partial(_expert_rows, tensor, index, transposed),
    )


def _expert_rows(tensor: StoredTensor, index: int, transposed: bool, start: int, stop: int) -> Tensor:
    found = tensor.read(index, index + 1)[0]
    return (found.T if transposed else found.reshape(found.shape or (1,)))[start:stop]
