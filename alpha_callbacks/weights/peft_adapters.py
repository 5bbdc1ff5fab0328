"""Weights under the adapters of PEFT as they act: base and adapter in one."""

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.weights.sharded import is_dtensor, is_zero3
from alpha_callbacks.weights.stored_quantization.companions import in_few_bits
from alpha_callbacks.weights.stored_tensor import StoredTensor


def with_adapters(tensors: Iterable[StoredTensor], module: nn.Module) -> list[StoredTensor]:
    """Return the tensors of a model, those under adapters as `merge_and_unload` would leave them."""
    layers = _layers(module)
    return [_merged(tensor, layers[tensor.name]) if tensor.name in layers else tensor for tensor in tensors]


def without_adapters(tensors: Iterable[StoredTensor], module: nn.Module) -> list[StoredTensor]:
    """Return the tensors of a model, those marked into which an adapter is merged: they are no base."""
    merged = {name for name, layer in _layers(module).items() if getattr(layer, "merged_adapters", ())}
    why = 'merged with its adapter. Call unmerge_adapter(), or use adapters="merged"'
    return [replace(t, packed=t.packed or why) if t.name in merged else t for t in tensors]


def _layers(module: nn.Module) -> dict[str, Any]:
    """Return name of the weight -> the layer of PEFT around it."""
    return {
        f"{path}.base_layer.weight".lstrip("."): child
        for path, child in module.named_modules()
        if callable(getattr(child, "merge", None)) and isinstance(getattr(child, "base_layer", None), nn.Module)
    }


def _merged(tensor: StoredTensor, layer: nn.Module) -> StoredTensor:
    if any(is_dtensor(p) or is_zero3(p) for p in layer.parameters()) or tensor.sharded is not None:
        return replace(tensor, packed='sharded, so not merged with its adapter. Use adapters="base"')
    if in_few_bits(tensor):
        return replace(tensor, packed='stored in codes, so not merged with its adapter. Use adapters="base"')
    if tensor.packed:
        return tensor
    if tensor.stored_dtype != str(tensor.dtype).removeprefix("torch."):  # decoded
        return _added(tensor, layer)
    return replace(tensor, read=lambda start, stop: _merged_weight(layer)[start:stop])


def _added(tensor: StoredTensor, layer: Any) -> StoredTensor:
    """Return decoded weights with the update added. PEFT's own merge would round the sum to codes again.

    DoRA scales the sum, so that it is no update, and other methods than LoRA do not say theirs in one way.
    """
    names = [name for name in layer.active_adapters if name in getattr(layer, "lora_A", {})]
    plain = names and not any(getattr(layer, "use_dora", {}).get(name) for name in names)
    if not (plain and callable(getattr(layer, "get_delta_weight", None))) or getattr(layer, "merged_adapters", []):
        return replace(tensor, packed='quantized, so not merged with an adapter of this kind. Use adapters="base"')

    def read(start: int, stop: int) -> Tensor:
        rows = tensor.read(start, stop).float()
        with torch.no_grad():
            for name in names:
                rows = rows + layer.get_delta_weight(name)[start:stop].float()
        return rows

    return replace(tensor, read=read, dtype=torch.float32, stored_dtype=f"{tensor.stored_dtype}, and its adapter")


def _merged_weight(layer: Any) -> Tensor:
    """Merge a copy of the one layer and return its weight: PEFT itself knows how (LoRA, DoRA, LoHa, ...)."""
    with torch.no_grad():
        twin = copy.deepcopy(layer)
        twin.merge()
        weight: Tensor = twin.base_layer.weight.detach()
        return weight
