"""Parameter groups of an optimizer <-> layers: splitting groups, finding the layer of each, and what is refused."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from alpha_callbacks.errors import OptionError
from alpha_callbacks.weights.sharded import fsdp1_units
from alpha_callbacks.weights.trained_layers import TrainedLayer, trained_layers

Group = dict[str, Any]

# Where the groups keep what was decided. It is there before a control is made, for torch's distributed checkpoints load
# only what they find.
STATES = {"lr": "alpha_lr", "weight_decay": "alpha_weight_decay"}

_SPLIT = "Split the groups before training: split_per_layer(model, optimizer)."


def split_per_layer(model: nn.Module, optimizer: Optimizer) -> Optimizer:
    """Give every layer a parameter group of its own, with the options of the group that it was in.

    Call it right after the optimizer is made: schedulers and states that are loaded count the groups. Parameters of no
    layer (norms, positions) stay together. Nothing about the training changes.

    Args:
        model: whose parameters the optimizer has; wrapped or not.
        optimizer: changed in place.

    Returns:
        The optimizer.

    Raises:
        OptionError: the optimizer has a scheduler, or hides its groups.

    Examples:
        >>> import torch
        >>> model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64), nn.Linear(64, 64))
        >>> optimizer = split_per_layer(model, torch.optim.AdamW(model.parameters()))
        >>> [len(group["params"]) for group in optimizer.param_groups]
        [2, 2, 2]
    """
    bare = bare_optimizer(optimizer)
    if any("initial_lr" in group for group in bare.param_groups):
        raise OptionError("optimizer: expected one without a scheduler, got one with. Split it before.")
    layers = trained_layers(model)
    layer_of = _layer_of_parameter(layers)
    bare.param_groups[:] = [part for group in bare.param_groups for part in _parts(group, layer_of)]
    for name, group in zip(layers_of_groups(layers, [bare], partly=True)[0], bare.param_groups, strict=True):
        for key in STATES.values() if name is not None else ():
            group.setdefault(key, undecided())
    return optimizer


def undecided() -> dict[str, Any]:
    """Return the state of a group before the first decision."""
    return {"rule": "", "step": -1, "start": 1.0, "target": 1.0}


def layers_of_groups(
    layers: Sequence[TrainedLayer], optimizers: Sequence[Optimizer], *, partly: bool = False
) -> list[list[str | None]]:
    """Return the layer name of each parameter group of each optimizer; None for a group without a layer.

    Args:
        layers: of the model.
        optimizers: all that train it; some of them with `partly`.
        partly: layers may have no group.

    Raises:
        OptionError: a group holds more than one layer, or a layer and something else, or no group holds a layer.
    """
    layer_of, placed, found = _layer_of_parameter(layers), set[str](), list[list[str | None]]()
    for optimizer in optimizers:
        found.append([_layer_of_group(group, n, layer_of) for n, group in enumerate(optimizer.param_groups)])
        placed.update(name for name in found[-1] if name is not None)
    lost = [layer.name for layer in layers if layer.name not in placed]
    if lost and not partly:
        raise OptionError(
            f"optimizer: expected a parameter group of {lost[0]}, which is trained, got none"
            f"{f' (nor of {len(lost) - 1} others)' if len(lost) > 1 else ''}. "
            "Hand over every optimizer; one that hides its groups cannot be controlled."
        )
    return found


def bare_optimizer(optimizer: Any) -> Optimizer:
    """Return the torch optimizer inside what Accelerate, Fabric or Lightning have wrapped it in.

    Raises:
        OptionError: it is none, or DeepSpeed's, which steps copies of the parameters.
    """
    while not _is_deepspeed(optimizer) and isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    if _is_deepspeed(optimizer) or _is_deepspeed(getattr(optimizer, "optimizer", None)):
        raise OptionError("optimizer: expected parameter groups with the model's parameters, got DeepSpeed's copies.")
    if not isinstance(optimizer, Optimizer):
        raise OptionError(f"optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}.")
    return optimizer


def check_model(model: nn.Module) -> None:
    """Raise OptionError for a model whose layers cannot be told apart in an optimizer."""
    if fsdp1_units(model):
        raise OptionError("model: expected parameters one by one, got FSDP1's flat ones. Use fully_shard (FSDP2).")


def _is_deepspeed(thing: object) -> bool:
    return any(base.__module__.partition(".")[0] == "deepspeed" for base in type(thing).__mro__) or (
        type(thing).__name__ == "DeepSpeedOptimizerWrapper"  # of Accelerate
    )


def _layer_of_parameter(layers: Sequence[TrainedLayer]) -> dict[int, str]:
    """Return the layer name by the id of the parameter; the layers keep the parameters alive."""
    return {id(parameter): layer.name for layer in layers for parameter in layer.parameters}


def _parts(group: Group, layer_of: Mapping[int, str]) -> list[Group]:
    """Return a group as one group per layer, then one of what belongs to none."""
    places: dict[str, list[int]] = {}
    for place, parameter in enumerate(group["params"]):
        places.setdefault(layer_of.get(id(parameter), ""), []).append(place)
    rest = places.pop("", [])
    lists = {name for name in ("params", "param_names") if name in group}
    return [
        {name: [value[n] for n in chosen] if name in lists else value for name, value in group.items()}
        for chosen in (*places.values(), *([rest] if rest else []))
    ]


def _layer_of_group(group: Group, number: int, layer_of: Mapping[int, str]) -> str | None:
    names = {layer_of.get(id(parameter)) for parameter in group["params"]}
    weights = sorted({layer_of[id(p)] for p in group["params"] if p.ndim > 1 and id(p) in layer_of})
    if len(names) == 1:
        return names.pop()
    if not weights:  # biases and norms of many layers
        return None
    got = f"those of {len(weights)} layers ({', '.join(weights[:2])}, …)" if len(weights) > 1 else "others beside them"
    raise OptionError(f"optimizer group {number}: expected the parameters of {weights[0]}, got {got}. {_SPLIT}")
