"""A file that is no file of weights is named as what it is, in one line, whatever its name says."""

import gzip
import os
import socket
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from alpha_callbacks.checkpoints.first_bytes import format_of
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 12345\n"


def _zip(*names: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for name in names:
                archive.writestr(name, b"x")

    return write


def _numpy(file: Path) -> None:
    with file.open("wb") as opened:
        np.save(opened, np.ones(3))


def _numpy_archive(file: Path) -> None:
    with file.open("wb") as opened:
        np.savez(opened, w=np.ones(3))


def _tar(file: Path) -> None:
    with tarfile.open(file, "w") as archive:
        archive.add(__file__, "x")


def _socket(file: Path) -> None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(file))


KINDS: dict[str, tuple[bytes | Callable[[Path], object], str]] = {
    "empty": (b"", "an empty file"),
    "LFS pointer": (LFS, "a Git LFS pointer .*git lfs pull"),
    "page": (b"\n <!DOCTYPE html><html><title>Log in</title>", r"a web page \(HTML\), such as a page to log in"),
    "page, without a doctype": (b"<html lang='en'>", "a web page"),
    "server's error": (b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', "XML"),
    "JSON": (b'{"error": "Invalid credentials"}', "JSON"),
    "ONNX": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX"),
    "SavedModel": (b"\x08\x01\x12\xa0\x99\x9b\x01", "a TensorFlow SavedModel"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
    "msgpack": (b"\x81\xa5model\x81\xa4wte\xc7", "MessagePack"),
    "msgpack of many": (b"\xde\x00\x20\xa5model\x81", "MessagePack"),
    "npy": (_numpy, "one NumPy array"),
    "npz": (_numpy_archive, "NumPy arrays"),
    "Keras": (_zip("metadata.json", "config.json", "model.weights.h5"), "a Keras model"),
    "ZIP": (_zip("readme.txt"), "a ZIP archive"),
    "gzip": (gzip.compress(b"abc"), "a gzip archive"),
    "tar": (_tar, "a tar archive"),
    "TFLite": (b"\x1c\x00\x00\x00TFL3\x14\x00", "a TensorFlow Lite model"),
    "GGML": (b"tjgg\x03\x00\x00\x00", "GGML, which came before GGUF"),
    "program": (b"MZqFpD='\n\x00\xff", "a program"),
    "picture": (b"\x89PNG\r\n\x1a\n", "an image"),
    "zeros": (bytes(4096), "zeros, as of a download that never arrived"),
    "text": (b"Entry not found", "plain text"),
    "long text": ("é".encode() * 1000, "plain text"),
    "pipe": (os.mkfifo, "a named pipe"),
    "socket": (_socket, "a socket"),
    "device": (lambda file: file.symlink_to("/dev/zero"), "a device"),
    "broken link": (
        lambda file: file.symlink_to("../../blobs/0123"),
        r"a link to ../../blobs/0123, which is not there",
    ),
    "link to itself": (lambda file: file.symlink_to(file.name), "a link to"),
}


@pytest.mark.parametrize("name", ["model.safetensors", "model.bin", "model.gguf", "model.whatever"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    monkeypatch.chdir(tmp_path)  # the paths of sockets are short
    content, message = KINDS[kind]
    if isinstance(content, bytes):
        Path(name).write_bytes(content)
    else:
        content(Path(name))
    with pytest.raises(CheckpointError, match=f"^{name}: expected .*{message}") as error:
        open_checkpoint(Path(name))
    assert "\n" not in str(error.value)
    if name != "model.whatever":
        with pytest.raises(CheckpointError, match=message):
            open_checkpoint(tmp_path)


def test_what_only_the_name_tells(tmp_path: Path) -> None:
    (tmp_path / "flax_model.msgpack").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match="got MessagePack"):
        open_checkpoint(tmp_path / "flax_model.msgpack")
    with pytest.raises(CheckpointError, match="got MessagePack"):
        open_checkpoint(tmp_path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.safetensors"
    save_file({"a.weight": noise(4, 4)}, file)

    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # root may read everything
    with pytest.raises(CheckpointError, match=r"model.safetensors: expected permission to read it, got none"):
        format_of(file)


def test_the_content_decides_what_reads_a_file(tmp_path: Path) -> None:
    weights = {"a.q_proj.weight": noise(12, 12)}
    save_file(weights, tmp_path / "pytorch_model.bin")
    checkpoint = open_checkpoint(tmp_path / "pytorch_model.bin")
    assert checkpoint.notes == ("pytorch_model.bin: by its content this is .safetensors, and read as that.",)
    (weight,) = checkpoint.inventory(AnalysisOptions()).weights
    assert torch.equal(weight.rows(0, 12), weights["a.q_proj.weight"])
    torch.save(weights, tmp_path / "odd.safetensors")
    with pytest.raises(CheckpointError, match="expected safetensors, got a pickle of torch. Rename it to .pt"):
        open_checkpoint(tmp_path / "odd.safetensors")


def test_shards_of_two_formats(tmp_path: Path) -> None:
    save_file({"a.weight": noise(4, 4)}, tmp_path / "model-00001-of-00002.safetensors")
    torch.save({"b.weight": noise(4, 4)}, tmp_path / "model-00002-of-00002.safetensors")
    with pytest.raises(
        CheckpointError, match=r"00002-of-00002.safetensors: expected safetensors, got a pickle of torch"
    ):
        open_checkpoint(tmp_path)


def test_records_of_tensorflow(tmp_path: Path) -> None:
    from tensorboard.summary.writer.record_writer import RecordWriter

    with (tmp_path / "model.safetensors").open("wb") as opened:
        RecordWriter(opened).write(b"abc")
    with pytest.raises(CheckpointError, match="TFRecord"):
        format_of(tmp_path / "model.safetensors")
