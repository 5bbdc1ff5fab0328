"""A live nn.Module -> the same inventory that a checkpoint gives. Reads only."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.utils.garbage import without_collection
from alpha_callbacks.weights.beside_base import Chosen
from alpha_callbacks.weights.computed_weight import computed_weight, is_computed, parts_of_weight
from alpha_callbacks.weights.inventory import Inventory, take_inventory
from alpha_callbacks.weights.live_codes import LiveCodes, live_codes
from alpha_callbacks.weights.moving_weights import moving_inventory
from alpha_callbacks.weights.peft_adapters import with_adapters, without_adapters
from alpha_callbacks.weights.peft_tensors import is_adapted, sort_tensors
from alpha_callbacks.weights.saved_names import Modules, SavedNames
from alpha_callbacks.weights.sharded import (
    DTensorParameter,
    Fsdp1Unit,
    Zero3Parameter,
    fsdp1_units,
    is_dtensor,
    is_zero3,
    reshard,
)
from alpha_callbacks.weights.stored_quantization.unpack_stored import unpack_stored
from alpha_callbacks.weights.stored_tensor import Kind, StoredTensor


@without_collection
def module_inventory(module: nn.Module, options: AnalysisOptions) -> Inventory:
    """Return the weights of a live model, in module order, under the names that they have in its checkpoints.

    Linear, HF Conv1D, Conv1d/2d/3d (flattened to out x rest), MultiheadAttention.in_proj_weight and 3-D expert tensors;
    lm_head always, embedding tables on request. A storage that several layers share is one row. Weights are read when
    their turn comes.

    Of a model that is sharded over ranks (FSDP, tensor parallelism, ZeRO-3) all ranks must call this; the weights then
    carry `sharded`.

    Args:
        module: any model; never changed, not even its train/eval mode.
        options: layer filter and embeddings.
    """
    reshard(module)
    ties: dict[str, str] = {}
    modules = list(module.named_modules())
    units = fsdp1_units(module)
    summoned = {child for _, unit in units for child in _own_modules(unit).values()}
    plain = [(path, child) for path, child in modules if child not in summoned] if units else modules
    found, failures = _stored_all(plain, ties, None), list[Exception]()
    for path, unit in units:
        sharded = Fsdp1Unit(unit)
        inside = [(f"{path}.{inner}".strip("."), child) for inner, child in _own_modules(unit).items()]
        try:
            with sharded.whole():  # only now do its parameters have their shapes
                found.add(_stored_all(inside, ties, sharded))
        except Exception as error:  # not raised before the last unit: the other ranks would wait for this one
            failures.append(error)
    if failures:
        raise failures[0]
    tensors = [tensor for path, _ in modules for tensor in found.held.get(path, ())]
    tensors += [found.computed[path] for path, _ in modules if path in found.computed] if found.computed else []
    config = config_of(module, modules)
    tensors = unpack_stored(tensors, config, found.texts)
    adapted = any(is_adapted(child) for _, child in modules)
    saved = SavedNames.of(module, modules)
    if adapted and options.adapters != "auto":
        tensors = (with_adapters if options.adapters == "merged" else without_adapters)(tensors, module)
    named = [saved.tensor(tensor) for tensor in tensors] if saved.rules or saved.paths else tensors
    final = {tensor.source or tensor.name: tensor.name for tensor in named}
    ties = {final.get(name, name): final.get(owner, owner) for name, owner in ties.items()}
    left_out = {final.get(name, name) for name in saved.left_out()}
    if adapted and options.adapters == "auto":
        chosen = Chosen(options.selects, options.include_embeddings)
        return moving_inventory(sort_tensors(tensors, named, module), module, config, chosen, ties)
    return take_inventory(
        named,
        config,
        selects=options.selects,
        include_embeddings=options.include_embeddings,
        ties=ties,
        left_out=left_out,
    )


def state_dict_inventory(tensors: Mapping[str, Tensor], options: AnalysisOptions) -> Inventory:
    """Return the weights of a state dict, as a scan of its file does that has no config.

    Args:
        tensors: name -> tensor; never changed. Other values are left out.
        options: layer filter and embeddings.
    """
    held = [_stored(name, tensor, "unknown") for name, tensor in tensors.items() if isinstance(tensor, Tensor)]
    return take_inventory(
        unpack_stored(held, {}, {}), {}, selects=options.selects, include_embeddings=options.include_embeddings
    )


def _own_modules(unit: nn.Module) -> dict[str, nn.Module]:
    """Return path -> module of one FSDP1 unit, without those of units inside it."""
    inner = [f"{path}." for path, _ in fsdp1_units(unit) if path]
    return {
        path: child for path, child in unit.named_modules() if not any(f"{path}.".startswith(other) for other in inner)
    }


@dataclass
class _Found:
    """The tensors of some modules: path -> its own, path -> the weight that it computes, texts about quantized ones."""

    held: dict[str, list[StoredTensor]] = field(default_factory=dict)
    computed: dict[str, StoredTensor] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def add(self, other: "_Found") -> None:
        self.held |= other.held
        self.computed |= other.computed
        self.texts |= other.texts


def _stored_all(modules: Iterable[tuple[str, nn.Module]], ties: dict[str, str], sharded: Fsdp1Unit | None) -> _Found:
    """Describe the parameters and buffers of these modules; tied ones under each name, with the owner's in `ties`."""
    owners: dict[int, str] = {}  # the module keeps a tensor alive, so that its id stays its own while we look
    found = _Found()
    for prefix, child in modules:
        own = {**child._parameters, **child._buffers} if child._buffers else child._parameters  # 3x as fast as methods
        tensors = list[StoredTensor]()
        for own_name, tensor in own.items():
            if tensor is None:
                continue
            name = f"{prefix}.{own_name}" if prefix else own_name
            codes = live_codes(child, prefix, own_name, tensor)
            if codes is not None:
                tensors += _coded(name, tensor, kind_of(child, own_name), codes, sharded)
                found.texts |= codes.texts
            else:
                stored = _stored(name, tensor, kind_of(child, own_name))
                if sharded is not None and sharded.hold(child, own_name):
                    stored = _of_unit(stored, sharded, partial(getattr, child, own_name))
                tensors.append(stored)
            if (owner := owners.setdefault(id(tensor), name)) != name:
                ties[name] = owner
        if tensors:
            found.held[prefix] = tensors
        if is_computed(child):
            found.computed[prefix] = _computed(prefix, child, sharded)
    return found


