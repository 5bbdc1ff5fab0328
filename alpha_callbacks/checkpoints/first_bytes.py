"""What a file is, by its first bytes: its name may say anything."""

import codecs
import os
import zipfile
from pathlib import Path

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.regular_files import odd_kind

_SAVE = "Save the weights as safetensors."
_AGAIN = "Download it again."
_UNPACK = "Unpack it and name the file of weights in it."
_CONVERT = "Convert it to safetensors with the framework that wrote it."

# First bytes -> what has them, and what to do. The longest that fits counts.
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer and not the file it stands for", "Run `git lfs pull`."),
    (b"\x89HDF\r\n\x1a\n", "HDF5 (Keras, TensorFlow)", _CONVERT),
    (b"\x93NUMPY", "one NumPy array (.npy)", _SAVE),
    (b"\x1f\x8b", "a gzip archive", _UNPACK),
    (b"BZh", "a bzip2 archive", _UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!", "a RAR archive", _UNPACK),
    (b"\x08\x01\x12", "a TensorFlow SavedModel", _CONVERT),
    (b"lmgg", "GGML, which came before GGUF", "Convert it to GGUF with llama.cpp."),
    (b"tjgg", "GGML, which came before GGUF", "Convert it to GGUF with llama.cpp."),
    (b"fmgg", "GGML, which came before GGUF", "Convert it to GGUF with llama.cpp."),
    (b"ggml", "GGML, which came before GGUF", "Convert it to GGUF with llama.cpp."),
    (b"ggjt", "GGML, which came before GGUF", "Convert it to GGUF with llama.cpp."),
    (b"TFL3", "a TensorFlow Lite model", _CONVERT),
    (b"MZ", "a program", "Name the weights that it was made from."),
    (b"\x7fELF", "a program", "Name the weights that it was made from."),
    (b"PAR1", "a Parquet table", "Name the file of weights."),
    (b"ARROW1", "an Arrow table", "Name the file of weights."),
    (b"SQLite format 3", "an SQLite database", "Name the file of weights."),
    (b"%PDF", "a PDF document", "Name the file of weights."),
    (b"\x89PNG", "an image", "Name the file of weights."),
    (b"\xff\xd8\xff", "an image", "Name the file of weights."),
)
# Where bytes tell too little, the name decides.
_SUFFIXES = {
    ".onnx": ("ONNX", "Convert the model that it was exported from."),
    ".msgpack": ("MessagePack (Flax)", _CONVERT),
    ".h5": ("HDF5 (Keras, TensorFlow)", _CONVERT),
    ".keras": ("a Keras model", _CONVERT),
    ".tflite": ("a TensorFlow Lite model", _CONVERT),
    ".tfrecord": ("TFRecord data", _CONVERT),
    ".zip": ("a ZIP archive", _UNPACK),
    ".pb": ("a TensorFlow graph", _CONVERT),
    ".npz": ("NumPy arrays (.npz)", _SAVE),
    ".npy": ("one NumPy array (.npy)", _SAVE),
    ".ggml": ("GGML, which came before GGUF", "Convert it to GGUF with llama.cpp."),
    ".llamafile": ("a program", "Name the weights that it was made from."),
    **dict.fromkeys((".incomplete", ".part", ".aria2", ".crdownload"), ("an unfinished download", "Finish it.")),
}
_ENOUGH = 512


def format_of(file: Path) -> str:
    """Return "safetensors", "gguf" or "torch", or "" for bytes that any other format may begin with.

    Raises:
        CheckpointError: no file that can be read, or one that is recognised and holds no weights that can be read.
    """
    size, head = _head(file)
    if not size:
        raise _refusal(file, "an empty file", _AGAIN)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**40:
        return "safetensors"
    if head.startswith(b"GGUF") or head.startswith(b"FUGG"):
        return "gguf"
    if head.startswith(b"PK"):
        return _format_of_zip(file)
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise _refusal(file, what, remedy)
    what, remedy = _described(file, size, head)
    if what:
        raise _refusal(file, what, remedy)
    return "torch" if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" else ""


def _head(file: Path) -> tuple[int, bytes]:
    """Return the size and the first bytes of a regular file."""
    try:
        found = file.stat()
        if what := odd_kind(found.st_mode):
            raise CheckpointError(f"{file}: expected a file of weights, got {what}. Name a regular file.")
        with file.open("rb") as handle:
            return found.st_size, handle.read(_ENOUGH)
    except PermissionError as error:
        raise CheckpointError(f"{file}: expected permission to read it, got none. Change its owner or mode.") from error
    except OSError as error:
        if file.is_symlink():
            target = os.readlink(file)
            raise CheckpointError(
                f"{file}: expected a file, got a link to {target}, which is not there. Download it again, or mount "
                "the disk that holds it."
            ) from error
        raise CheckpointError(f"{file}: expected a file that can be read, got {error.strerror}.") from error


def _format_of_zip(file: Path) -> str:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        if file.suffix.lower() in _SUFFIXES:
            raise _refusal(file, *_SUFFIXES[file.suffix.lower()]) from None
        return ""  # cut short: what reads files of this name says so
    if any(name.rpartition("/")[2] in ("data.pkl", "constants.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        raise _refusal(file, "NumPy arrays (.npz; MLX and JAX write them too)", _SAVE)
    if any(name.endswith("model.weights.h5") for name in names):
        raise _refusal(file, "a Keras model", _CONVERT)
    raise _refusal(file, "a ZIP archive", _UNPACK)


def _described(file: Path, size: int, head: bytes) -> tuple[str, str]:
    """Return what bytes without a signature are, and what to do; or ("", "")."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start[:256].lower().startswith((b"<!doctype html", b"<html", b"<head")):
        return "a web page (HTML), such as a page to log in", "Download the file itself, with a token if it is gated."
    if start.startswith(b"<?xml"):
        return "XML, such as a message of error from a server", _AGAIN
    if start[:1] in (b"{", b"[") and _is_text(head):
        return "JSON", "Name the file of weights."
    if head[257:262] == b"ustar":
        return "a tar archive", _UNPACK
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model", _CONVERT
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in (b"\x12", b"\x3a"):
        return "ONNX", "Convert the model that it was exported from."
    if size >= 12 and int.from_bytes(head[8:12], "little") == _masked_crc32c(head[:8]):
        return "TFRecord data (TensorFlow)", _CONVERT
    if b"\x81" <= head[:1] <= b"\x8f" or head[:1] in (b"\xde", b"\xdf"):
        key = head[{b"\xde": 3, b"\xdf": 5}.get(head[:1], 1) :][:1]
        if b"\xa1" <= key <= b"\xbf" or key in (b"\xd9", b"\xda"):
            return "MessagePack (Flax)", _CONVERT
    if len(head) > 64 and not any(head):
        return "zeros, as of a download that never arrived", _AGAIN
    by_name = _SUFFIXES.get(file.suffix.lower(), ("", ""))
    return ("plain text", "Name the file of weights.") if _is_text(head) and not by_name[0] else by_name


def _is_text(head: bytes) -> bool:
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(head)  # the last character may be cut
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character in "\t\r\n" for character in text)


def _masked_crc32c(data: bytes) -> int:
    """Return the checksum that a TFRecord has behind its length."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _refusal(file: Path, what: str, remedy: str) -> CheckpointError:
    return CheckpointError(f"{file}: expected a file of weights, got {what}. {remedy}")
