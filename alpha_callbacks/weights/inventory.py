"""Stored tensors -> weights to analyse, and every other tensor with the reason why not: the same for all sources."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.adapters.names import place_of
from alpha_callbacks.weights.canonical_names import path_of_gguf
from alpha_callbacks.weights.categorize import categorize, without_numbers
from alpha_callbacks.weights.expert_stacks import is_stack, stack_forms
from alpha_callbacks.weights.families import Family, Known, families_of, known_in, table_of
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.modalities import modality_of
from alpha_callbacks.weights.normalized_weights import with_computed
from alpha_callbacks.weights.own_paths import OWN_PATHS, under_own_paths
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.unpack import unpacked
from alpha_callbacks.weights.weight import Weight

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
    entries, keys = _examine_all(plain, config, include_embeddings), _storages(tensors, ties)
    clashing, clean = _clashing(entries, keys) if own_paths else set[str](), dict[str, str]()
    if clashing:  # before the filter: names do not depend on it, and it may have the paths that a scan lists
        entries, clean = _under_own_paths(entries, tensors, clashing)
    entries = [_selected(entry, selects, clean) for entry in entries]
    groups: dict[str, list[_Entry]] = {}
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
        raise CheckpointError(f"{twice}: expected one tensor of this name, got {both}. Remove all but one.")
    if not clean.keys().isdisjoint(names):
        inventory.notes = (OWN_PATHS,)
    return inventory


def matrices_of(
    tensors: Sequence[StoredTensor], config: Mapping[str, Any]
) -> list[tuple[StoredTensor, tuple[Weight, ...]]]:
    """Return each tensor, under its name in an inventory of them all, with the matrices in it; embeddings too."""
    entries = _examine_all(without_wrapper(tensors), config, include_embeddings=True)
    return [(entry.tensor, entry.weights) for entry in entries]


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


class _Entry(NamedTuple):
    """A tensor with the weights in it that are wanted, or why there are none."""

    tensor: StoredTensor
    weights: tuple[Weight, ...]
    why: str


class _Seen(NamedTuple):
    """What was found in a tensor and holds for its siblings: no weight and why, or one under its own name."""

    weight: Weight | None
    why: str


def _examine_all(
    tensors: Sequence[StoredTensor],
    config: Mapping[str, Any],
    include_embeddings: bool,
) -> list[_Entry]:
    forms, families = stack_forms(tensors, config), families_of(config)
    found, seen = list[_Entry](), dict[tuple[object, ...], _Seen]()
    for tensor in tensors:
        layer, kin, weights = layer_name_of(tensor.name), _kin(tensor), tuple[Weight, ...]()
        if kin is not None and (like := seen.get(kin)) is not None:
            why = like.why
            if like.weight is not None:
                weights = (like.weight.sibling(layer, tensor.read),)
        else:
            why, weights = _examine(tensor, layer, forms, families, config, include_embeddings)
            if kin is not None and (why or weights[0].layer_name == layer and weights[0].rows is tensor.read):
                seen[kin] = _Seen(None if why else weights[0], why)
        found.append(_Entry(tensor, weights, why))
    return found


def _clashing(entries: Sequence[_Entry], keys: Sequence[str]) -> set[str]:
    """Return the names that matrices of several storages have, or several matrices of one tensor."""
    owners, twice = dict[str, str](), set[str]()
    for entry, key in zip(entries, keys, strict=True):
        for weight in entry.weights:
            if owners.setdefault(weight.layer_name, key) != key:
                twice.add(weight.layer_name)
        if len(entry.weights) > 1:
            times = Counter(weight.layer_name for weight in entry.weights)
            twice.update(name for name, number in times.items() if number > 1)
    return twice


def _under_own_paths(
    entries: Sequence[_Entry], tensors: Sequence[StoredTensor], clashing: Collection[str]
) -> tuple[list[_Entry], dict[str, str]]:
    """Return the entries with matrices whose names differ, and new name -> the one that others have too."""
    flat = [weight for entry in entries for weight in entry.weights]
    origins = [(e.tensor, tensor) for e, tensor in zip(entries, tensors, strict=True) for _ in e.weights]
    named = under_own_paths(flat, origins, clashing)
    clean = {new.layer_name: old.layer_name for new, old in zip(named, flat, strict=True) if new is not old}
    each = iter(named)
    return [entry._replace(weights=tuple(next(each) for _ in entry.weights)) for entry in entries], clean


def _selected(entry: _Entry, selects: Selects, clean: Mapping[str, str]) -> _Entry:
    """Return an entry with the weights that are wanted, under any of their names."""
    wanted = tuple([
        w for w in entry.weights
        if selects(w.layer_name, w.source_name or clean.get(w.layer_name) or path_of_gguf(w.layer_name))
    ])  # fmt: skip
    if len(wanted) == len(entry.weights) and (wanted or entry.why):
        return entry  # nearly all
    return _Entry(entry.tensor, wanted, entry.why or ("" if wanted else FILTERED))


def _kin(tensor: StoredTensor) -> tuple[object, ...] | None:
    """Return what siblings have in common: the same matrix in other blocks and experts. None for what stands alone."""
    if len(tensor.shape) != 2 or tensor.packed or tensor.companion or tensor.source or tensor.sharded is not None:
        return None
    name = tensor.name
    if tensor.parts is not None or not name.endswith(".weight") or name[-8:-7].isdigit():  # "mlp.0" and "mlp.2" are two
        return None
    return without_numbers(name), tensor.shape, tensor.dtype, tensor.stored_dtype, tensor.kind


def _examine(
    tensor: StoredTensor,
    layer: str,
    forms: Mapping[str, Known | None],
    families: Sequence[Family],
    config: Mapping[str, Any],
    include_embeddings: bool,
) -> tuple[str, tuple[Weight, ...]]:
    """Return why a tensor is no weight, or the weights in it."""
    known = forms.get(layer) or (known_in(layer, families) if families else None)
    if known is None and tensor.kind == "unknown":
        known = table_of(layer, config)
    why = _why_not(tensor, known, include_embeddings)
    weights = () if why else tuple(unpacked(tensor, config, known))
    if weights and (modality := modality_of(weights[0].layer_name, config)):
        weights = tuple(replace(weight, modality=modality) for weight in weights)
    if tensor.sharded is not None:
        weights = tuple(replace(weight, sharded=tensor.sharded) for weight in weights)
    return why, weights


def _representative(group: Sequence[_Entry], left_out: Collection[str]) -> _Entry | None:
    """Return the entry that is analysed for all that share its storage."""
    if len(group) == 1:
        return group[0] if group[0].weights else None
    usable = [entry for entry in group if entry.weights]
    usable = [entry for entry in usable if entry.tensor.name not in left_out or _is_head(entry)] or usable
    heads = [entry for entry in usable if _is_head(entry)]
    return (heads or usable)[-1] if usable else None


def _is_head(entry: _Entry) -> bool:
    return entry.weights[0].category == "lm_head"


def without_wrapper(tensors: Sequence[StoredTensor]) -> list[StoredTensor]:
    """Return tensors without the `module` of DistributedDataParallel, which all matrices have in one place or none.

    It comes first, or after the name of the attribute that holds the wrapped model ("model.module."). AveragedModel has
    it too, and a counter beside it; one may be around the other.
    """
    own = {tensor.name: clean_name(tensor.name) for tensor in tensors if not tensor.companion}
    matrices = [own[t.name] for t in tensors if not t.companion and len(t.shape) > 1]
    found = re.match(r"((?!module\.)\w+\.)?(module\.)+", min(matrices, default=""))
    if found is None or not all(name.startswith(found[0]) for name in matrices):
        return list(tensors)
    wrapped, whole = found[0], found[1] or ""
    short = {name: whole + own[name].removeprefix(wrapped) for name in own if own[name].startswith(wrapped)}
    if len({short.get(name, name) for name in own}) < len(own):
        return list(tensors)

    def bare(name: str) -> str:
        return whole + name.removeprefix(wrapped) if name.startswith(wrapped) else name

    def unwrapped(tensor: StoredTensor) -> StoredTensor:
        source, files = bare(clean_name(tensor.source)), tuple(map(bare, tensor.saved_as))
        return replace(tensor, name=short.get(tensor.name, tensor.name), source=source, saved_as=files)

    return [t if t.companion else unwrapped(t) for t in tensors]


FILTERED = "left out by the layer filter"
UNKNOWN = "not the weight of a known kind of layer"


_OPTIMIZER = re.compile(r"^(optim|optimizers?)\.")  # what the flat names of an optimizer's state begin with
_NAMED = re.compile(
    r"\.(weight|qweight|weight_packed)$|(^|[._])(in|q|k|v)_proj_weight$|(^|[._])weight_(ih|hh|hr)(_l\d+)?(_reverse)?$|_blocks$"
)


@dataclass(frozen=True)
class _Said:
    """What the name of a tensor says: that it is no weight and why, scales, biases, or the weight of a layer."""

    reason: str
    scales: bool
    bias: bool
    weight: bool


def _said_by(parameter: str) -> _Said:
    return _of_name(without_numbers(parameter))


@lru_cache(2**16)
def _of_name(parameter: str) -> _Said:
    """Read a name whose blocks and experts all have the number 0: few in a large model."""
    name, reason = clean_name(parameter), ""
    if _OPTIMIZER.match(name):
        reason = "optimizer state, not a weight"
    elif place_of(name) is not None:
        reason = "factor of an adapter, not a weight by itself"
    elif name.endswith(".original_module.weight"):
        reason = "replaced by a trained copy"
    bias = re.search(r"(^|[._])bias$", name) is not None
    return _Said(reason, name.endswith("_scales"), bias, _NAMED.search(name) is not None)


def _why_not(tensor: StoredTensor, known: Known | None, include_embeddings: bool) -> str:
    """Return why this tensor is no weight to analyse, or an empty string."""
    if tensor.companion:
        return tensor.companion
    said, ndim = _said_by(tensor.name), len(tensor.shape)
    if said.reason:
        return said.reason
    if said.scales or tensor.dtype is None and not tensor.packed and not said.weight:
        return f"{tensor.stored_dtype} codes, scales or indices, not weights"
    if ndim < 2:
        return f"{ndim}-D, has no spectrum"
    if said.bias:
        return "biases of several matrices"
    if not said.weight and not (known or is_stack(tensor, None)) and tensor.kind == "unknown":
        return UNKNOWN
    if ndim > 5:
        return f"{ndim}-D, expected 2 to 5"
    layer = layer_name_of(tensor.name)
    told = tensor.kind not in ("linear", "transposed", "conv")  # what a live module is counts more than its name
    named = known.form == "table" if known else ndim == 2 and categorize(layer) == "embedding"
    table = tensor.kind == "embedding" and ndim == 2 or told and named
    if table and not include_embeddings:
        return "embedding (--include-embeddings analyses it)"
    return ""


def _skip(tensor: StoredTensor, reason: str, *, shared: bool = False) -> Skipped:
    return Skipped(tensor.name, tensor.shape, tensor.stored_dtype, reason, shared)
