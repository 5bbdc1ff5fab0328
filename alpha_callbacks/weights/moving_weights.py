"""What moves in a live model under PEFT: each adapted layer with its adapter, and the update alone.

The rows are those of `alpha-hill scan ADAPTER --base BASE` for a checkpoint of the same state, in names and columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.weights.adapters.read_adapter import Adapter, moves_base, read_adapter
from alpha_callbacks.weights.adapters.update import Update, together
from alpha_callbacks.weights.beside_base import Base, Chosen, adapted_inventory
from alpha_callbacks.weights.inventory import Inventory, take_inventory
from alpha_callbacks.weights.peft_tensors import PeftTensors, plain_name
from alpha_callbacks.weights.sharded import joined
from alpha_callbacks.weights.stored_tensor import Kind, StoredTensor, layer_name_of

_NOTE = (
    "under PEFT the rows are those of what moves: each adapted layer with its adapter, and the update alone, named "
    '"(update)". adapters="base" gives the rows of the frozen base'
)


def moving_inventory(
    parts: PeftTensors,
    module: nn.Module,
    config: Mapping[str, Any],
    chosen: Chosen,
    ties: Mapping[str, str],
) -> Inventory:
    """Return the weights of a model under PEFT that move in training, each with its update.

    Args:
        parts: its tensors, quantized ones decoded.
        module: the model, with at least one layer that PEFT adapts.
        config: of the model, as a dict.
        chosen: layer filter and embeddings.
        ties: tensor name -> name of the tensor that owns the same storage.
    """
    configs = {name: each for name, each in _configs(module).items() if name in parts.factors}
    read = [
        # What was taken out of the base when it was initialised is missing there, as it is in the live weight.
        read_adapter(factors, {**configs.get(name, {}), "init_lora_weights": True}, scales=parts.scales.get(name))
        for name, factors in parts.factors.items()
    ]
    updates = _updates(read, parts)
    base = [_unmerged(t, updates.get(t.name)) if t.name in parts.merged else t for t in parts.base.values()]
    renamed = {parts.names.get(name, name): parts.names.get(owner, owner) for name, owner in ties.items()}
    below = _base(base, config, renamed, parts.moving)
    factors = [factor for adapter in read for factor in (*adapter.factors, *_unknown(adapter))]
    whole = Adapter(tuple(updates.values()), tuple(parts.saved), (*factors, *parts.idle))
    found = adapted_inventory(whole, below, "the model", chosen)
    if moved := next((how for each in configs.values() if (how := moves_base(each))), ""):
        found.weights = [replace(w, unsupported=w.unsupported or moved) if w.is_update else w for w in found.weights]
    return replace(found, notes=(_NOTE,))


def _updates(read: Sequence[Adapter], parts: PeftTensors) -> dict[str, Update]:
    """Return name in the base -> what all adapters that act do to it; every adapted layer has one."""
    found: dict[str, list[Update]] = {}
    for adapter in read:
        for update in adapter.updates:
            name = plain_name(update.name)
            found.setdefault(name, []).append(replace(update, name=name))
    updates = {name: together(several) for name, several in found.items()}
    for name in parts.adapted - updates.keys():
        tensor = parts.base[name]
        kind: Kind = "linear" if tensor.kind == "transposed" else tensor.kind
        shape = tensor.shape[::-1] if tensor.kind == "transposed" else tensor.shape
        if name in parts.acting:
            updates[name] = Update(name, "PEFT", shape, kind=kind).refused(
                "a method whose formula is not computed here"
            )
        elif kind != "unknown":
            zeros = {
                "change": lambda start, stop, rest=shape[1:]: torch.zeros(stop - start, *rest, dtype=torch.float64)
            }
            updates[name] = Update(name, "no active adapter", shape, zeros, kind=kind)
    return updates


def _unknown(adapter: Adapter) -> list[StoredTensor]:
    return [replace(tensor, companion="of an adapter of a kind that is not known") for tensor in adapter.weights]


def _configs(module: nn.Module) -> dict[str, dict[str, Any]]:
    """Return adapter -> its config as adapter_config.json has it."""
    for child in module.modules():
        found = getattr(child, "peft_config", None)
        if isinstance(found, Mapping):
            dicts = {
                str(name): each.to_dict() for name, each in found.items() if callable(getattr(each, "to_dict", None))
            }
            return {
                name: {key: getattr(value, "value", value) for key, value in each.items()}
                for name, each in dicts.items()
            }
    return {}


def _base(
    tensors: Sequence[StoredTensor], config: Mapping[str, Any], ties: Mapping[str, str], moving: set[str]
) -> Base:
    weights = take_inventory(tensors, config, include_embeddings=True, ties=ties, named=True).weights
    shapes = {layer_name_of(tensor.name): tensor.shape for tensor in tensors if len(tensor.shape) > 1}
    below = Base("the model", config, {weight.layer_name: weight for weight in weights}, shapes)
    below.moving = {weight.layer_name for name in moving for weight in below.parts(layer_name_of(name))}
    return below


def _unmerged(tensor: StoredTensor, update: Update | None) -> StoredTensor:
    """Return the weight below an adapter that is merged into it."""
    if update is None or update.unsupported or update.needs_base or update.kind == "unknown" or tensor.packed:
        why = tensor.packed or "merged with its adapter, from which it cannot be told. Call unmerge_adapter() before"
        return replace(tensor, packed=why)
    change, transposed = update.rows["change"], tensor.kind == "transposed"

    def read(start: int, stop: int) -> Tensor:
        added = change(0, tensor.shape[1])[:, start:stop].T if transposed else change(start, stop)
        return tensor.read(start, stop).double() - added

    return replace(tensor, read=read, dtype=torch.float64, sharded=joined(tensor.sharded, update.sharded))
