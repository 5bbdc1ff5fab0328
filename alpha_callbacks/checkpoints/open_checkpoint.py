"""A folder or file -> an opened checkpoint, whatever its format."""

import json
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from alpha_callbacks.checkpoints.checkpoint import Checkpoint, Reader
from alpha_callbacks.checkpoints.file_sets import SUFFIXES, read_index, weight_files
from alpha_callbacks.errors import CheckpointError, MissingExtraError


def open_checkpoint(path: Path) -> Checkpoint:
    """Open a checkpoint folder or file and check every header.

    Args:
        path: a folder (HF, Trainer or plain), or a .safetensors, .gguf, .bin, .pt, .pth or .ckpt file.

    Raises:
        CheckpointError: missing, damaged or unknown; names the file, before any weight is read.
        MissingExtraError: the format needs an optional package.
    """
    if not path.exists():
        raise CheckpointError(f"{path}: expected a checkpoint file or folder, found nothing there.")
    index = next(iter(sorted(path.glob("*.index.json"))), None) if path.is_dir() else None
    promised = read_index(index) if index else {}
    files = sorted(set(promised.values())) or (weight_files(path) if path.is_dir() else [path])
    suffix = files[0].suffix.lower()
    checkpoint = _reader(suffix, files[0])(files)
    absent = sorted(promised.keys() - {tensor.name for tensor in checkpoint.tensors})
    if absent:
        raise CheckpointError(
            f"{index}: expected {absent[0]!r} in {promised[absent[0]].name}, it is not there "
            f"({len(absent)} tensors are missing). Complete the download."
        )
    # What a file says about itself (GGUF) takes precedence over a config.json in the same folder.
    config = {**_read_config(path if path.is_dir() else path.parent), **checkpoint.config}
    if not checkpoint.tensors:
        raise CheckpointError(f"{path}: expected tensors, found none.")
    return Checkpoint(str(path), checkpoint.tensors, config, checkpoint.files, checkpoint.aliases)


def _reader(suffix: str, file: Path) -> Reader:
    if suffix == ".safetensors":
        from alpha_callbacks.checkpoints.safetensors_reader import read_safetensors

        return read_safetensors
    if suffix in (".bin", ".pt", ".pth", ".ckpt"):
        from alpha_callbacks.checkpoints.torch_reader import read_torch_files

        return read_torch_files
    for point in entry_points(group="alpha_callbacks.readers", name=suffix.removeprefix(".")):
        reader: Reader = point.load()
        return reader
    if suffix == ".gguf":
        raise MissingExtraError(f"{file.name}: reading GGUF", "gguf")
    raise CheckpointError(f"{file}: expected one of {', '.join(SUFFIXES)}, got {suffix or 'no suffix'!r}.")


def _read_config(folder: Path) -> Mapping[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: expected JSON, got {error}.") from error
    return config if isinstance(config, dict) else {}
