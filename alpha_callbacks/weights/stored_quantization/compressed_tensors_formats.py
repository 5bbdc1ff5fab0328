"""The formats of compressed-tensors: tensors of one module -> how its matrix is decoded, checked against its scheme."""

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.compressed_tensors_config import Scheme
from alpha_callbacks.weights.stored_quantization.scaled import (
    EXPONENTS,
    REAL,
    Blocks,
    Scaled,
    as_numbers,
    blocks_of,
)
from alpha_callbacks.weights.stored_quantization.unpack_bits import unpack_bits, unpack_fp4, unpack_fp6
from alpha_callbacks.weights.stored_tensor import StoredTensor

NUMBERS = {"int8": ("int", 8), "float8_e4m3fn": ("float", 8)}  # codes that are stored one by one


class UnclearError(Exception):
    """Tensors that do not fit together, or not to their scheme; the text says which."""


def matrix_of(codes: StoredTensor, beside: Mapping[str, StoredTensor], scheme: Scheme | None) -> tuple[Scaled, str]:
    """Return how the matrix of a module is decoded, and what its codes are in words.

    Args:
        codes: `weight` or `weight_packed`, 2-D.
        beside: what a companion holds -> that tensor.
        scheme: what the config says, or None where it says nothing: then the shapes must leave no choice.

    Raises:
        UnclearError: the tensors contradict each other or the scheme, or leave it open.
    """
    if codes.name.rpartition(".")[2] == "weight":
        return _single(codes, beside, scheme)
    if codes.stored_dtype == "int32":
        return _packed_integers(codes, beside, scheme)
    if codes.stored_dtype == "uint8":
        return _packed_floats(codes, beside, scheme)
    raise UnclearError(f"packed codes of {codes.stored_dtype}")


def _single(codes: StoredTensor, beside: Mapping[str, StoredTensor], scheme: Scheme | None) -> tuple[Scaled, str]:
    """Codes of `naive-`, `int-` and `float-quantized` and of `mxfp8-quantized`."""
    scale, zeros = beside["scales"], beside.get("zero points")
    kind, bits = NUMBERS[codes.stored_dtype]
    if scheme and scheme.kind == kind == "int":
        bits = scheme.bits  # fewer than 8 are stored in int8 too
    words = codes.stored_dtype if bits == 8 else f"int{bits} in int8"
    blocks = _blocks(words, (kind, bits), scale, (codes.shape[0], codes.shape[1]), scheme)
    _only(words, beside, {"scales", "zero points", "indices"})
    _check_zero_points(words, beside, scheme)
    if scale.stored_dtype in EXPONENTS:
        if kind == "int" or zeros is not None or (blocks.rows, blocks.columns) != (1, 32):
            raise UnclearError(f"{words} with scales of {scale.stored_dtype} per {blocks.words}")
        return Scaled(codes, codes.shape[1], Tensor.float, scale, blocks, dtype=torch.bfloat16), f"mxfp8 ({words})"
    if zeros is not None and (zeros.shape != scale.shape or zeros.stored_dtype != codes.stored_dtype):
        raise UnclearError(f"{words} with zero points of shape {zeros.shape} for scales of shape {scale.shape}")
    return Scaled(
        codes,
        codes.shape[1],
        Tensor.float,
        scale,
        blocks,
        zeros=None if zeros is None else zeros.read,
        group_of_column=_order(words, beside, scale, codes.shape[1]),
        dtype=_real(words, scale),
    ), words


def _packed_integers(
    codes: StoredTensor, beside: Mapping[str, StoredTensor], scheme: Scheme | None
) -> tuple[Scaled, str]:
    """Codes of `pack-quantized`: a dense stream of unsigned codes, 2^(bits - 1) above the signed ones."""
    scale, zeros = beside["scales"], beside.get("zero points")
    out_features, in_features = _said_shape(codes, beside)
    found = [b for b in range(1, 9) if math.ceil(in_features * b / 32) == codes.shape[1]]
    bits = scheme.bits if scheme else found[0] if len(found) == 1 else 0
    words = f"int{bits}" if bits else "packed integers"
    if bits not in found or out_features != codes.shape[0]:
        raise UnclearError(f"{words} packed into shape {codes.shape} for a matrix of {out_features} x {in_features}")
    blocks = _blocks(words, ("int", bits), scale, (out_features, in_features), scheme)
    _only(words, beside, {"scales", "zero points", "shape", "indices"})
    _check_zero_points(words, beside, scheme)
    if zeros is not None and blocks.rows != 1:
        raise UnclearError(f"{words} with zero points per {blocks.words}")
    return Scaled(
        codes,
        in_features,
        partial(_integers, bits, in_features),
        scale,
        blocks,
        zeros=None if zeros is None else _zero_points(words, zeros, scale, bits),
        group_of_column=_order(words, beside, scale, in_features),
        dtype=_real(words, scale),
    ), words if zeros is None else f"{words} with zero points"


