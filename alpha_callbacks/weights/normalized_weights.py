"""Weights that are stored as what they are computed from: weight_norm and spectral_norm, old and new, and pruning.

torch keeps a norm and a direction, a matrix and the vectors of its largest singular value, or a matrix and a mask. A
live module says itself what it computes; for files the names tell. What other parametrizations compute, no name says.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

_MAY_BE = re.compile(r"parametrizations\.|_(g|v|u|orig|mask)$")
_NEW = re.compile(r"^(?P<owner>.*?)(^|\.)parametrizations\.(?P<name>\w+)\.(?P<part>.+)$")
_OLD = re.compile(r"^(?P<owner>.*?)(^|\.)(?P<name>\w*weight\w*?)_(?P<part>g|v|u|orig|mask)$")
_WEIGHT_NORM = (("original0", "original1"), ("g", "v"))  # norm, direction
_SPECTRAL_NORM = (("original", "0._u", "0._v"), ("orig", "u", "v"))  # matrix, left and right singular vector
_PRUNED = (("orig", "mask"),)
_UNKNOWN = "computed by a parametrization that the names of its tensors do not tell"


def with_computed(tensors: Sequence[StoredTensor]) -> list[StoredTensor]:
    """Return tensors with the weights that some of them make up, each before the first of these."""
    places = [_place(tensor.name) if _MAY_BE.search(tensor.name) else None for tensor in tensors]
    if not any(places):
        return list(tensors)
    parts: dict[str, dict[str, StoredTensor]] = {}
    for tensor, place in zip(tensors, places, strict=True):
        if place is not None:
            parts.setdefault(place[0], {})[place[1]] = tensor
    weights = {name: weight for name, held in parts.items() if (weight := _weight(name, held)) is not None}
    there, result = {tensor.name for tensor in tensors}, list[StoredTensor]()
    for tensor, place in zip(tensors, places, strict=True):
        name = place[0] if place is not None else ""
        if name in weights:
            if name not in there:
                result.append(weights[name])
                there.add(name)
            tensor = replace(tensor, companion=tensor.companion or f"what {layer_name_of(name)} is computed from")
        result.append(tensor)
    return result


def _place(name: str) -> tuple[str, str] | None:
    """Return (name of the weight, which part of it), None for a tensor that is no part."""
    match = _NEW.match(name) or _OLD.match(name)
    return (f"{match['owner']}.{match['name']}".lstrip("."), match["part"]) if match else None


def _weight(name: str, parts: Mapping[str, StoredTensor]) -> StoredTensor | None:
    """Describe the weight that these parts make up; None where they are not those of one."""
    names = next((names for names in (*_WEIGHT_NORM, *_SPECTRAL_NORM, *_PRUNED) if parts.keys() == set(names)), None)
    if names is None:
        original = parts.get("original")
        return None if original is None else replace(original, name=name, sharded=None, packed=_UNKNOWN)
    held = [parts[each] for each in names]
    whole = held[1] if names in _WEIGHT_NORM else held[0]
    formula: Callable[..., Tensor]
    if names in _WEIGHT_NORM:
        fits, formula = _along_one(held[0].shape, whole.shape), _weight_normed
    elif names in _PRUNED:
        fits, formula = held[1].shape == whole.shape, torch.mul
    else:
        fits, formula = held[1].numel in whole.shape, _spectrally_normed
    if not fits:
        return None
    if not all(part.readable and part.dtype is not None for part in held):
        return replace(whole, name=name, sharded=None, packed="computed from parameters that are sharded or in codes")

    def read(start: int, stop: int) -> Tensor:
        return formula(*(part.read(0, part.shape[0] if part.shape else 1) for part in held))[start:stop]

    return replace(whole, name=name, read=read, columns=None)


def _along_one(norm: tuple[int, ...], direction: tuple[int, ...]) -> bool:
    """Return True for one norm per index of at most one dimension."""
    if not norm:
        return True
    same = len(norm) == len(direction) and all(a in (1, b) for a, b in zip(norm, direction, strict=True))
    return same and sum(size > 1 for size in norm) < 2


def _weight_normed(norm: Tensor, direction: Tensor) -> Tensor:
    one = [i for i, size in enumerate(direction.shape) if size == 1]  # then its one norm is that of all
    along = next((i for i, size in enumerate(norm.shape) if size > 1), one[0] if norm.ndim and one else -1)
    return torch._weight_norm(direction, norm, along)


def _spectrally_normed(matrix: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Divide a matrix by u W v, with the dimension in front that u is of.

    Where two dimensions have its length, that is the one for which u is most nearly W v, as power iteration leaves it.
    """
    sizes = [i for i, size in enumerate(matrix.shape) if size == left.numel()]
    products = [matrix.movedim(i, 0).flatten(1).mv(right) for i in sizes]
    product = max(products, key=lambda found: float(torch.dot(left, found) / torch.linalg.vector_norm(found)))
    return matrix / torch.dot(left, product)
