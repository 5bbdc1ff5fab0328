"""A tensor -> the matrices in it under their names, or why it has none. Siblings in other blocks are examined once."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from alpha_callbacks.weights.categorize import without_numbers
from alpha_callbacks.weights.expert_stacks import stack_forms
from alpha_callbacks.weights.families import Family, Known, families_of, known_in, table_of
from alpha_callbacks.weights.modalities import modality_of
from alpha_callbacks.weights.skip_reasons import why_skipped
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.unpack import unpacked
from alpha_callbacks.weights.weight import Weight
from alpha_callbacks.weights.wrapper import without_wrapper


class Examined(NamedTuple):
    """A tensor with the weights in it that are wanted, or why there are none."""

    tensor: StoredTensor
    weights: tuple[Weight, ...]
    why: str


def examine_all(
    tensors: Sequence[StoredTensor],
    config: Mapping[str, Any],
    include_embeddings: bool,
) -> list[Examined]:
    """Return each tensor, in their order, with what is in it."""
    forms, families = stack_forms(tensors, config), families_of(config)
    found, seen = list[Examined](), dict[tuple[object, ...], _Seen]()
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
        found.append(Examined(tensor, weights, why))
    return found


def matrices_of(
    tensors: Sequence[StoredTensor], config: Mapping[str, Any]
) -> list[tuple[StoredTensor, tuple[Weight, ...]]]:
    """Return each tensor, under its name in an inventory of them all, with the matrices in it; embeddings too."""
    entries = examine_all(without_wrapper(tensors), config, include_embeddings=True)
    return [(entry.tensor, entry.weights) for entry in entries]


class _Seen(NamedTuple):
    """What was found in a tensor and holds for its siblings: no weight and why, or one under its own name."""

    weight: Weight | None
    why: str


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
    why = why_skipped(tensor, known, include_embeddings)
    weights = () if why else tuple(unpacked(tensor, config, known))
    if weights and (modality := modality_of(weights[0].layer_name, config)):
        weights = tuple(replace(weight, modality=modality) for weight in weights)
    if tensor.sharded is not None:
        weights = tuple(replace(weight, sharded=tensor.sharded) for weight in weights)
    return why, weights
