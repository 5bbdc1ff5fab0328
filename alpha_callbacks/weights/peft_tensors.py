"""The tensors of a live model under PEFT, by what they are and under the names that they have without PEFT."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn

from alpha_callbacks.weights.adapters.names import place_of
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.stored_tensor import StoredTensor
from alpha_callbacks.weights.wrapper import without_wrapper

_SHARED = ("vera_A", "vera_B")  # matrices that stand in one layer and serve all
_INSIDE = {"base_layer", "original_module", "token_adapter"}  # what PEFT puts between a layer and its weight


@dataclass
class PeftTensors:
    """The tensors of a model under PEFT.

    Attributes:
        base: name -> tensor: the weights below adapters, and all that has none.
        adapted: names of those below adapters.
        acting: of these, those with an adapter that acts.
        merged: of these, those with an adapter merged into them.
        moving: names of those that are trained themselves.
        factors: adapter -> its factors where it acts, named as in its file.
        scales: adapter -> module -> factor of its product.
        saved: modules trained in full.
        names: name in a checkpoint of the model under PEFT -> name here.
        idle: what does not act, each with the reason why it is no matrix of its own.
    """

    base: dict[str, StoredTensor] = field(default_factory=dict)
    adapted: set[str] = field(default_factory=set)
    acting: set[str] = field(default_factory=set)
    merged: set[str] = field(default_factory=set)
    moving: set[str] = field(default_factory=set)
    factors: dict[str, list[StoredTensor]] = field(default_factory=dict)
    scales: dict[str, dict[str, float]] = field(default_factory=dict)
    saved: list[StoredTensor] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    idle: list[StoredTensor] = field(default_factory=list)


def is_adapted(module: nn.Module) -> bool:
    """Return True for a layer of PEFT around the layer that it adapts."""
    return module._modules.get("base_layer") is not None and hasattr(module, "active_adapters")


def plain_name(name: str) -> str:
    """Return the name that a parameter has in the model without PEFT and other wrappers.

    Examples:
        >>> plain_name("base_model.model.layers.0.up.base_layer.weight")
        'layers.0.up.weight'
    """
    return ".".join(part for part in clean_name(name).split(".") if part not in _INSIDE)


def sort_tensors(tensors: Sequence[StoredTensor], named: Sequence[StoredTensor], module: nn.Module) -> PeftTensors:
    """Sort the tensors of a model.

    Args:
        tensors: all of them, under the names that they have in the module.
        named: the same, under the names that they have in a checkpoint.
        module: the model.
    """
    parts = PeftTensors()
    trained = {name for name, p in module.named_parameters(remove_duplicate=False) if p.requires_grad}
    flat = any("_flat_param" in name for name in trained)  # of FSDP1, whose parameters have no names of their own
    trained |= {re.sub(r"\.parametrizations\.weight\..*", ".weight", name) for name in trained}
    wrappers: dict[str, Any] = {path: child for path, child in module.named_modules() if _wraps(child)}
    unsaved = {f"{path}.{name}" for path, child in module.named_modules() for name in child._non_persistent_buffers_set}
    acting, inside = set[str](), dict[str, str]()
    for tensor, before, saved in zip(tensors, named, without_wrapper(named), strict=True):
        path = _owner(tensor.name, wrappers)
        inner = clean_name(tensor.name[len(path) :].lstrip(".")) if path is not None else ""
        first, adapter, *last = [*inner.split("."), "", ""][: max(2, inner.count(".") + 1)]
        if path is None or first in _INSIDE:
            name = plain_name(saved.name)
            parts.base.setdefault(name, replace(saved, name=name))
            parts.names[before.name] = name
            parts.moving.update({name} if flat or tensor.name in trained else ())
            if path is not None and is_adapted(wrappers[path]) and _is_matrix(saved):
                inside[name] = path
                parts.merged.update({name} if getattr(wrappers[path], "merged_adapters", ()) else ())
            continue
        acts, name = adapter in _acting(wrappers[path]), clean_name(saved.name)
        if first == "modules_to_save" and acts:
            parts.saved.append(replace(saved, name=name.replace(f".modules_to_save.{adapter}.", ".")))
        elif tensor.name in unsaved and first not in _SHARED:
            parts.idle.append(replace(saved, companion="indices of an adapter"))
        elif not (acts or first in _SHARED):
            parts.idle.append(replace(saved, companion="of an adapter that does not act"))
        else:
            if first not in _SHARED:
                acting.add(path)
            name = ".".join([name.removesuffix(inner) + first, *last])
            parts.factors.setdefault(adapter, []).append(replace(saved, name=name))
            place, scale = place_of(name), _scale(wrappers[path], adapter)
            if place is not None and scale is not None:
                parts.scales.setdefault(adapter, {})[place.module] = scale
    parts.adapted, parts.acting = set(inside), {name for name, path in inside.items() if path in acting}
    return parts


def _wraps(module: nn.Module) -> bool:
    """Return True for PEFT's wrappers: around adapted layers, and around modules that are trained in full."""
    inner = getattr(module, "original_module", None)
    return is_adapted(module) or isinstance(inner, nn.Module) and hasattr(module, "active_adapters")


def _owner(name: str, wrappers: Mapping[str, Any]) -> str | None:
    """Return the path of the innermost wrapper that a tensor is in."""
    path = name
    while path:
        path = path.rpartition(".")[0]
        if path in wrappers:
            return path
    return None


def _is_matrix(tensor: StoredTensor) -> bool:
    return len(tensor.shape) > 1 and not (tensor.companion or tensor.name.endswith("bias"))


def _acting(layer: Any) -> tuple[str, ...]:
    """Return the adapters whose effect is in what a layer computes: where some are merged, no others are added."""
    merged = tuple(getattr(layer, "merged_adapters", ()))
    if merged or getattr(layer, "disable_adapters", False):
        return merged
    return tuple(layer.active_adapters)


def _scale(layer: Any, adapter: str) -> float | None:
    scale = getattr(layer, "scaling", {}).get(adapter)
    if scale is None:
        return None
    ranks = getattr(layer, "ranknum", {})  # of AdaLoRA
    return float(scale) / (float(ranks[adapter]) + 1e-5) if adapter in ranks else float(scale)
