"""GGUF files for tests, written by the package gguf or byte by byte."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_NUMBERS = {"llama.embedding_length": 64, "llama.attention.head_count": 4, "llama.feed_forward_length": 96}


def write_gguf(
    path: Path,
    tensors: Mapping[str, Any],
    *,
    arch: str = "llama",
    numbers: Mapping[str, Any] = _NUMBERS,
    split: tuple[int, int, int] | None = None,
    big_endian: bool = False,
) -> Path:
    """Write a file.

    Args:
        path: of the file.
        tensors: name -> array, or (bytes of shape (rows, bytes per row), name of the ggml type).
        arch: general.architecture; "" leaves out all metadata, as files after the first of a split model do.
        numbers: key -> integer or list of integers.
        split: number of the file, number of files, number of tensors in all.
        big_endian: with the highest byte first.
    """
    import gguf

    endian = gguf.GGUFEndian.BIG if big_endian else gguf.GGUFEndian.LITTLE
    writer = gguf.GGUFWriter(path, arch, endianess=endian)
    if not arch:
        writer.kv_data[0].clear()
    for key, value in numbers.items() if arch else ():
        writer.add_array(key, value) if isinstance(value, list) else writer.add_uint32(key, value)
    if split:
        writer.add_uint16("split.no", split[0])
        writer.add_uint16("split.count", split[1])
        writer.add_int32("split.tensors.count", split[2])
    for name, data in tensors.items():
        if isinstance(data, tuple):
            writer.add_tensor(name, data[0], raw_dtype=gguf.GGMLQuantizationType[data[1]])
        else:
            writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def noise(*shape: int) -> Any:
    """Return normal random float32, the same for the same shape."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def text(value: str | bytes) -> bytes:
    """Return a text as GGUF stores it."""
    data = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(data)) + data


def pair(key: str | bytes, kind: int, value: bytes) -> bytes:
    """Return a metadata pair."""
    return text(key) + struct.pack("<I", kind) + value


def entry(name: str | bytes, sizes: Sequence[int], kind: int = 0, offset: int = 0) -> bytes:
    """Return the entry of a tensor; sizes in the order of the file, fastest first."""
    return text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, offset)


def gguf_bytes(
    pairs: Sequence[bytes] = (),
    entries: Sequence[bytes] = (),
    data: bytes = b"",
    *,
    version: int = 3,
    n_pairs: int | None = None,
    n_entries: int | None = None,
) -> bytes:
    """Return a file, whose counts may be wrong."""
    counts = (len(entries) if n_entries is None else n_entries, len(pairs) if n_pairs is None else n_pairs)
    header = b"GGUF" + struct.pack("<IQQ", version, *counts) + b"".join(pairs) + b"".join(entries)
    return header + bytes(-len(header) % 32) + data if data else header
