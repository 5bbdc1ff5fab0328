"""Safetensors shards, read tensor by tensor and row by row."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.stored_tensor import StoredTensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
# Codes, scales and indices, by the names that torch gives them.
_CODES = {
    "I8": "int8",
    "U8": "uint8",
    "I16": "int16",
    "U16": "uint16",
    "I32": "int32",
    "U32": "uint32",
    "I64": "int64",
    "U64": "uint64",
    "BOOL": "bool",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",
}


def read_safetensors(files: list[Path]) -> Checkpoint:
    """Read and check the headers of all shards.

    Raises:
        CheckpointError: a damaged header, a truncated file, or one name in two shards.
    """
    tensors: list[StoredTensor] = []
    home: dict[str, Path] = {}
    for file in files:
        for tensor in _header(file):
            if tensor.name in home:
                raise CheckpointError(
                    f"{file}: expected each tensor once, got {tensor.name!r} here and in {home[tensor.name].name}."
                )
            home[tensor.name] = file
            tensors.append(tensor)
    return Checkpoint("", tuple(tensors), {}, tuple(files))


def tensor_middles(file: Path) -> list[int]:
    """Return the byte offset of the middle of each tensor of a sound file (8 bytes of length, JSON header, data)."""
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        header = json.loads(handle.read(length))
    spans = [entry["data_offsets"] for name, entry in header.items() if name != "__metadata__"]
    return [8 + length + (start + stop) // 2 for start, stop in spans]


def _header(file: Path) -> list[StoredTensor]:
    try:
        with safe_open(file, framework="pt") as handle:
            return [_describe(file, name, handle.get_slice(name)) for name in handle.keys()]  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file}: expected a whole safetensors file, got {error}. Download it again or save it again."
        ) from error


def _describe(file: Path, name: str, view: Any) -> StoredTensor:
    stored = view.get_dtype()
    dtype = _DTYPES.get(stored)
    label = str(dtype).removeprefix("torch.") if dtype is not None else _CODES.get(stored, str(stored))
    return StoredTensor(name, tuple(view.get_shape()), dtype, label, partial(_read, file, name))


def _read(file: Path, name: str, start: int, stop: int) -> Tensor:
    """Return rows start..stop. The file is mapped for this read only: pages that stay mapped count as resident."""
    try:
        with safe_open(file, framework="pt") as handle:
            view = handle.get_slice(name)
            rows: Tensor = view[start:stop] if view.get_shape() else handle.get_tensor(name)
            return rows
    except SafetensorError as error:
        raise CheckpointError(f"{file}: expected to read {name!r}, got {error}. Did the file change?") from error
