"""The header of a GGUF file (llama.cpp): what it says about the model, and where each tensor lies. Reads no weights.

Every count and length is checked against the size of the file before it is used. Long arrays (a tokenizer has 300,000
strings) are stepped over, so that a header costs a tenth of a second and a few megabytes, whatever it claims.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

from alpha_callbacks.errors import CheckpointError

_VERSIONS = (2, 3)
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd", strict=True))  # value type -> struct format
_STRING, _ARRAY = 8, 9
_LEAST_PAIR, _LEAST_TENSOR = 8 + 4 + 1, 8 + 4 + 4 + 8  # bytes of the shortest entries
_MOST_ENTRIES = 2**20  # pairs, or tensors; the largest models have some thousands
_MOST_STRINGS = 2**23  # strings of an array; the largest vocabularies have a million merges
_MOST_SIZES = 8  # dimensions of a tensor; ggml has four
_LONGEST_NAME = 2**16
_LONGEST_TEXT = 2**16  # bytes of a text that is kept
_LONGEST_ARRAY = 4096  # numbers of an array that is kept: one per layer, or a shape
_WINDOW = 2**20


@dataclass(frozen=True)
class GgufTensor:
    """Where one tensor lies.

    Attributes:
        name: as in the file.
        shape: sizes in row-major order, rows first; the file lists the fastest dimension first.
        kind: number of its ggml type.
        offset: of its first byte, from the start of the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What stands before the weights.

    Attributes:
        file: where it was read.
        size: of the file, in bytes.
        big_endian: True where numbers are stored with the highest byte first.
        fields: key -> number, text or list of numbers; texts above 64 KiB and other arrays are left out.
        pairs: key -> where its metadata pair begins and ends in the file; all keys.
        tensors: in the order of the file.
    """

    file: Path
    size: int
    big_endian: bool
    fields: Mapping[str, Any]
    pairs: Mapping[str, tuple[int, int]]
    tensors: tuple[GgufTensor, ...]

    def middles(self) -> list[int]:
        """Return the byte offset of the middle of each tensor, its padding included."""
        bounds = [*sorted(tensor.offset for tensor in self.tensors), self.size]
        return [(start + stop) // 2 for start, stop in pairwise(bounds)]


def read_gguf_header(file: Path) -> GgufHeader:
    """Read and check the header of one file.

    Raises:
        CheckpointError: not a GGUF file, truncated, damaged, or of a version that is not known.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: expected a GGUF file, got something that is no regular file.")
    try:
        with file.open("rb") as handle:
            return _header(_Cursor(file, handle))
    except OSError as error:
        raise CheckpointError(f"{file}: expected a file that can be read, got {error.strerror or error}.") from error


def texts_of(header: GgufHeader, key: str) -> list[str]:
    """Return an array of texts that the header has stepped over, such as a vocabulary; [] where there is none.

    Raises:
        CheckpointError: the file has changed since.
    """
    begin, end = header.pairs.get(key, (0, 0))
    with header.file.open("rb") as handle:
        cursor = _Cursor(header.file, handle)
        cursor.order = ">" if header.big_endian else "<"
        cursor.skip(begin)
        pair = cursor.take(end - begin)
    place = 8 + len(key.encode())
    if pair[place : place + 8] != struct.pack(f"{cursor.order}2I", _ARRAY, _STRING):
        return []
    place, found = place + 16, list[str]()
    while place < len(pair):
        stop = place + 8 + struct.unpack_from(f"{cursor.order}Q", pair, place)[0]
        found.append(pair[place + 8 : stop].decode("utf-8", "replace"))
        place = stop
    return found


