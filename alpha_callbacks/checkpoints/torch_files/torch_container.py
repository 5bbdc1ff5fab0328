"""A file of torch.save: where its pickle and its storages lie, in a zip archive or in the older form."""

import io
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

from alpha_callbacks.checkpoints.torch_files.file_part import FilePart
from alpha_callbacks.checkpoints.torch_files.pickle_opcodes import MOST_BYTES, read_pickle
from alpha_callbacks.checkpoints.torch_files.pickled_objects import Foreign
from alpha_callbacks.checkpoints.torch_files.torch_objects import Storage, construct, resolve, storage_of
from alpha_callbacks.errors import CheckpointError

_ZIP = b"PK\x03\x04"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_NEWEST_VERSION = 10  # of the archive's layout
_LOCAL_HEADER = 30  # bytes of a zip member's header before its name


@dataclass(frozen=True)
class TorchContainer:
    """The object that was saved, with the places of its values.

    Attributes:
        file: the file.
        content: dicts, lists, `PickledTensor` and `Foreign` objects.
        places: storage -> offset of its first byte in the file; a zip member's offset is that of its header.
        foreign: paths of the classes and functions that were not called.
        swapped: values have the other byte order.
        zipped: places are those of zip members.
    """

    file: Path
    content: Any
    places: Mapping[str, int]
    foreign: tuple[str, ...]
    swapped: bool = False
    zipped: bool = True

    def start_of(self, storage: Storage) -> int:
        """Return the offset of a storage's first byte in the file.

        Raises:
            CheckpointError: the file has changed.
        """
        place = self.places[storage.key]
        return place + _header_size(self.file, place) if self.zipped else place


