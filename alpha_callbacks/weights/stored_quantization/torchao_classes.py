"""The tensor subclasses of torchao that can be decoded, each as its own `dequantize` computes it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.grouped_codes import readable
from alpha_callbacks.weights.stored_quantization.unpack_bits import power_of_two, unpack_bits, unpack_fp4
from alpha_callbacks.weights.stored_tensor import StoredTensor

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_TILE_ROWS, _TILE_COLUMNS = 128, 4  # of the scales as Blackwell's tensor cores read them


@dataclass(frozen=True)
class Subclass:
    """A tensor subclass as stored.

    Attributes:
        kind: name of the class.
        codes: its `qdata`.
        parts: name -> its other tensors.
        attributes: name -> what is not a tensor.
    """

    kind: str
    codes: StoredTensor
    parts: Mapping[str, StoredTensor]
    attributes: Mapping[str, Any]


Decoder = Callable[[Subclass], dict[str, Any] | None]


def _described(value: object, names: Mapping[str, torch.dtype]) -> torch.dtype | None:
    """Return the type that JSON like {"_type": "torch.dtype", "_data": "bfloat16"} names."""
    return names.get(str(value.get("_data"))) if isinstance(value, Mapping) else None


def _matrix(of: Subclass, per_item: int = 1) -> tuple[int, int] | None:
    if len(of.codes.shape) != 2 or not all(map(readable, (of.codes, *of.parts.values()))):
        return None
    return of.codes.shape[0], of.codes.shape[1] * per_item


def _blocks(block_size: object, shape: tuple[int, int]) -> tuple[int, int] | None:
    """Return rows and columns that share a scale."""
    if not (isinstance(block_size, Sequence) and len(block_size) == 2):
        return None
    sizes = [n if n > 0 else whole for n, whole in zip(block_size, shape, strict=True) if type(n) is int]
    fits = len(sizes) == 2 and all(whole % n == 0 for n, whole in zip(sizes, shape, strict=True))
    return (sizes[0], sizes[1]) if fits else None


def _spread(part: StoredTensor, blocks: tuple[int, int], shape: tuple[int, int], start: int, stop: int) -> Tensor:
    """Return a value per block as one per weight, or one per row where rows have one; for rows start..stop."""
    grid = (shape[0] // blocks[0], shape[1] // blocks[1])
    values = part.read(0, part.shape[0] if part.shape else 1).reshape(grid)
    rows = values.index_select(0, torch.arange(start, stop, device=values.device) // blocks[0])
    return rows if grid[1] == 1 else rows.repeat_interleave(blocks[1], dim=1)


def _count(part: StoredTensor) -> int:
    return torch.Size(part.shape).numel()


def _integers(of: Subclass) -> dict[str, Any] | None:
    """Int8Tensor, IntxUnpackedToInt8Tensor: (code - zero point) * scale, in the type of the original."""
    shape, dtype = _matrix(of), _described(of.attributes.get("dtype"), _DTYPES)
    blocks = _blocks(of.attributes.get("block_size"), shape) if shape else None
    scale, zero = of.parts.get("scale"), of.parts.get("zero_point")
    if shape is None or dtype is None or blocks is None or scale is None or scale.dtype is None:
        return None
    values = shape[0] // blocks[0] * (shape[1] // blocks[1])
    if of.codes.stored_dtype != "int8" or any(_count(part) != values for part in (scale, zero) if part is not None):
        return None
    target = of.attributes.get("target_dtype")
    bits = f"{target['_data']}" if isinstance(target, Mapping) and "_data" in target else "int8"

    def read(start: int, stop: int) -> Tensor:
        codes = of.codes.read(start, stop).to(dtype)
        if zero is not None:
            codes = codes - _spread(zero, blocks, shape, start, stop).to(dtype)
        return (codes * _spread(scale, blocks, shape, start, stop)).to(dtype)

    return _decoded(of, shape, dtype, f"{bits}, {_words(blocks, shape)}", read)


def _float8(of: Subclass) -> dict[str, Any] | None:
    """Float8Tensor: code * scale in float32, rounded to the type of the original."""
    shape, dtype = _matrix(of), _described(of.attributes.get("dtype"), _DTYPES)
    scale = of.parts.get("scale")
    if shape is None or dtype is None or scale is None or scale.dtype is None or of.codes.dtype not in _FLOAT8:
        return None
    rows, columns = scale.shape if len(scale.shape) == 2 else (1, 1)
    if len(scale.shape) != 2 and _count(scale) != 1 or shape[0] % rows or shape[1] % columns:
        return None
    blocks = (shape[0] // rows, shape[1] // columns)

    def read(start: int, stop: int) -> Tensor:
        return (of.codes.read(start, stop).float() * _spread(scale, blocks, shape, start, stop)).to(dtype)

    return _decoded(of, shape, dtype, f"{of.codes.stored_dtype}, {_words(blocks, shape)}", read)


def _int4(of: Subclass) -> dict[str, Any] | None:
    """Int4Tensor: signed code * scale + zero point; scales and zero points are stored transposed."""
    shape = _matrix(of, per_item=2)
    scale, zero = of.parts.get("scale"), of.parts.get("zero_point")
    if shape is None or scale is None or zero is None or scale.dtype is None or zero.dtype is None:
        return None
    groups = scale.shape[0] if len(scale.shape) == 2 else 0
    if not groups or shape[1] % groups or scale.shape != (groups, shape[0]) or zero.shape != scale.shape:
        return None
    if of.codes.stored_dtype not in ("int8", "uint8"):
        return None
    size = shape[1] // groups

    def read(start: int, stop: int) -> Tensor:
        codes = unpack_bits(of.codes.read(start, stop), 4, shape[1]).int()
        signed = torch.where(codes > 7, codes - 16, codes).float()
        factors, offsets = (
            part.read(0, groups)[:, start:stop].T.float().repeat_interleave(size, dim=1) for part in (scale, zero)
        )
        return signed.mul_(factors).add_(offsets)

    return _decoded(of, shape, torch.float32, f"int4, {_words((1, size), shape)}", read)


def _scaled_floats(of: Subclass) -> dict[str, Any] | None:
    """MXTensor, NVFP4Tensor: float codes times a scale per block of columns, rounded to the type of the original."""
    nvfp4 = of.kind == "NVFP4Tensor"
    fp4 = nvfp4 or of.codes.dtype not in _FLOAT8
    shape, dtype = _matrix(of, 2 if fp4 else 1), _described(of.attributes.get("orig_dtype"), _DTYPES)
    size, scale, whole = of.attributes.get("block_size"), of.parts.get("scale"), of.parts.get("per_tensor_scale")
    element = of.attributes.get("elem_dtype")
    known = nvfp4 or (isinstance(element, Mapping) and (element.get("_data") == "float4_e2m1fn_x2") == fp4)
    if shape is None or dtype is None or scale is None or type(size) is not int or size < 1 or shape[1] % size:
        return None
    if not known or (whole is not None and _count(whole) != 1):
        return None
    grid, swizzled = (shape[0], shape[1] // size), of.attributes.get("is_swizzled_scales") is True
    if _count(scale) != (_padded(grid) if swizzled else grid[0] * grid[1]):
        return None

    def read(start: int, stop: int) -> Tensor:
        codes = of.codes.read(start, stop)
        values = unpack_fp4(codes.view(torch.uint8)) if fp4 else codes.float()
        stored = scale.read(0, scale.shape[0])
        stored = _unswizzled(stored, grid) if swizzled else stored.reshape(grid)
        factors = stored[start:stop].float() if nvfp4 else power_of_two(stored[start:stop])
        if whole is not None:
            factors = whole.read(0, 1).float().reshape(()) * factors
        return (values * factors.repeat_interleave(size, dim=1)).to(dtype)

    return _decoded(of, shape, dtype, f"{'fp4' if fp4 else of.codes.stored_dtype}, block {size}", read)


def _padded(grid: tuple[int, int]) -> int:
    return -(-grid[0] // _TILE_ROWS) * _TILE_ROWS * (-(-grid[1] // _TILE_COLUMNS) * _TILE_COLUMNS)


def _unswizzled(stored: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return scales row by row that are stored in tiles of 128 x 4, each as 32 x 16.

    Source: cuBLAS, "1D block scaling factors layout".
    """
    across = -(-grid[1] // _TILE_COLUMNS)
    bytes_ = stored.contiguous().view(torch.uint8).reshape(-1, across, 32, _TILE_ROWS // 32, _TILE_COLUMNS)
    rows = bytes_.permute(0, 3, 2, 1, 4).reshape(-1, across * _TILE_COLUMNS)
    return rows[: grid[0], : grid[1]].contiguous().view(stored.dtype)


def _words(blocks: tuple[int, int], shape: tuple[int, int]) -> str:
    if blocks == shape:
        return "tensor"
    if blocks[0] > 1:
        return f"block {blocks[0]}x{blocks[1]}"
    return "row" if blocks[1] == shape[1] else f"group {blocks[1]}"


def _decoded(
    of: Subclass, shape: tuple[int, int], dtype: torch.dtype, words: str, read: Callable[[int, int], Tensor]
) -> dict[str, Any]:
    return {"shape": shape, "dtype": dtype, "stored_dtype": f"torchao {of.kind} ({words})", "read": partial(read)}


DECODERS: Mapping[str, Decoder] = {
    "Int8Tensor": _integers,
    "IntxUnpackedToInt8Tensor": _integers,
    "Float8Tensor": _float8,
    "Int4Tensor": _int4,
    "MXTensor": _scaled_floats,
    "NVFP4Tensor": _scaled_floats,
}
