"""Which parameters of a live module are a layer's: what an optimizer holds, under the names that an inventory gives."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from torch import Tensor, nn

from alpha_callbacks.weights.computed_weight import is_computed, parts_of_weight
from alpha_callbacks.weights.examined_tensors import matrices_of
from alpha_callbacks.weights.module_weights import config_of, kind_of
from alpha_callbacks.weights.saved_names import SavedNames
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of


@dataclass(frozen=True)
class TrainedLayer:
    """A layer whose weight is trained.

    Attributes:
        name: of the layer; a parameter that holds several matrices (fused q/k/v, experts) is one layer.
        category: of its (first) matrix.
        parameters: its weight, then the bias of the same module.
        matrices: layer names of the matrices in it, as an inventory gives them.
    """

    name: str
    category: str
    parameters: tuple[nn.Parameter, ...]
    matrices: tuple[str, ...]


def trained_layers(module: nn.Module) -> list[TrainedLayer]:
    """Return the layers that an inventory of this module lists, and embeddings, as far as they are trained.

    In module order; a weight that layers share is one layer, with the name and the place of the last of them.

    Args:
        module: any model; never changed.
    """
    held, saved = list(_weights(module)), SavedNames.of(module)
    tensors = [saved.tensor(weight.tensor) for weight in held]
    found: dict[int, TrainedLayer] = {}
    for weight, (tensor, matrices) in zip(held, matrices_of(tensors, config_of(module)), strict=True):
        if not matrices:
            continue
        names = tuple(matrix.layer_name for matrix in matrices)
        name = names[0] if len(names) == 1 else layer_name_of(tensor.name).removesuffix("_weight")
        layer = TrainedLayer(name, matrices[0].category, weight.parameters, names)
        if (shared := found.pop(id(weight.parameters[0]), None)) is not None:
            layer = replace(layer, matrices=shared.matrices + names)
        found[id(weight.parameters[0])] = layer
    return list(found.values())


@dataclass(frozen=True)
class _HeldWeight:
    """A tensor that is trained, with the parameters that make it up and the bias beside it."""

    tensor: StoredTensor
    parameters: tuple[nn.Parameter, ...]


def _weights(module: nn.Module) -> Iterator[_HeldWeight]:
    for prefix, child in module.named_modules():
        made_of = parts_of_weight(child) if is_computed(child) else {}
        own = [(name, p) for name, p in child.named_parameters(recurse=False) if name not in made_of]
        matrices = [(name, parameter) for name, parameter in own if parameter.ndim > 1 and parameter.requires_grad]
        small = tuple(parameter for _, parameter in own if parameter.ndim < 2 and parameter.requires_grad)
        for name, parameter in matrices:
            beside = small if len(matrices) == 1 else ()
            yield _HeldWeight(_described(f"{prefix}.{name}".strip("."), child, name, parameter), (parameter, *beside))
        if made_of:
            parts = tuple(p for p in made_of.values() if p.requires_grad)
            largest = max(parts, key=Tensor.numel, default=None)
            if largest is not None:
                tensor = _described(f"{prefix}.weight".strip("."), child, "weight", largest)
                yield _HeldWeight(tensor, (*parts, *small))


def _described(path: str, owner: nn.Module, name: str, parameter: nn.Parameter) -> StoredTensor:
    dtype = parameter.dtype
    return StoredTensor(path, tuple(parameter.shape), dtype, str(dtype), _unread, kind_of(owner, name))


def _unread(start: int, stop: int) -> Tensor:
    raise AssertionError("only the name of this tensor is asked for")
