"""A live nn.Module -> the same inventory that a checkpoint gives. Reads only."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from alpha_callbacks.inventory import Inventory, Kind, StoredTensor, layer_name_of, take_inventory
from alpha_callbacks.options import AnalysisOptions


def module_inventory(module: nn.Module, options: AnalysisOptions) -> Inventory:
    """Return the weights of a live model, in module order.

    Linear, HF Conv1D, Conv1d/2d/3d (flattened to out x rest), MultiheadAttention.in_proj_weight and 3-D expert tensors;
    lm_head always, embedding tables on request. A storage that two layers share is one row, named after the later one
    (so that a tied lm_head is a row, as in a scan). Weights are read when their turn comes.

    Args:
        module: any model; never changed, not even its train/eval mode.
        options: layer filter and embeddings.
    """
    owners: dict[int, str] = {}
    ties: dict[str, str] = {}
    for name, parameter, _ in _parameters(module):
        layer = layer_name_of(name)
        if id(parameter) in owners:
            ties[layer] = owners[id(parameter)]
        owners.setdefault(id(parameter), layer)
    return take_inventory(
        [_stored(name, parameter, kind) for name, parameter, kind in _parameters(module)],
        _config(module),
        selects=options.selects,
        include_embeddings=options.include_embeddings,
        ties=ties,
    )


def _parameters(module: nn.Module) -> Iterator[tuple[str, Tensor, Kind]]:
    """Yield (path, parameter, kind), tied ones under each of their names, shared modules once."""
    for prefix, child in module.named_modules():
        for name, parameter in child.named_parameters(recurse=False):
            yield f"{prefix}.{name}" if prefix else name, parameter, _kind(child, name)
        if nn.utils.parametrize.is_parametrized(child, "weight"):
            yield f"{prefix}.weight", getattr(child, "weight"), _kind(child, "weight")  # noqa: B009


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


def _stored(name: str, parameter: Tensor, kind: Kind) -> StoredTensor:
    def read(start: int, stop: int) -> Tensor:
        return parameter.detach()[start:stop]

    numeric = parameter.is_floating_point()
    return StoredTensor(
        name=name,
        shape=tuple(parameter.shape),
        dtype=parameter.dtype if numeric else None,
        stored_dtype=str(parameter.dtype).removeprefix("torch."),
        read=read,
        kind=kind,
        packed="on the meta device, so it has no values" if parameter.device.type == "meta" else "",
    )


def _config(module: nn.Module) -> Mapping[str, Any]:
    """Return the HF config of the module or of the first child that has one, as a dict."""
    for child in module.modules():
        to_dict = getattr(getattr(child, "config", None), "to_dict", None)
        if callable(to_dict):
            found = to_dict()
            return found if isinstance(found, dict) else {}
    return {}
