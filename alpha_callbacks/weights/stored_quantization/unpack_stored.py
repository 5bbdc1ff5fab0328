"""Tensors as stored -> tensors whose values are weights, or are marked as codes. The way in for files and modules."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from alpha_callbacks.weights.families import text_config
from alpha_callbacks.weights.stored_quantization.companions import by_module
from alpha_callbacks.weights.stored_quantization.layout import Description
from alpha_callbacks.weights.stored_quantization.layouts import LAYOUTS
from alpha_callbacks.weights.stored_quantization.mark import is_plain, mark_packed, refused_beside_more
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of


def unpack_stored(
    tensors: Iterable[StoredTensor],
    config: Mapping[str, Any],
    metadata: Mapping[str, str] | None = None,
    *,
    whole: bool = True,
) -> list[StoredTensor]:
    """Return the tensors in their order: matrices of a known layout decoded, other codes and all companions marked.

    Args:
        tensors: all tensors of a model, so that companions in other files are found.
        config: the model's config.json as a dict, or empty.
        metadata: texts in the headers of the files, where the format has such.
        whole: False if the scales of a matrix may be in files that are not among the tensors.
    """
    listed = list(tensors)
    about = Description(config, _quantization(config), metadata or {})
    if is_plain(listed, about):
        return listed
    modules = by_module(listed)
    claimed: dict[str, StoredTensor] = {}
    for layout in LAYOUTS:
        # Matrices without elements, which have no groups to divide by, are shown to no layout.
        unclaimed = {t.name: t for t in listed if t.name not in claimed and (t.numel or len(t.shape) < 2)}
        for claim in layout.recognise(unclaimed, about):
            matrix = replace(layout.decode(claim, about), columns=None)  # those of the codes are no columns of it
            claimed[claim.codes.name] = refused_beside_more(matrix, claim, modules)
            for role, tensor in claim.companions.items():
                claimed[tensor.name] = replace(tensor, companion=f"{role} of {layer_name_of(matrix.name)}")
    free = (tensor for tensor in listed if tensor.name not in claimed)
    rest = iter(mark_packed(free, about, scaled=bool(claimed), whole=whole))
    return [claimed[tensor.name] if tensor.name in claimed else next(rest) for tensor in listed]


def _quantization(config: Mapping[str, Any]) -> Mapping[str, Any]:
    for part in (config, text_config(config)):
        found = part.get("quantization_config")
        if isinstance(found, Mapping):
            return found
    return {}
