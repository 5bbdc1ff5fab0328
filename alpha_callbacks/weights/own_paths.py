"""Matrices whose names clash, each under the path of its own tensor: which of them the model uses is not known."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import count

from alpha_callbacks.weights.examined_tensors import Examined
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.weight import Weight

OWN_PATHS = "layers whose name another layer has too are listed under their own path, wrappers and all"


def clashing_names(entries: Sequence[Examined], keys: Sequence[str]) -> set[str]:
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


def with_own_paths(
    entries: Sequence[Examined], tensors: Sequence[StoredTensor], clashing: Collection[str]
) -> tuple[list[Examined], dict[str, str]]:
    """Return the entries with matrices whose names differ, and new name -> the one that others have too."""
    flat = [weight for entry in entries for weight in entry.weights]
    origins = [(e.tensor, tensor) for e, tensor in zip(entries, tensors, strict=True) for _ in e.weights]
    named = _under_own_paths(flat, origins, clashing)
    clean = {new.layer_name: old.layer_name for new, old in zip(named, flat, strict=True) if new is not old}
    each = iter(named)
    return [entry._replace(weights=tuple(next(each) for _ in entry.weights)) for entry in entries], clean


def _under_own_paths(
    weights: Sequence[Weight], origins: Sequence[tuple[StoredTensor, StoredTensor]], clashing: Collection[str]
) -> list[Weight]:
    """Return matrices of which no two of different storage have one name.

    Two that have the same path as well, such as decoded codes beside the weight itself, are told apart by a number.

    Args:
        weights: some with names that others have too.
        origins: of each, its tensor under the name that the matrix was named by, and as the source has it.
        clashing: these names.
    """
    found = list[Weight]()
    taken = {weight.layer_name for weight in weights if weight.layer_name not in clashing}
    for weight, (shown, tensor) in zip(weights, origins, strict=True):
        if weight.layer_name in clashing:
            path = _path(weight, shown, tensor)
            names = (path if number == 1 else f"{path} ({number})" for number in count(1))
            weight = replace(weight, layer_name=next(name for name in names if name not in taken), source_name="")
            taken.add(weight.layer_name)
        found.append(weight)
    return found


def _path(weight: Weight, shown: StoredTensor, tensor: StoredTensor) -> str:
    """Return the path of a matrix: that of its tensor, and what tells it from others in the same tensor."""
    whole, plain = re.sub(r"\.weight$", "", tensor.source or tensor.name), layer_name_of(shown.source or shown.name)
    name = weight.source_name or weight.layer_name
    if name.startswith(plain):
        return whole + name[len(plain) :]
    above = plain.rpartition(".")[0]  # of a stack, where the number comes before the last part
    return whole.rpartition(".")[0] + name[len(above) :] if above and name.startswith(above) else name
