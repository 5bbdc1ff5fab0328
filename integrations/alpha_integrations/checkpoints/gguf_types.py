"""The types of GGUF tensors: which can be decoded, and why not."""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch

from alpha_callbacks.checkpoints.gguf_header import GgufHeader, GgufTensor
from alpha_callbacks.errors import CheckpointError

PLAIN = {"F64": "f8", "F32": "f4", "F16": "f2", "BF16": "u2"}  # type -> numpy's, without a byte order
_INTEGERS = ("I8", "I16", "I32", "I64")
_OWN = ("Q1_0",)  # decoded here: gguf 0.19 lists it, but cannot decode it
_OF_BYTES = ("MXFP4", "NVFP4")  # blocks without numbers of several bytes: the same in both byte orders
_REMOVED = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8", 36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8",
    38: "IQ4_NL_8_8",
}  # fmt: skip


@dataclass(frozen=True)
class GgufType:
    """How values are stored.

    Attributes:
        name: "Q4_K"; of a type that gguf does not know, what its number says.
        block: values per block.
        size: bytes per block; 0 where it is not known.
    """

    name: str
    block: int
    size: int

    @property
    def dtype(self) -> torch.dtype | None:
        """What the values are decoded to: float32, F64 float64; None for integers, which are no weights."""
        return None if self.name in _INTEGERS else torch.float64 if self.name == "F64" else torch.float32


@cache
def type_of(number: int) -> GgufType:
    """Return the type that has this number in the header."""
    import gguf

    try:
        kind = gguf.GGMLQuantizationType(number)
        block, size = gguf.GGML_QUANT_SIZES[kind]
    except (ValueError, KeyError):
        removed = f" ({_REMOVED[number]}, which llama.cpp has removed)" if number in _REMOVED else ""
        return GgufType(f"ggml type {number}{removed}", 1, 0)
    return GgufType(kind.name, block, size)


@cache
def why_not(kind: GgufType, big_endian: bool) -> str:
    """Return why values of a type cannot be decoded, or an empty string."""
    import gguf

    if not kind.size:
        return f"stored as {kind.name}, not known to the installed gguf. Update it, or convert the file."
    if big_endian and kind.name not in ("F64", "F32", "F16", *_INTEGERS, *_OF_BYTES):
        return (
            f"stored as {kind.name} with the highest byte first: some writers swap the bytes of such values, others "
            "do not, and the file does not say which. Scan the little-endian file."
        )
    if kind.name in (*PLAIN, *_INTEGERS, *_OWN):
        return ""
    try:
        gguf.dequantize(np.zeros((1, kind.size), np.uint8), gguf.GGMLQuantizationType[kind.name])
    except NotImplementedError:
        return f"stored as {kind.name}, which the package gguf cannot decode. Convert the file to another type."
    return ""


def check_places(header: GgufHeader) -> None:
    """Check that each tensor lies in the file, by itself.

    Raises:
        CheckpointError: rows are no whole blocks, the file is too short, or two tensors overlap.
    """
    end, before = 0, ""
    for tensor in sorted(header.tensors, key=lambda tensor: tensor.offset):
        kind = type_of(tensor.kind)
        if tensor.shape and tensor.shape[-1] % kind.block:
            raise _damaged(header, tensor, f"rows of {tensor.shape[-1]} values in {kind.name} blocks of {kind.block}")
        nbytes = math.prod(tensor.shape) // kind.block * kind.size
        if nbytes > header.size - tensor.offset:
            raise _damaged(header, tensor, f"{nbytes} bytes where {header.size - tensor.offset} are left")
        if nbytes and tensor.offset < end:
            raise _damaged(header, tensor, f"bytes that overlap those of {before!r}")
        end, before = max(end, tensor.offset + nbytes), tensor.name


def _damaged(header: GgufHeader, tensor: GgufTensor, what: str) -> CheckpointError:
    return CheckpointError(
        f"{header.file}: expected a whole GGUF file, got {what} for {tensor.name!r}. "
        "Download it again, or convert the model again."
    )
