"""Pipes, devices, links and folders under the names of files; distributed checkpoints that are malformed."""

import os
import pickle
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.fuzz.malformed.archives import Calls
from tests.fuzz.malformed.case import Case, both, one_file, sound


def special_files() -> Iterator[Case]:
    """What is no regular file, or cannot be one of weights."""
    good = one_file("model.safetensors", sound("safetensors/plain"))
    kinds: dict[str, Callable[[Path], object]] = {
        "pipe": os.mkfifo,
        "folder": os.mkdir,
        "loop": lambda path: os.symlink(path.name, path),
        "gone": lambda path: os.symlink("/nonexistent/x", path),
        "zeros": lambda path: os.symlink("/dev/zero", path),
        "passwd": lambda path: os.symlink("/etc/passwd", path),
        "socket": lambda path: os.mknod(path, stat.S_IFSOCK | 0o600),
    }
    for kind, make in kinds.items():
        for name in ("model.safetensors", "model.safetensors.index.json", "m.gguf", "model.pt", ".metadata", "latest"):
            yield Case(f"special-{kind}-{name}", lambda f, make=make, name=name: make(f / name))  # type: ignore[misc]
        for name in ("config.json", "adapter_config.json", "modules.json", "model_index.json", "hf_quant_config.json"):
            write = both(good, lambda f, make=make, name=name: make(f / name))  # type: ignore[misc]
            yield Case(f"special-{kind}-{name}", write)
        for name, command in (
            ("precision_alpha_hill_results.csv", "recommend"),
            ("precision_alpha_hill_results.csv", "report"),
            ("alpha_hill_history.csv", "history"),
        ):
            yield Case(f"special-{kind}-{command}", lambda f, make=make, name=name: make(f / name), (command, "{}"))  # type: ignore[misc]
        plan = ("export", "{}/plan.json", "--model", "{}", "--format", "torchao", "-o", "{}/x.py")
        yield Case(f"special-{kind}-plan", lambda f, make=make: make(f / "plan.json"), plan)  # type: ignore[misc]
    for i, head in enumerate(
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            b"<!DOCTYPE html>",
            b"\x89HDF\r\n\x1a\n",
            b"\x1f\x8b",
            b"%PDF",
            b"\x7fELF",
            b"\0" * 600,
            b"{}",
            b"hello\n",
            b"PK\x05\x06" + b"\0" * 18,
        )
    ):
        for name in ("model.safetensors", "m.gguf", "model.pt"):
            yield Case(f"other-{i}-{name}", one_file(name, head))
    yield Case("folder-empty", lambda folder: None)
    yield Case("folder-text", one_file("readme.txt", "x"))


def distributed() -> Iterator[Case]:
    """Folders of torch.distributed.checkpoint."""
    metadata, data = sound("dcp/metadata"), sound("dcp_data/data")
    changes = {
        "cut": metadata[: len(metadata) // 2],
        "empty": b"",
        "noise": b"\x80\x02\xff",
        "leaves": metadata.replace(b"__0_0.distcp", b"../../passwd"),
        "absolute": metadata.replace(b"__0_0.distcp", b"/etc/passwd."),
        "other": metadata.replace(b"__0_0.distcp", b"__9_9.distcp"),
        "text": b"hello",
        "code": pickle.dumps(Calls()),
    }
    for name, changed in changes.items():
        yield Case(f"dcp-{name}", both(one_file(".metadata", changed), one_file("__0_0.distcp", data)))
    for share in (0, 0.1, 0.5, 0.99):
        yield Case(
            f"dcp-data-{share}",
            both(one_file(".metadata", metadata), one_file("__0_0.distcp", data[: int(len(data) * share)])),
        )
    yield Case("dcp-zeros", both(one_file(".metadata", metadata), one_file("__0_0.distcp", bytes(len(data)))))
    yield Case("dcp-alone", one_file(".metadata", metadata))
    yield Case("dcp-without", one_file("__0_0.distcp", data))