def _coded(
    name: str, tensor: Tensor, kind: Kind, codes: LiveCodes, sharded: Fsdp1Unit | None
) -> Iterator[StoredTensor]:
    """Describe a quantized parameter: its parts, or the whole where only its own class or nothing can decode it."""
    if codes.parts and sharded is None:
        for part_name, part in codes.parts.items():
            yield part if isinstance(part, StoredTensor) else _stored(part_name, part, "unknown")
        return
    decoded, label = codes.whole or tensor.detach, type(tensor).__name__
    refused = codes.refused or ("" if sharded is None else f"{label} codes in a unit of FSDP1, not decoded")
    yield StoredTensor(
        name,
        tuple(tensor.shape),
        tensor.dtype,
        label,
        lambda start, stop: decoded().detach()[start:stop],
        kind,
        packed=f"quantized: {refused}" if refused else "",
    )


def _of_unit(stored: StoredTensor, sharded: Fsdp1Unit, tensor_of: Callable[[], Tensor]) -> StoredTensor:
    """Return a tensor of an FSDP1 unit, which is whole only while the unit is summoned."""
    packed = "sharded by FSDP1 and tensor parallelism at once. Use fully_shard" if stored.sharded else stored.packed
    return replace(stored, sharded=sharded, read=sharded.read(tensor_of), packed=packed)


def kind_of(module: nn.Module, name: str) -> Kind:
    """Return what a parameter is in its module."""
    if type(module) is nn.Linear:  # nearly all; asking in the order below takes three times as long
        return "linear" if name == "weight" else "unknown"
    if isinstance(module, nn.MultiheadAttention) and name == "in_proj_weight":
        return "in_proj"
    if name != "weight":
        return "unknown"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return "embedding"
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d):
        return "conv"
    if type(module).__name__ == "Conv1D" and hasattr(module, "nf"):  # transformers.pytorch_utils: stores (in, out)
        return "transposed"
    return "linear" if isinstance(module, nn.Linear) else "unknown"


def _rows_of(tensor: Tensor, start: int, stop: int) -> Tensor:
    return tensor.detach()[start:stop] if tensor.ndim else tensor.detach()


def _stored(name: str, tensor: Tensor, kind: Kind) -> StoredTensor:
    dtype = tensor.dtype
    partitioned = is_zero3(tensor)
    sharded = DTensorParameter(tensor) if is_dtensor(tensor) else Zero3Parameter(tensor) if partitioned else None
    return StoredTensor(
        name=name,
        shape=tuple(tensor.ds_shape if partitioned else tensor.shape),  # type: ignore[attr-defined]  # ZeRO-3 leaves it empty
        dtype=dtype if dtype.is_floating_point else None,
        stored_dtype=_name_of(dtype),
        read=sharded.read if sharded else partial(_rows_of, tensor),
        kind=kind,
        packed="on the meta device, so it has no values" if tensor.is_meta else "",
        sharded=sharded,
    )


@cache
def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _computed(prefix: str, module: nn.Module, sharded: Fsdp1Unit | None) -> StoredTensor:
    """Describe a weight that the module computes."""
    name = f"{prefix}.weight" if prefix else "weight"
    originals = list(parts_of_weight(module).values())
    if any(is_zero3(original) for original in originals):
        stored = _stored(name, originals[-1], kind_of(module, "weight"))  # the first may be a norm
        return replace(stored, sharded=None, packed="computed from parameters that ZeRO-3 has partitioned")
    stored = _stored(name, computed_weight(module), kind_of(module, "weight"))
    if sharded is not None:
        return _of_unit(stored, sharded, partial(computed_weight, module))
    if stored.sharded is not None:  # computed from DTensors by all ranks, so not again by one of them
        return stored
    return replace(stored, read=lambda start, stop: computed_weight(module)[start:stop])


def config_of(module: nn.Module, modules: Modules | None = None) -> Mapping[str, Any]:
    """Return the HF config of the module or of the first child that has one, as a dict.

    Args:
        module: any model.
        modules: its `named_modules()`, where these are there already.
    """
    listed = list(module.named_modules()) if modules is None else modules
    have_one = {kind for kind in {type(child) for _, child in listed} if hasattr(kind, "config")}
    for _, child in listed:
        if "config" not in child.__dict__ and type(child) not in have_one:
            continue
        to_dict = getattr(getattr(child, "config", None), "to_dict", None)
        if callable(to_dict):
            found = to_dict()
            return found if isinstance(found, dict) else {}
    return {}