def _header(cursor: "_Cursor") -> GgufHeader:
    if (magic := cursor.take(4)) != b"GGUF":
        raise cursor.refusal(f"one that begins with {magic!r}")
    version = cursor.number("I")
    if version & 0xFFFF == 0:  # its low half is at the other end
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in _VERSIONS:
        raise cursor.refusal(f"version {version}, and {' and '.join(map(str, _VERSIONS))} are known")
    n_tensors = cursor.count("tensors", _LEAST_TENSOR, _MOST_ENTRIES)
    n_pairs = cursor.count("metadata pairs", _LEAST_PAIR, _MOST_ENTRIES)
    fields, pairs = dict[str, Any](), dict[str, tuple[int, int]]()
    for _ in range(n_pairs):
        begin = cursor.position
        key = cursor.name("a metadata key")
        if key in pairs:
            raise cursor.refusal(f"the metadata key {key!r} twice")
        value = _value(cursor, key)
        pairs[key] = begin, cursor.position
        if value is not None:
            fields[key] = value
    found = [_tensor(cursor) for _ in range(n_tensors)]
    alignment = fields.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise cursor.refusal(f"an alignment of {alignment!r}, which is no power of two")
    start = -(-cursor.position // alignment) * alignment
    placed = _placed(cursor, found, start, alignment)
    return GgufHeader(cursor.file, cursor.size, cursor.order == ">", fields, pairs, placed)


def _value(cursor: "_Cursor", key: str) -> Any:
    """Return the value that comes next, or None for one that is stepped over."""
    kind = cursor.number("I")
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind])
    if kind == _STRING:
        length = cursor.number("Q")
        if length > _LONGEST_TEXT:
            cursor.skip(length)
            return None
        return cursor.take(length).decode("utf-8", "replace")
    if kind != _ARRAY:
        raise cursor.refusal(f"a value of type {kind} for {key!r}, and GGUF has none such")
    inner = cursor.number("I")
    if inner == _STRING:
        cursor.skip_strings(cursor.count(f"texts of {key!r}", 8, _MOST_STRINGS))
        return None
    if inner not in _SCALARS:
        raise cursor.refusal(f"an array of values of type {inner} for {key!r}")
    form = _SCALARS[inner]
    width = struct.calcsize(f"<{form}")
    length = cursor.count(f"numbers of {key!r}", width, cursor.size)
    if length > _LONGEST_ARRAY:
        cursor.skip(length * width)
        return None
    return list(struct.unpack(f"{cursor.order}{length}{form}", cursor.take(length * width)))


def _tensor(cursor: "_Cursor") -> GgufTensor:
    """Return the entry that comes next; its offset still counts from the start of the weights."""
    name = cursor.name("a tensor")
    n_sizes = cursor.number("I")
    if n_sizes > _MOST_SIZES:
        raise cursor.refusal(f"{n_sizes} dimensions for {name!r}")
    sizes = tuple(cursor.number("Q") for _ in range(n_sizes))
    return GgufTensor(name, sizes[::-1], cursor.number("I"), cursor.number("Q"))


def _placed(cursor: "_Cursor", tensors: list[GgufTensor], start: int, alignment: int) -> tuple[GgufTensor, ...]:
    """Return the tensors with offsets from the start of the file."""
    names = set[str]()
    for tensor in tensors:
        if tensor.name in names:
            raise cursor.refusal(f"the tensor {tensor.name!r} twice")
        names.add(tensor.name)
        if tensor.offset % alignment or start + tensor.offset > cursor.size:
            raise cursor.refusal(
                f"the offset {tensor.offset} for {tensor.name!r} in {max(0, cursor.size - start)} bytes of weights"
            )
    return tuple(GgufTensor(t.name, t.shape, t.kind, start + t.offset) for t in tensors)


class _Cursor:
    """A place in a file, which moves forward and never beyond the end."""

    def __init__(self, file: Path, handle: BinaryIO) -> None:
        self.file, self._handle = file, handle
        self.size = handle.seek(0, 2)
        self.position = handle.seek(0)
        self.order = "<"

    def refusal(self, what: str) -> CheckpointError:
        """Return the error that says what was found."""
        return CheckpointError(
            f"{self.file}: expected a whole GGUF file, got {what}. Download it again, or convert the model again."
        )

    def take(self, length: int) -> bytes:
        """Return the next bytes."""
        self._check(length)
        self.position += length
        found = self._handle.read(length)
        if len(found) != length:
            raise self.refusal("fewer bytes than a moment ago")
        return found

    def skip(self, length: int) -> None:
        """Step over bytes."""
        self._check(length)
        self.position = self._handle.seek(self.position + length)

    def number(self, form: str) -> Any:
        """Return the next number; `form` is its letter in `struct`."""
        form = f"{self.order}{form}"
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def count(self, what: str, least: int, most: int) -> int:
        """Return the number of entries that follow, of at least `least` bytes each."""
        found = int(self.number("Q"))
        room = (self.size - self.position) // least
        if found > min(room, most):
            raise self.refusal(f"a count of {found} {what}, where {min(room, most)} have room")
        return found

    def name(self, what: str) -> str:
        """Return the next text, which names something."""
        length = self.number("Q")
        if length > _LONGEST_NAME:
            raise self.refusal(f"{what} whose name has {length} bytes")
        try:
            return self.take(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.refusal(f"{what} whose name is no UTF-8: {error.object[:40]!r}") from error

    def skip_strings(self, count: int) -> None:
        """Step over texts, each with its length before it, in windows of a megabyte: reading each one is slow."""
        length_at = struct.Struct(f"{self.order}Q").unpack_from
        while count:
            window = self._handle.read(_WINDOW)
            place, last = 0, len(window) - 8
            while count and place <= last:
                place += 8 + length_at(window, place)[0]
                count -= 1
            if not place:
                raise self.refusal("an end in the middle of its metadata")
            self._check(place)
            self.position = self._handle.seek(self.position + place)

    def _check(self, length: int) -> None:
        if length > self.size - self.position:
            raise self.refusal(f"{self.size} bytes that end in the middle of its header")
