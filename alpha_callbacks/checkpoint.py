"""A checkpoint on disk: what it is, which tensors it holds, how one is read. Never builds the model."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from alpha_callbacks.categories import module_order
from alpha_callbacks.checkpoint_files import SUFFIXES, is_whole, read_index, weight_files
from alpha_callbacks.errors import CheckpointError, MissingExtraError
from alpha_callbacks.fused import text_config
from alpha_callbacks.inventory import Inventory, take_inventory
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.stored import StoredTensor, layer_name_of, mark_packed

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
        if embedding is None or has_head or untied or not is_whole(self.files):
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
    files = sorted(set(promised.values())) or (weight_files(path) if path.is_dir() else [path])
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


def _read_config(folder: Path) -> Mapping[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        return {}
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: expected JSON, got {error}.") from error
    return config if isinstance(config, dict) else {}
