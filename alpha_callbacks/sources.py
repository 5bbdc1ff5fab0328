"""A live nn.Module -> the same inventory that a checkpoint gives. Reads only."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.inventory import Inventory, take_inventory
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.stored import Kind, StoredTensor, mark_packed


def module_inventory(module: nn.Module, options: AnalysisOptions) -> Inventory:
    """Return the weights of a live model, in module order.

    Linear, HF Conv1D, Conv1d/2d/3d (flattened to out x rest), MultiheadAttention.in_proj_weight and 3-D expert tensors;
    lm_head always, embedding tables on request. A storage that several layers share is one row. Weights are read when
    their turn comes.

    Args:
        module: any model; never changed, not even its train/eval mode.
        options: layer filter and embeddings.
    """
    owners: dict[int, str] = {}
    ties: dict[str, str] = {}
    tensors = []
    for name, tensor, kind in _own_tensors(module):
        tensors.append(_stored(name, tensor, kind))
        owner = owners.setdefault(id(tensor), name)  # the module keeps it alive, so that its id stays its own
        if owner != name:
            ties[name] = owner
    tensors += [_parametrized(name, child) for name, child in module.named_modules() if _has_parametrized_weight(child)]
    return take_inventory(
        mark_packed(tensors),
        _config(module),
        selects=options.selects,
        include_embeddings=options.include_embeddings,
        ties=ties,
    )


def _own_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor, Kind]]:
    """Yield (path, parameter or buffer, kind), tied ones under each of their names, shared modules once."""
    for prefix, child in module.named_modules():
        for name, tensor in chain(child.named_parameters(recurse=False), child.named_buffers(recurse=False)):
            yield f"{prefix}.{name}" if prefix else name, tensor, _kind(child, name)


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

    return StoredTensor(
        name=name,
        shape=tuple(tensor.shape),
        dtype=tensor.dtype if tensor.is_floating_point() else None,
        stored_dtype=str(tensor.dtype).removeprefix("torch."),
        read=read,
        kind=kind,
        packed="on the meta device, so it has no values" if tensor.device.type == "meta" else "",
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
