"""Stored tensors -> weights to analyse, and every other tensor with the reason why not: the same for all sources."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.canonical_names import path_of_gguf
from alpha_callbacks.weights.examined_tensors import Examined, examine_all
from alpha_callbacks.weights.normalized_weights import with_computed
from alpha_callbacks.weights.own_paths import OWN_PATHS, clashing_names, with_own_paths
from alpha_callbacks.weights.skip_reasons import FILTERED, UNKNOWN
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.weight import Weight
from alpha_callbacks.weights.wrapper import without_wrapper

Selects = Callable[[str, str], bool]  # (layer name, name in the source or "") -> wanted


def every(layer_name: str, source_name: str) -> bool:
    """Want all layers."""
    return True


@dataclass(frozen=True)
class Skipped:
    """A tensor that is not analysed.

    Attributes:
        name: parameter path.
        shape: as stored.
        stored_dtype: name of the storage format.
        reason: one clause in plain words.
        shared: True if its values are analysed under another name.
    """

    name: str
    shape: tuple[int, ...]
    stored_dtype: str
    reason: str
    shared: bool = False

    @property
    def unknown(self) -> bool:
        """True for a matrix that no rule recognises; the user should be told about it."""
        return self.reason == UNKNOWN and sum(size > 1 for size in self.shape) > 1


@dataclass
class Inventory:
    """What a source holds.

    Attributes:
        weights: matrices to analyse, in the order of the tensors given.
        skipped: all other tensors.
        notes: what a reader of the rows has to know about the choice of weights, a sentence each.
    """

    weights: list[Weight] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    def named(self, prefix: str) -> "Inventory":
        """Return the same with a prefix before all names."""

        def put(name: str) -> str:
            return name and prefix + name

        weights = [
            replace(w, layer_name=put(w.layer_name), tied_to=put(w.tied_to), source_name=put(w.source_name))
            for w in self.weights
        ]
        return Inventory(weights, [replace(tensor, name=prefix + tensor.name) for tensor in self.skipped], self.notes)


def take_inventory(
    tensors: Sequence[StoredTensor],
    config: Mapping[str, Any],
    *,
    selects: Selects = every,
    include_embeddings: bool = False,
    ties: Mapping[str, str] | None = None,
    named: bool = False,
    left_out: Collection[str] = (),
    own_paths: bool = True,
) -> Inventory:
    """Sort tensors into weights and the rest.

    Args:
        tensors: in module order.
        config: the model's config.json as a dict, or empty; used to split fused tensors.
        selects: layer filter; sees the name of a weight, and what its source calls it.
        include_embeddings: analyse embedding tables too.
        ties: tensor name -> name of the tensor that owns the same storage. Of those that share one, a single tensor is
            analysed: the language head if it passes the filter, else the last that does and is written to files.
        left_out: names of tensors that files leave out.
        named: the names are final; else the prefix of DistributedDataParallel is dropped where all have it.
        own_paths: matrices of one name are listed under the paths of their tensors; else refused.

    Raises:
        CheckpointError: two matrices have one name, and may not.
    """
    inventory, ties, tensors = Inventory(), ties or {}, with_computed(tensors)
    plain = tensors if named else without_wrapper(tensors)
    left_out = {shown.name for shown, tensor in zip(plain, tensors, strict=True) if tensor.name in left_out}
    entries, keys = examine_all(plain, config, include_embeddings), _storages(tensors, ties)
    clashing, clean = clashing_names(entries, keys) if own_paths else set[str](), dict[str, str]()
    if clashing:  # before the filter: names do not depend on it, and it may have the paths that a scan lists
        entries, clean = with_own_paths(entries, tensors, clashing)
    entries = [_selected(entry, selects, clean) for entry in entries]
    groups: dict[str, list[Examined]] = {}
    for key, entry in zip(keys, entries, strict=True):
        groups.setdefault(key, []).append(entry)
    origins = list[tuple[StoredTensor, StoredTensor]]()
    for tensor, entry, key in zip(tensors, entries, keys, strict=True):
        group = groups[key]
        if len(group) == 1 and len(entry.weights) == 1:  # nearly all
            inventory.weights.append(entry.weights[0])
            origins.append((entry.tensor, tensor))
            continue
        shown = _representative(group, left_out)
        if shown is not None and shown is not entry:
            reason = f"same storage as {layer_name_of(shown.tensor.name)}, analysed there"
            inventory.skipped.append(_skip(entry.tensor, reason, shared=True))
        elif not entry.weights:
            inventory.skipped.append(_skip(entry.tensor, entry.why))
        else:
            other = next((e for e in group if e is not entry), None) if len(group) > 1 else None
            tied = layer_name_of(other.tensor.name) if other else ""
            inventory.weights += [replace(w, tied_to=tied) for w in entry.weights] if other else entry.weights
            origins += [(entry.tensor, tensor)] * len(entry.weights)
    names = [weight.layer_name for weight in inventory.weights]
    if not own_paths and len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        both = " and ".join(shown.name for name, (shown, _) in zip(names, origins, strict=True) if name == twice)
        raise CheckpointError(
            f"{twice}: expected one tensor of this name, got {both}. Remove all but one from the file."
        )
    if not clean.keys().isdisjoint(names):
        inventory.notes = (OWN_PATHS,)
    return inventory


def _storages(tensors: Sequence[StoredTensor], ties: Mapping[str, str]) -> list[str]:
    """Return one key per tensor, the same for those that share a storage.

    Codes are decoded under the name of their matrix. A tensor that has this name too is another one.
    """
    keys, names = list[str](), set[str]()
    for i, tensor in enumerate(tensors):
        other = tensor.name in names or bool(tensor.companion)
        keys.append(f"{tensor.name} {i}" if other else ties.get(tensor.name, tensor.name))
        names.update(() if other else (tensor.name,))
    return keys


def _selected(entry: Examined, selects: Selects, clean: Mapping[str, str]) -> Examined:
    """Return an entry with the weights that are wanted, under any of their names."""
    wanted = tuple([
        w for w in entry.weights
        if selects(w.layer_name, w.source_name or clean.get(w.layer_name) or path_of_gguf(w.layer_name))
    ])  # fmt: skip
    if len(wanted) == len(entry.weights) and (wanted or entry.why):
        return entry  # nearly all
    return Examined(entry.tensor, wanted, entry.why or ("" if wanted else FILTERED))


def _representative(group: Sequence[Examined], left_out: Collection[str]) -> Examined | None:
    """Return the entry that is analysed for all that share its storage."""
    if len(group) == 1:
        return group[0] if group[0].weights else None
    usable = [entry for entry in group if entry.weights]
    usable = [entry for entry in usable if entry.tensor.name not in left_out or _is_head(entry)] or usable
    heads = [entry for entry in usable if _is_head(entry)]
    return (heads or usable)[-1] if usable else None


def _is_head(entry: Examined) -> bool:
    return entry.weights[0].category == "lm_head"


def _skip(tensor: StoredTensor, reason: str, *, shared: bool = False) -> Skipped:
    return Skipped(tensor.name, tensor.shape, tensor.stored_dtype, reason, shared)
