"""Weights that a module computes from other tensors of its own: parametrizations, pruning, norms as hooks."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm


def is_computed(module: nn.Module) -> bool:
    """Return True where the weight is no parameter, but made of others (weight_norm, spectral_norm, prune, ...)."""
    if not module._forward_pre_hooks and "parametrizations" not in module._modules:  # most have neither
        return False
    found = module._modules.get("parametrizations")
    return isinstance(found, nn.ModuleDict) and "weight" in found or _hook(module) is not None


def parts_of_weight(module: nn.Module) -> dict[str, nn.Parameter]:
    """Return the parameters that a computed weight is made of, under their names in the module."""
    if _hook(module) is None:
        parametrizations: Any = module.parametrizations
        return dict(parametrizations.weight.named_parameters(prefix="parametrizations.weight"))
    return {name: p for name, p in module.named_parameters(recurse=False) if name.startswith("weight_")}


def computed_weight(module: nn.Module) -> Tensor:
    """Return the weight as the next forward pass in eval mode computes it; nothing in the module changes."""
    with torch.no_grad():
        hook = _hook(module)
        if hook is None:
            return _parametrized(module)
        if isinstance(hook, BasePruningMethod):
            found = hook.apply_mask(module)
        else:
            still = {"do_power_iteration": False} if isinstance(hook, SpectralNorm) else {}
            found = hook.compute_weight(module, **still)
        assert isinstance(found, Tensor)
        return found


def _hook(module: nn.Module) -> Any:
    """Return the hook of torch.nn.utils that sets the weight before each forward pass, or None."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == "weight":
            return hook
        if isinstance(hook, WeightNorm | SpectralNorm) and hook.name == "weight":
            return hook
    return None


def _parametrized(module: nn.Module) -> Tensor:
    """Return the weight that parametrizations give, without the update that spectral_norm makes while training."""
    parametrizations: Any = module.parametrizations
    parts = list(parametrizations.weight.modules())
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        weight = module.weight
        assert isinstance(weight, Tensor)
        return weight
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode
