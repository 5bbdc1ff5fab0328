"""Safetensors shards, read tensor by tensor and row by row from the offsets in their headers.

Nothing is mapped: a mapped page counts as resident memory, and one that another program cuts off ends the process.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from alpha_callbacks.checkpoints.checkpoint import Checkpoint
from alpha_callbacks.checkpoints.safetensors_header import BITS, Entry, Header, read_header
from alpha_callbacks.checkpoints.unchanged import Stamp, require_same, stamp_of
from alpha_callbacks.errors import CheckpointError, SourceError
from alpha_callbacks.weights.stored_tensor import StoredTensor

_WEIGHTS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
}
_CODES = {  # what weights may be coded in or scaled by, by the names of torch, of which some need torch 2.8
    "BOOL": "bool",
    "U8": "uint8",
    "I8": "int8",
    "U16": "uint16",
    "I16": "int16",
    "U32": "uint32",
    "I32": "int32",
    "U64": "uint64",
    "I64": "int64",
    "C64": "complex64",
    "F8_E8M0": "float8_e8m0fnu",
    "F4": "float4_e2m1fn_x2",  # two in a byte
}
_PADDLE = (  # its name in `format`, as safetensors has "pt" of torch
    "Saved by Paddle, which stores the matrices of linear layers as (in, out): alpha is the same, but shapes are those "
    "of the transpose, and formats with a scale per row or group are measured along the wrong side. Convert the "
    "checkpoint to PyTorch's names and layout before you measure such formats."
)
_NOT_WEIGHTS = {
    "BOOL": "stored as BOOL, a mask and not weights",
    "C64": "stored as complex numbers, which have no alpha here",
    "F6_E2M3": "stored as 6-bit numbers, which torch cannot hold",
    "F6_E3M2": "stored as 6-bit numbers, which torch cannot hold",
}


@dataclass(frozen=True)
class Shard:
    """One file of a checkpoint, wherever it lies.

    Attributes:
        where: its path or address, for messages.
        header: checked.
        fill: `fill(buffer, offset)` fills a buffer with the bytes of the file from an offset on.
        on_disk: many small reads cost little.
    """

    where: str
    header: Header
    fill: Callable[[memoryview, int], None]
    on_disk: bool = False


def read_safetensors(files: list[Path]) -> Checkpoint:
    """Read and check the headers of all shards.

    Raises:
        CheckpointError: a damaged header, a truncated file, or one name in two shards.
    """
    stamps = {file: stamp_of(file) for file in files}
    shards = [Shard(str(file), read_header(file), partial(_fill, file, stamp), True) for file, stamp in stamps.items()]
    return join_shards(shards, tuple(files))


def join_shards(shards: Iterable[Shard], files: tuple[Path, ...]) -> Checkpoint:
    """Return the tensors of all shards as one checkpoint.

    Raises:
        CheckpointError: one name in two shards.
    """
    tensors: list[StoredTensor] = []
    home: dict[str, Shard] = {}
    metadata: dict[str, str] = {}
    for shard in shards:
        metadata = {**shard.header.metadata, **metadata}  # they repeat theirs; where they differ, the first one counts
        for entry in shard.header.entries:
            if entry.name in home:
                other = Path(home[entry.name].where).name
                raise CheckpointError(
                    f"{shard.where}: expected each tensor once, got {entry.name!r} here and in {other}."
                )
            home[entry.name] = shard
            tensors.append(_stored(shard, entry))
    notes = (_PADDLE,) if metadata.get("format") == "pd" else ()
    return Checkpoint("", tuple(tensors), {}, files, metadata=metadata, notes=notes)


def tensor_middles(file: Path) -> list[int]:
    """Return the byte offset of the middle of each tensor of a file."""
    return [(entry.start + entry.stop) // 2 for entry in read_header(file).entries]


def _stored(shard: Shard, entry: Entry) -> StoredTensor:
    dtype = _WEIGHTS.get(entry.dtype)
    label = str(dtype).removeprefix("torch.") if dtype is not None else _CODES.get(entry.dtype, entry.dtype)
    read, packed = partial(_read, shard, entry), _NOT_WEIGHTS.get(entry.dtype, "")
    whole = len(entry.shape) == 2 and BITS[entry.dtype] % 8 == 0 and hasattr(torch, label)
    columns = partial(_read_columns, shard, entry) if whole and shard.on_disk else None
    return StoredTensor(entry.name, entry.shape, dtype, label, read, packed=packed, columns=columns)


def _read(shard: Shard, entry: Entry, start: int, stop: int) -> Tensor:
    """Return rows start..stop, or all of a tensor without dimensions."""
    dtype = _WEIGHTS.get(entry.dtype) or getattr(torch, _CODES.get(entry.dtype, ""), None)
    shape, offset = list(entry.shape), entry.start
    if shape:
        start, stop, _ = slice(start, stop).indices(shape[0])
        bits = math.prod(shape[1:]) * BITS[entry.dtype]
        shape[0], offset = max(0, stop - start), offset + start * bits // 8
    if entry.dtype == "F4" and shape:
        shape[-1] //= 2
    if dtype is None or math.prod(entry.shape[-1:]) * BITS[entry.dtype] % 8:
        raise CheckpointError(f"{shard.where}: expected {entry.name!r} in numbers that torch holds, got {entry.dtype}.")
    found = torch.empty(shape, dtype=dtype)
    if found.numel():
        shard.fill(found.reshape(-1).view(torch.uint8).numpy().data, offset)
    return found


def _read_columns(shard: Shard, entry: Entry, start: int, stop: int) -> Tensor:
    """Return columns start..stop of a matrix, reading no others."""
    (rows, columns), size = entry.shape, BITS[entry.dtype] // 8
    found = torch.empty(rows, stop - start, dtype=_WEIGHTS.get(entry.dtype) or getattr(torch, _CODES[entry.dtype]))
    if found.numel():
        for row, line in enumerate(found.view(torch.uint8).numpy()):
            shard.fill(line.data, entry.start + (row * columns + start) * size)
    return found


def _fill(file: Path, stamp: Stamp, rest: memoryview, offset: int) -> None:
    try:
        with file.open("rb", buffering=0) as handle:
            require_same(file, stamp, handle.fileno())
            handle.seek(offset)
            while rest:
                count = handle.readinto(rest)  # at most 2 GiB at a time
                if not count:
                    raise SourceError(f"{file}: expected {len(rest):,} more bytes, got none. Did the file change?")
                rest = rest[count:]
    except OSError as error:
        raise SourceError(f"{file}: expected to read from it, got {error}. Did the file change?") from error
