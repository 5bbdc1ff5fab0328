"""A checkpoint on disk: what it is, which tensors it holds, how one is read. Never builds the model."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from alpha_callbacks.categories import module_order
from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_callbacks.fused import text_config
from alpha_callbacks.inventory import (
    Inventory,
    StoredTensor,
    layer_name_of,
    mark_packed,
    take_inventory,
)
from alpha_callbacks.options import AnalysisOptions

SUFFIXES = (".safetensors", ".gguf", ".bin", ".pt", ".pth", ".ckpt")


_EMBEDDINGS = (
    "embed_tokens.weight",
    "wte.weight",
    "embed_in.weight",
    "word_embeddings.weight",
    "token_embd.weight",
    "backbone.embeddings.weight",
)


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; headers are read and checked, weights are not.

    Attributes:
        source: what the user named.
        tensors: all tensors of all shards.
        config: config.json as a dict, or what the format says in its place.
        files: the files that hold weights.
        aliases: parameter name -> name of the parameter that owns the same storage, where the format tells.
    """

    source: str
    tensors: tuple[StoredTensor, ...]
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)

    def inventory(self, options: AnalysisOptions) -> Inventory:
        """Return the weights in module order, and every skipped tensor with its reason."""
        tensors = sorted(mark_packed(self.tensors), key=lambda tensor: module_order(layer_name_of(tensor.name)))
        ties = dict(self.aliases)
        embedding = self._tied_embedding()
        if embedding is not None:
            head = "output.weight" if embedding.name == "token_embd.weight" else "lm_head.weight"
            ties[head] = embedding.name
            tensors.append(replace(embedding, name=head))
        return take_inventory(
            tensors,
            self.config,
            selects=options.selects,
            include_embeddings=options.include_embeddings,
            ties=ties,
        )

    def _tied_embedding(self) -> StoredTensor | None:
        """Return the embedding of a causal model that leaves its language head out because it is the same tensor."""
        embedding = next((tensor for tensor in self.tensors if tensor.name.endswith(_EMBEDDINGS)), None)
        last_parts = {layer_name_of(tensor.name).rpartition(".")[2] for tensor in self.tensors}
        has_head = last_parts & {"lm_head", "embed_out"} or "output.weight" in {t.name for t in self.tensors}
        config = text_config(self.config)
        untied = config.get("tie_word_embeddings", self.config.get("tie_word_embeddings")) is False
        if embedding is None or has_head or untied or not _is_whole(self.files):
            return None
        architectures = config.get("architectures") or self.config.get("architectures") or []
        causal = any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in architectures)
        return embedding if causal else None


Reader = Callable[[list[Path]], Checkpoint]


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
    files = sorted(set(promised.values())) or (_files_in(path) if path.is_dir() else [path])
    suffix = files[0].suffix.lower()
    checkpoint = _reader(suffix, files[0])(files)
    absent = sorted(promised.keys() - {tensor.name for tensor in checkpoint.tensors})
    if absent:
        raise CheckpointError(
            f"{index}: expected {absent[0]!r} in {promised[absent[0]].name}, it is not there "
            f"({len(absent)} tensors are missing). Complete the download."
        )
    # What a file says of itself (GGUF) counts more than a config.json beside it.
    config = {**_read_config(path if path.is_dir() else path.parent), **checkpoint.config}
    if not checkpoint.tensors:
        raise CheckpointError(f"{path}: expected tensors, found none.")
    return Checkpoint(str(path), checkpoint.tensors, config, checkpoint.files, checkpoint.aliases)


def _reader(suffix: str, file: Path) -> Reader:
    if suffix == ".safetensors":
        from alpha_callbacks.safetensors_files import read_safetensors

        return read_safetensors
    if suffix in (".bin", ".pt", ".pth", ".ckpt"):
        from alpha_callbacks.torch_files import read_torch_files

        return read_torch_files
    for point in entry_points(group="alpha_callbacks.readers", name=suffix.removeprefix(".")):
        reader: Reader = point.load()
        return reader
    if suffix == ".gguf":
        raise MissingExtraError(f"{file.name}: reading GGUF", "gguf")
    raise CheckpointError(f"{file}: expected one of {', '.join(SUFFIXES)}, got {suffix or 'no suffix'!r}.")


def _files_in(folder: Path) -> list[Path]:
    """Return the weight files of a folder without an index: all of the first kind present."""
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


def _is_whole(files: Sequence[Path]) -> bool:
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


def _read_config(folder: Path) -> Mapping[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: expected JSON, got {error}.") from error
    return config if isinstance(config, dict) else {}


_SAMPLE_STEP = 4 * 2**20  # bytes between samples at most
_SAMPLE_BYTES = 256


def fingerprint(checkpoint: Checkpoint) -> dict[str, str]:
    """Return file name -> digest of its size and of samples: every 4 MiB, and in the middle of each safetensors tensor.

    Enough to tell one checkpoint from another and a retrained matrix from the old one; a full hash would read every
    byte of a 140 GB model twice. The config counts too, since it decides how fused tensors are split.
    """
    digests = {file.name: _sampled_digest(file) for file in checkpoint.files}
    config = json.dumps(checkpoint.config, sort_keys=True, default=str)
    return {**digests, "config": hashlib.sha256(config.encode()).hexdigest()[:32]}


def _sampled_digest(file: Path) -> str:
    size = os.path.getsize(file)
    digest = hashlib.sha256(str(size).encode())
    offsets = list(range(0, size, max(1, min(_SAMPLE_STEP, size // 64))))
    if file.suffix == ".safetensors":
        from alpha_callbacks.safetensors_files import tensor_middles

        offsets += tensor_middles(file)
    with file.open("rb", buffering=0) as handle:
        for offset in sorted(offsets):
            handle.seek(offset)
            digest.update(handle.read(_SAMPLE_BYTES))
    return digest.hexdigest()[:32]
