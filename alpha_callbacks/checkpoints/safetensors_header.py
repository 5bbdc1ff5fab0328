"""The header of a safetensors file: names, dtypes, shapes and offsets, checked before anything is read by them.

The format: 8 bytes of length (little endian), so many bytes of JSON, then the data without gaps.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.json_text import parsed_json

BITS = {  # of one element, by the names of the format
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}
_MOST_BYTES = 100_000_000  # of a header: the limit of the safetensors library
_MOST_DIMENSIONS = 64  # of numpy and torch
_METADATA = "__metadata__"


class Entry(NamedTuple):
    """One tensor in a file.

    Attributes:
        name: as in the header.
        dtype: a key of `BITS`.
        shape: in elements.
        start: offset of its first byte in the file.
        stop: offset behind its last byte.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True)
class Header:
    """What a file says of its tensors, in the order of the header, and the texts that it carries beside them."""

    entries: tuple[Entry, ...]
    metadata: dict[str, str] = field(default_factory=dict)


def read_header(file: Path) -> Header:
    """Read and check the header of a file.

    Raises:
        CheckpointError: not a whole safetensors file; names it.
    """
    try:
        with file.open("rb") as handle:
            return parse_header(handle.read, os.fstat(handle.fileno()).st_size, str(file))
    except OSError as error:
        raise _unreadable(str(file), error) from error


def parse_header(read: Callable[[int], bytes], size: int, where: str) -> Header:
    """Check the header of a file that lies anywhere.

    Args:
        read: `read(n)` returns the next n bytes of the file, from the first on.
        size: of the file in bytes.
        where: its path or address, for messages.

    Raises:
        CheckpointError: not a whole safetensors file.
    """
    try:
        return _checked(read, size)
    except ValueError as error:
        raise _unreadable(where, error) from error


def _unreadable(where: str, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"{where}: expected a whole safetensors file, got {error}. Download it again or save it again."
    )


def _checked(read: Callable[[int], bytes], size: int) -> Header:
    length = int.from_bytes(read(8), "little")
    if size < 8 or length > size - 8:
        raise ValueError(f"{size:,} bytes, which is less than {'a header takes' if size < 8 else 'its header'}")
    if length > _MOST_BYTES:
        raise ValueError(f"a header of {length:,} bytes, more than the {_MOST_BYTES:,} that the format allows")
    content = parsed_json(read(length), without_duplicates)
    if not isinstance(content, dict):
        raise ValueError(f"a header that is a JSON {type(content).__name__}, not an object")
    metadata = content.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"{_METADATA} that does not map names to texts")
    entries = tuple(_entry(name, described, 8 + length) for name, described in content.items())
    _require_no_gaps(entries, 8 + length, size)
    return Header(entries, metadata)


def without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs of a JSON object as a dict, for `parsed_json`.

    Raises:
        ValueError: a key comes twice.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} twice")
    return found


def _entry(name: str, described: Any, data: int) -> Entry:
    fields: dict[str, Any] = described if isinstance(described, dict) else {}
    dtype, shape, span = fields.get("dtype"), fields.get("shape"), fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"{name!r} of dtype {str(dtype)[:40]!r}, which the format does not know")
    if not _are_sizes(shape) or not _are_sizes(span) or len(span) != 2 or len(shape) > _MOST_DIMENSIONS:
        raise ValueError(f"{name!r} with a shape or offsets that are none")
    bits = math.prod(shape) * BITS[dtype]
    if bits != 8 * (span[1] - span[0]) or math.prod(size or 1 for size in shape) >= 2**63:
        raise ValueError(f"{name!r} of shape {tuple(shape)} in {span[1] - span[0]:,} bytes")
    return Entry(name, dtype, tuple(shape), data + span[0], data + span[1])


def _are_sizes(values: Any) -> TypeGuard[list[int]]:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _require_no_gaps(entries: tuple[Entry, ...], data: int, size: int) -> None:
    """Raise unless the tensors fill the file from the first byte of data to the last, each byte belonging to one."""
    end = data
    for entry in sorted(entries, key=lambda entry: (entry.start, entry.stop)):
        if entry.start != end:
            raise ValueError(f"{entry.name!r} from byte {entry.start:,} on, where the tensor before ends at {end:,}")
        end = entry.stop
    if end != size:
        raise ValueError(f"{size:,} bytes where its header describes {end:,}")
