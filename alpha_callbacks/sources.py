"""A live nn.Module -> the same inventory that a checkpoint gives. Reads only."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.inventory import Inventory, take_inventory
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.shards import DTensorShards, Fsdp1Shards, Zero3Shards, fsdp1_units, is_dtensor, is_zero3
from alpha_callbacks.stored import Kind, StoredTensor, mark_packed


def module_inventory(module: nn.Module, options: AnalysisOptions) -> Inventory:
    """Return the weights of a live model, in module order.

    Linear, HF Conv1D, Conv1d/2d/3d (flattened to out x rest), MultiheadAttention.in_proj_weight and 3-D expert tensors;
    lm_head always, embedding tables on request. A storage that several layers share is one row. Weights are read when
    their turn comes.

    Of a model that is sharded over ranks (FSDP, tensor parallelism, ZeRO-3) all ranks must call this; the weights then
    carry `shards`.

    Args:
        module: any model; never changed, not even its train/eval mode.
        options: layer filter and embeddings.
    """
    ties: dict[str, str] = {}
    units = fsdp1_units(module)
    summoned = {child for _, unit in units for child in _own_modules(unit).values()}
    plain = [(path, child) for path, child in module.named_modules() if child not in summoned]
    tensors = _stored_all(plain, ties, None)
    for path, unit in units:
        shards = Fsdp1Shards(unit)
        with shards.whole():  # only now do its parameters have their shapes
            inside = [(f"{path}.{inner}".strip("."), child) for inner, child in _own_modules(unit).items()]
            tensors += _stored_all(inside, ties, shards)
    tensors += [_parametrized(name, child) for name, child in module.named_modules() if _has_parametrized_weight(child)]
    return take_inventory(
        mark_packed(tensors),
        _config(module),
        selects=options.selects,
        include_embeddings=options.include_embeddings,
        ties=ties,
    )


def _own_modules(unit: nn.Module) -> dict[str, nn.Module]:
    """Return path -> module of one FSDP1 unit, without those of units inside it."""
    inner = [f"{path}." for path, _ in fsdp1_units(unit) if path]
    return {
        path: child for path, child in unit.named_modules() if not any(f"{path}.".startswith(other) for other in inner)
    }


def _stored_all(
    modules: Iterable[tuple[str, nn.Module]], ties: dict[str, str], shards: Fsdp1Shards | None
) -> list[StoredTensor]:
    """Describe the parameters and buffers of these modules; tied ones under each name, with the owner's in `ties`."""
    owners: dict[int, str] = {}  # the module keeps a tensor alive, so that its id stays its own while we look
    tensors = []
    for prefix, child in modules:
        for own_name, tensor in chain(child.named_parameters(recurse=False), child.named_buffers(recurse=False)):
            name = f"{prefix}.{own_name}" if prefix else own_name
            stored = _stored(name, tensor, _kind(child, own_name))
            tensors.append(replace(stored, shards=shards, read=shards.reader(child, own_name)) if shards else stored)
            if (owner := owners.setdefault(id(tensor), name)) != name:
                ties[name] = owner
    return tensors


def _kind(module: nn.Module, name: str) -> Kind:
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


def _stored(name: str, tensor: Tensor, kind: Kind) -> StoredTensor:
    def read(start: int, stop: int) -> Tensor:
        return tensor.detach()[start:stop]

    shape = tuple(getattr(tensor, "ds_shape", tensor.shape))  # ZeRO-3 leaves a parameter empty
    shards = DTensorShards(tensor) if is_dtensor(tensor) else Zero3Shards(tensor) if is_zero3(tensor) else None
    return StoredTensor(
        name=name,
        shape=shape,
        dtype=tensor.dtype if tensor.is_floating_point() else None,
        stored_dtype=str(tensor.dtype).removeprefix("torch."),
        read=shards.read if shards else read,
        kind=kind,
        packed="on the meta device, so it has no values" if tensor.device.type == "meta" else "",
        shards=shards,
    )


def _has_parametrized_weight(module: nn.Module) -> bool:
    return nn.utils.parametrize.is_parametrized(module, "weight")


def _parametrized(prefix: str, module: nn.Module) -> StoredTensor:
    """Describe a weight that weight_norm, spectral_norm, ... compute on access."""
    name = f"{prefix}.weight" if prefix else "weight"
    return replace(
        _stored(name, _computed_weight(module), _kind(module, "weight")),
        read=lambda start, stop: _computed_weight(module)[start:stop],
    )


def _computed_weight(module: nn.Module) -> Tensor:
    """Return the weight that parametrizations give, without the update that spectral_norm makes while training."""
    parametrizations = list(module.parametrizations.weight.modules())  # type: ignore[union-attr]
    modes = [part.training for part in parametrizations]
    try:
        for part in parametrizations:
            part.training = False
        with torch.no_grad():
            weight = module.weight
            assert isinstance(weight, Tensor)
            return weight
    finally:
        for part, mode in zip(parametrizations, modes, strict=True):
            part.training = mode


def _config(module: nn.Module) -> Mapping[str, Any]:
    """Return the HF config of the module or of the first child that has one, as a dict."""
    for child in module.modules():
        to_dict = getattr(getattr(child, "config", None), "to_dict", None)
        if callable(to_dict):
            found = to_dict()
            return found if isinstance(found, dict) else {}
    return {}