def _packed_floats(
    codes: StoredTensor, beside: Mapping[str, StoredTensor], scheme: Scheme | None
) -> tuple[Scaled, str]:
    """Codes of `nvfp4-`, `mxfp4-` and `mxfp6-pack-quantized`: two in a byte, or four in three bytes."""
    scale, whole = beside["scales"], beside.get("scale of the scales")
    nv = scale.stored_dtype == "float8_e4m3fn"
    if not nv and scale.stored_dtype not in EXPONENTS:
        raise UnclearError(f"packed floats with scales of {scale.stored_dtype}")
    bits = 6 if not nv and 24 * scale.shape[-1] == codes.shape[1] else 4
    words = "nvfp4" if nv else f"mxfp{bits}"
    in_features = codes.shape[1] * 8 // bits
    blocks = _blocks(words, ("float", bits), scale, (codes.shape[0], in_features), scheme)
    _only(words, beside, {"scales", "scale of the scales"} if nv else {"scales"})
    if blocks.rows != 1 or in_features // blocks.columns != scale.shape[-1] or blocks.columns != (16 if nv else 32):
        raise UnclearError(f"{words} with a scale per {blocks.words}")
    if nv and (whole is None or whole.numel != 1 or whole.stored_dtype not in REAL):
        raise UnclearError("nvfp4 without one weight_global_scale")
    numbers = as_numbers if whole is None else partial(_divided, whole)
    values = unpack_fp4 if bits == 4 else unpack_fp6
    return Scaled(codes, in_features, values, scale, blocks, numbers, dtype=torch.bfloat16), words


def _blocks(
    words: str, stored: tuple[str, int], scale: StoredTensor, matrix: tuple[int, int], scheme: Scheme | None
) -> Blocks:
    """Return which weights share a scale, by the scheme if there is one."""
    if scheme is None:
        found = blocks_of(scale.shape, matrix)
        if found is None:
            raise UnclearError(f"{words} with scales of shape {scale.shape}, which leave the blocks open")
        return found
    blocks, (rows, columns) = scheme.blocks(*matrix)
    fits = scale.shape == (rows, columns) or columns == 1 and scale.shape in ((rows,), () if rows == 1 else (rows,))
    if not fits or stored != (scheme.kind, scheme.bits):
        raise UnclearError(
            f"{words} with scales of shape {scale.shape} where its quantization_config says {scheme.words}"
        )
    return blocks


def _check_zero_points(words: str, beside: Mapping[str, StoredTensor], scheme: Scheme | None) -> None:
    if scheme and not scheme.symmetric and "zero points" not in beside:
        raise UnclearError(f"{words} without the zero points that its quantization_config names")


def _only(words: str, beside: Mapping[str, StoredTensor], known: set[str]) -> None:
    if foreign := sorted(beside.keys() - known):
        raise UnclearError(f"{words} with {foreign[0]}")


def _real(words: str, scale: StoredTensor) -> torch.dtype:
    if scale.stored_dtype not in REAL or scale.dtype is None:
        raise UnclearError(f"{words} with scales of {scale.stored_dtype}")
    return scale.dtype


def _said_shape(codes: StoredTensor, beside: Mapping[str, StoredTensor]) -> tuple[int, int]:
    said = beside.get("shape")
    if said is None or said.shape != (2,) or said.stored_dtype not in ("int64", "int32"):
        raise UnclearError("packed integers without weight_shape")
    rows, columns = (int(size) for size in said.read(0, 2))
    if not 0 < columns <= 32 * codes.shape[1]:
        raise UnclearError(f"packed integers with the weight_shape {rows} x {columns}")
    return rows, columns


def _integers(bits: int, count: int, packed: Tensor) -> Tensor:
    return unpack_bits(packed, bits, count).float().sub_(2 ** (bits - 1))


def _zero_points(words: str, zeros: StoredTensor, scale: StoredTensor, bits: int) -> Callable[[int, int], Tensor]:
    """Return a reader of the zero points of some rows: packed down the columns, or one by one as in old files."""
    if zeros.shape == scale.shape and zeros.stored_dtype == "int8":
        return zeros.read
    packed = (math.ceil(scale.shape[0] * bits / 32), math.prod(scale.shape[1:]))
    if zeros.shape != packed or zeros.stored_dtype != "int32":
        raise UnclearError(f"{words} with zero points of {zeros.stored_dtype} and shape {zeros.shape}")

    def read(first: int, last: int) -> Tensor:
        start = first // 32  # codes of 32 rows fill as many words as a code has bits
        stream = zeros.read(start * bits, min(math.ceil(last / 32) * bits, packed[0])).T
        return _integers(bits, last - 32 * start, stream)[:, first - 32 * start :].T

    return read


def _order(words: str, beside: Mapping[str, StoredTensor], scale: StoredTensor, in_features: int) -> Tensor | None:
    """Return which group a column belongs to, where the columns were quantized in another order."""
    indices = beside.get("indices")
    if indices is None:
        return None
    groups = scale.shape[-1] if len(scale.shape) == 2 else 1
    found = indices.read(0, in_features).long() if indices.shape == (in_features,) else torch.empty(0).long()
    if len(found) and bool((found == -1).any()):
        return None  # how the library marks that it is not in use
    counts = torch.bincount(found, minlength=groups) if len(found) and int(found.min()) >= 0 else torch.empty(0)
    if len(counts) != groups or bool((counts != in_features // groups).any()):
        raise UnclearError(f"{words} with a weight_g_idx that does not divide the columns into {groups} groups")
    return found


def _divided(whole: StoredTensor, scales: Tensor) -> Tensor:
    return scales.float() / whole.read(0, 1).float().flatten()
