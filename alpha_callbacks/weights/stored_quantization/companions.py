"""Which tensors are stored beside the codes of a matrix."""

import re
from collections.abc import Iterable, Mapping

from alpha_callbacks.weights.stored_tensor import StoredTensor

# Beside a weight, but not needed to decode it: biases, and the scales of activations and of the key-value cache.
_UNRELATED = re.compile(
    r"(^|_)bias$|(^|_)(input|output|activation|act)_(scale|zero_point|global_scale|scale_ub|amax)$|^scale_input$|qscale_act$"
    r"|^(k|v|q|kv|prob)_(scale|zero_point)$"
)


def in_few_bits(tensor: StoredTensor) -> bool:
    """Return True for floats below 16 bits, which torch can read although they may be codes of a quantizer."""
    return tensor.dtype is not None and tensor.dtype.itemsize < 2


def by_module(tensors: Iterable[StoredTensor]) -> dict[str, list[str]]:
    """Return module path -> names of the tensors that it holds itself."""
    found: dict[str, list[str]] = {}
    for tensor in tensors:
        found.setdefault(tensor.name.rpartition(".")[0], []).append(tensor.name)
    return found


def companions_of(tensor: StoredTensor, modules: Mapping[str, list[str]]) -> tuple[str, ...]:
    """Return the names of the tensors that may belong to the codes of another.

    These are all tensors of a module that has one `weight`; for any other tensor those whose name begins with its own.

    Args:
        tensor: the codes.
        modules: see `by_module`.
    """
    module, _, last = tensor.name.rpartition(".")
    names = [*modules.get(module, ()), *modules.get(tensor.name, ())]
    if last != "weight":
        names = [name for name in names if name.startswith((f"{tensor.name}_", f"{tensor.name}."))]
    return tuple(name for name in names if name != tensor.name and not is_unrelated(name.rpartition(".")[2]))


def is_unrelated(last: str) -> bool:
    """Return True for the last part of a name that says nothing of the codes: a bias, a scale of activations."""
    return _UNRELATED.search(last) is not None
