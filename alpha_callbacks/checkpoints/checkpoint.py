"""A checkpoint on disk: which tensors it holds and how one is read. Never builds the model."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from alpha_callbacks.checkpoints.file_names import are_whole
from alpha_callbacks.checkpoints.tied_heads import tied_heads
from alpha_callbacks.checkpoints.traffic import Traffic
from alpha_callbacks.checkpoints.unchanged import Stamp
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.utils.lazy import lazy_property
from alpha_callbacks.weights.adapters.read_adapter import is_adapter
from alpha_callbacks.weights.beside_base import Base, Chosen, adapter_inventory, tuned_inventory
from alpha_callbacks.weights.inventory import Inventory, take_inventory
from alpha_callbacks.weights.layer_names import module_order
from alpha_callbacks.weights.stored_quantization.unpack_stored import unpack_stored
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.weight import Weight

ADAPTER_CONFIG = "adapter_config"  # key of `Checkpoint.config` under which the config of an adapter stands


@dataclass(frozen=True)
class Origin:
    """Where a checkpoint that is not on this machine comes from.

    Attributes:
        commit: of the repository; "" for files that are in none.
        versions: file name -> what identifies its content: ETag and size.
        sizes: tensor name -> bytes.
        traffic: counts what has been received.
        close: ends all requests.
    """

    commit: str
    versions: Mapping[str, str]
    sizes: Mapping[str, int]
    traffic: Traffic
    close: Callable[[], None]

    def size(self, inventory: Inventory, todo: Iterable[Weight]) -> int:
        """Return about how many bytes some of the weights in an inventory take as they are stored."""
        unread = {tensor.name for tensor in inventory.skipped if not tensor.shared}
        stored = sum(size for name, size in self.sizes.items() if name not in unread)
        wanted = sum(weight.numel for weight in todo if not weight.unsupported)
        return round(stored * wanted / max(1, sum(weight.numel for weight in inventory.weights)))


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint; headers are read and checked, weights are not.

    Attributes:
        source: what the user named.
        tensors: all tensors of all shards.
        config: config.json as a dict, or what the format says in its place.
        files: the files that hold weights.
        aliases: parameter name -> name of the parameter that owns the same storage, where the format tells.
        metadata: texts in the headers of the files, where the format has such (safetensors).
        stamps: file -> what it looked like before it was opened, for `unchanged.require_all_same`.
        origin: where its files are if not on this machine; `files` are their names then.
        notes: a sentence on each choice among files, and on what the results do not cover.
    """

    source: str
    tensors: tuple[StoredTensor, ...]
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    aliases: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    stamps: Mapping[Path, Stamp] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    origin: Origin | None = None

    @property
    def adapter_config(self) -> Mapping[str, Any]:
        """The config of the adapter in the folder, or an empty one."""
        found = self.config.get(ADAPTER_CONFIG, {})
        return found if isinstance(found, Mapping) else {}

    @lazy_property
    def is_adapter(self) -> bool:
        """True for an adapter without its base."""
        return is_adapter(self.tensors, self.adapter_config)

    def inventory(self, options: AnalysisOptions, prefix: str = "") -> Inventory:
        """Return the weights in module order, and every skipped tensor with its reason.

        Of an adapter these are the updates of the weights that it changes.

        Args:
            options: which layers are wanted.
            prefix: what the names of layers begin with where this is one of several components.
        """

        def selects(layer_name: str, source_name: str) -> bool:
            return options.selects(prefix + layer_name, source_name and prefix + source_name)

        chosen = Chosen(selects, options.include_embeddings)
        found = self._adapter_inventory(Base(), chosen) if self.is_adapter else self._own_inventory(chosen)
        return found.named(prefix) if prefix else found

    def inventory_with_base(self, base: "Checkpoint", options: AnalysisOptions) -> Inventory:
        """Return the weights W of a checkpoint and their updates W - W0, or those of a base with an adapter and theirs.

        Args:
            base: what this was trained from.
            options: which layers are wanted.

        Raises:
            CheckpointError: the base does not belong to it: no layer in common, or other shapes than an adapter's.
        """
        weights = base.inventory(AnalysisOptions(include_embeddings=True)).weights
        shapes = {layer_name_of(tensor.name): tensor.shape for tensor in base.tensors if len(tensor.shape) > 1}
        below = Base(base.source, base.config, {weight.layer_name: weight for weight in weights}, shapes)
        chosen = Chosen(options.selects, options.include_embeddings)
        if self.is_adapter:
            return self._adapter_inventory(below, chosen)
        return tuned_inventory(self.inventory(options), below, self.source, chosen)

    def _adapter_inventory(self, below: Base, chosen: Chosen) -> Inventory:
        return adapter_inventory(self.tensors, self.adapter_config, self.metadata, below, self.source, chosen)

    def decoded(self) -> list[StoredTensor]:
        """Return the tensors in their order: codes of a known layout as the matrix they stand for, others marked."""
        whole = are_whole(file.name for file in self.files)
        return unpack_stored(self.tensors, self.config, self.metadata, whole=whole)

    def _own_inventory(self, chosen: Chosen) -> Inventory:
        unpacked = self.decoded()
        tensors = sorted(unpacked, key=lambda tensor: module_order(layer_name_of(tensor.name)))
        ties = dict(self.aliases)
        if are_whole(file.name for file in self.files):
            for head, embedding in tied_heads(unpacked, self.config):
                ties[head] = embedding.name
                tensors.append(replace(embedding, name=head))
        return take_inventory(
            tensors, self.config, selects=chosen.selects, include_embeddings=chosen.embeddings, ties=ties
        )


class Reader(Protocol):
    """What a plugin of the group `readers` is: a function of the files of one checkpoint, named by their suffix."""

    def __call__(self, files: list[Path], /) -> Checkpoint:
        """Return the checkpoint; read headers only. Its `source` may be left empty.

        Raises:
            CheckpointError: a file is damaged; the message names it.
            MissingExtraError: an optional package is missing.
        """
