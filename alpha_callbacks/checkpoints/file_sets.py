"""Which files of a folder (or a repository) make up one checkpoint."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.model_names import SUFFIXES


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder without an index: all of the first kind present.

    Raises:
        CheckpointError: none, incomplete, or several checkpoints.
    """
    for patterns in (("*.safetensors",), ("pytorch_model*.bin",), ("*.ckpt",), ("*.gguf",), ("*.bin", "*.pt", "*.pth")):
        found = sorted(f.name for pattern in patterns for f in folder.glob(pattern) if f.name not in _NOT_WEIGHTS)
        if found:
            return [folder / name for name in one_checkpoint(found, str(folder))]
    kinds = ", ".join(SUFFIXES)
    raise CheckpointError(
        f"{folder}: expected a file of weights ({kinds}), found none. Name the folder that holds them."
    )


_NOT_WEIGHTS = {"training_args.bin", "optimizer.bin", "optimizer.pt", "scheduler.pt", "rng_state.pth", "scaler.pt"}
_SHARD = re.compile(r"-(\d+)-of-(\d+)\.")


def one_checkpoint(names: Sequence[str], where: str) -> list[str]:
    """Return the names that make up one checkpoint: a complete set of shards, or a single file.

    Args:
        names: weight files of one format.
        where: folder or model id, for the message.

    Raises:
        CheckpointError: shards are missing, or there are several checkpoints to choose from.
    """
    for plain in ("model.safetensors", "pytorch_model.bin"):
        if plain in names:
            return [plain]
    if len(names) == 1 and not _SHARD.search(names[0]):
        return list(names)
    sets: dict[str, list[str]] = {}
    for name in names:
        sets.setdefault(_SHARD.sub("-of-", name), []).append(name)
    if len(sets) > 1:
        some = ", ".join(sorted(names)[:4])
        raise CheckpointError(f"{where}: expected one checkpoint, found several ({some}). Name one file.")
    total = _SHARD.search(names[0])
    if total is None or int(total[2]) != len(names):
        wanted = int(total[2]) if total else 1
        raise CheckpointError(f"{where}: expected {wanted} shards, found {len(names)}. Complete the download.")
    return list(names)


def is_whole(files: Sequence[Path]) -> bool:
    """Return False if the file names say that these are only some of the shards."""
    match = _SHARD.search(files[0].name) if files else None
    return match is None or int(match[2]) == len(files)


def read_index(index: Path) -> dict[str, Path]:
    """Return tensor name -> shard, the shards checked to exist and to lie in the folder of the index.

    Raises:
        CheckpointError: not JSON, no weight_map, a shard outside the folder or missing.
    """
    try:
        content = json.loads(index.read_text(encoding="utf-8"), object_pairs_hook=_no_duplicates)
        weight_map = content["weight_map"]
        names = set(weight_map.values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{index}: expected JSON with a weight_map of tensor to file, got {error}.") from error
    for name in names:
        if Path(name).name != name or name in ("", ".", ".."):
            raise CheckpointError(f"{index}: expected plain file names, got {name!r}, which leaves the folder.")
        if not (index.parent / name).is_file():
            raise CheckpointError(f"{index.parent / name}: expected this shard (named by {index.name}), it is missing.")
    return {tensor: index.parent / name for tensor, name in weight_map.items()}


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = next((key for key in keys if keys.count(key) > 1), None) if len(set(keys)) < len(keys) else None
    if twice is not None:
        raise ValueError(f"the key {twice!r} twice")
    return dict(pairs)