def open_container(file: Path, start: int = 0, size: int | None = None) -> TorchContainer:
    """Read the pickle of a file of torch.save, or of a part of a file that holds one, and check where its storages are.

    Raises:
        CheckpointError: not readable, not such a file, damaged, compressed, or beyond the limits.
    """
    if not file.is_file():
        raise CheckpointError(f"{file}: expected a regular file, got a folder, a pipe or a device.")
    try:
        with FilePart(file, start, size) as handle:
            magic = handle.read(4)
            handle.seek(0)
            return _open_zip(file, start, handle) if magic == _ZIP else _open_legacy(file, start, handle)
    except OSError as error:
        raise CheckpointError(f"{file}: expected to read it, got: {error.strerror or error}.") from error
    except (ValueError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(
            f"{file}: expected a whole file of torch.save, got {error}. Copy or download it again, or save the "
            "model's state_dict with safetensors."
        ) from error


class _Reading:
    """What was met while a pickle was read."""

    def __init__(self) -> None:
        self.storages: dict[str, Storage] = {}
        self.foreign: dict[str, None] = {}

    def construct(self, path: str, args: tuple[Any, ...]) -> Any:
        made = construct(path, args)
        if isinstance(made, Foreign):
            self.foreign[made.of] = None
        return made

    def persistent(self, pid: Any) -> Storage:
        found = storage_of(pid)
        known = self.storages.setdefault(found.key, found)
        if known.nbytes < found.nbytes:
            raise ValueError(f"one storage with {known.nbytes:,} and {found.nbytes:,} bytes")
        return found

    def read(self, data: bytes, start: int = 0) -> tuple[Any, int]:
        return read_pickle(data, construct=self.construct, resolve=resolve, persistent=self.persistent, start=start)


def _open_zip(file: Path, start: int, handle: FilePart) -> TorchContainer:
    members: dict[str, zipfile.ZipInfo] = {}
    with zipfile.ZipFile(cast(IO[bytes], handle)) as archive:
        for info in archive.infolist():
            if info.filename in members:
                raise ValueError(f"an archive that holds {info.filename!r} twice")
            members[info.filename] = info
    pickles = [name for name in members if name.rpartition("/")[2] == "data.pkl" and name.count("/") <= 1]
    if len(pickles) != 1:
        some = ", ".join(sorted(members)[:3])
        raise ValueError(f"a zip archive of another kind ({some or 'empty'})")
    prefix = pickles[0].removesuffix("data.pkl")
    if f"{prefix}constants.pkl" in members:
        raise CheckpointError(
            f"{file}: expected a state dict, got a TorchScript archive, whose tensors belong to its code. Save them: "
            f"torch.save(torch.jit.load({file.name!r}).state_dict(), 'weights.pt')."
        )
    content, reading = _read_content(handle, members[pickles[0]])
    order = _text_of(handle, members.get(f"{prefix}byteorder"))
    version = _text_of(handle, members.get(f"{prefix}version") or members.get(f"{prefix}.format_version"))
    if order not in ("", "little", "big"):
        raise ValueError(f"a byte order of {order!r}")
    if version and not (version.isdecimal() and int(version[:9]) <= _NEWEST_VERSION):
        raise ValueError(f"version {version!r} of the format, which is not known")
    places = {}
    for key, storage in reading.storages.items():
        member = members.get(f"{prefix}data/{key}")
        if member is None:
            raise ValueError(f"an archive without the values of storage {key!r}")
        _require_plain(member)
        if member.file_size < storage.nbytes:
            raise ValueError(f"{member.file_size:,} bytes for a storage of {storage.nbytes:,}")
        places[key] = start + member.header_offset
    return TorchContainer(file, content, places, tuple(reading.foreign), swapped=order == "big")


def _read_content(handle: FilePart, info: zipfile.ZipInfo) -> tuple[Any, _Reading]:
    reading = _Reading()
    return reading.read(_member(handle, info))[0], reading


def _text_of(handle: FilePart, info: zipfile.ZipInfo | None) -> str:
    return _member(handle, info)[:64].decode("ascii", errors="backslashreplace").strip() if info else ""


def _member(handle: FilePart, info: zipfile.ZipInfo) -> bytes:
    """Return a whole member, its checksum compared."""
    _require_plain(info)
    if info.file_size > MOST_BYTES:
        raise ValueError(f"{info.filename!r} of {info.file_size:,} bytes (the limit is {MOST_BYTES:,})")
    handle.seek(info.header_offset)
    handle.seek(info.header_offset + _header_of(handle.read(_LOCAL_HEADER)))
    data = handle.read(info.file_size)
    if len(data) < info.file_size or info.CRC and zlib.crc32(data) != info.CRC:
        raise ValueError(f"{info.filename!r} with a wrong checksum")
    return data


def _require_plain(info: zipfile.ZipInfo) -> None:
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
        raise ValueError(
            f"a compressed or encrypted archive ({info.filename!r}), whose rows cannot be read one by one; "
            "load it with torch and save it again"
        )


def _header_size(file: Path, place: int) -> int:
    """Return the bytes of a member's own header: its extra field pads the values to a multiple of 64 bytes."""
    with FilePart(file, place, _LOCAL_HEADER) as handle:
        try:
            return _header_of(handle.read(_LOCAL_HEADER))
        except ValueError as error:
            raise CheckpointError(f"{file}: expected the archive as it was, got {error}. Did it change?") from error


def _header_of(raw: bytes) -> int:
    if len(raw) < _LOCAL_HEADER or raw[:4] != _ZIP:
        raise ValueError("an archive whose members are not where it says")
    return _LOCAL_HEADER + int.from_bytes(raw[26:28], "little") + int.from_bytes(raw[28:30], "little")


def _open_legacy(file: Path, start: int, handle: FilePart) -> TorchContainer:
    """Read the format before torch 1.6: pickles of a magic number, of the content and of the keys, then the values."""
    data, reading = handle.read(MOST_BYTES), _Reading()
    try:
        magic, at = _Reading().read(data)
        protocol, at = _Reading().read(data, at)
        machine, at = _Reading().read(data, at)
    except ValueError as error:
        raise ValueError(_what_it_is(data)) from error
    if magic != _LEGACY_MAGIC or protocol != _LEGACY_PROTOCOL or not isinstance(machine, dict):
        raise ValueError(_what_it_is(data))
    content, at = reading.read(data, at)
    keys, at = _Reading().read(data, at)
    sound = isinstance(keys, list) and all(isinstance(key, str) for key in keys) and len(set(keys)) == len(keys)
    if not sound or set(keys) != set(reading.storages):
        raise ValueError("a list of storages that are not those of its tensors")
    swapped = machine.get("little_endian") is False
    size, places = handle.seek(0, io.SEEK_END), {}
    for key in keys:
        storage = reading.storages[key]
        handle.seek(at)
        count = int.from_bytes(handle.read(8), "big" if swapped else "little")
        if count != storage.numel or at + 8 + storage.nbytes > size:
            raise ValueError(f"{count:,} values for a storage of {storage.numel:,}, at {at:,} of {size:,} bytes")
        places[key] = start + at + 8
        at += 8 + storage.nbytes
    return TorchContainer(file, content, places, tuple(reading.foreign), swapped, zipped=False)


def _what_it_is(data: bytes) -> str:
    """Return in words what the first bytes of a file look like."""
    if data[257:262] == b"ustar":
        return "a tar archive, as torch before 0.1.10 wrote them"
    return "a plain pickle, not one of torch.save" if data[:1] == b"\x80" else "a damaged or unknown one"
