"""Sensitivities of layers from training itself: an optimizer of Adam's kind has the mean squares of all gradients.

Their sum over a matrix stands for the trace of the Fisher information, but for one factor that all layers share: the
size of batches and clipping. So a model that was just trained needs no calibration text.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.sensitivity import pieces
from alpha_callbacks.evaluation.writable_weights import targets
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.weight import spans

_MOMENTS = ("exp_avg_sq", "square_avg", "state2")  # of Adam and its kin, of RMSprop, of bitsandbytes with 32 bits


@torch.no_grad()
def optimizer_sensitivities(model: nn.Module, optimizers: Iterable[Any]) -> dict[str, float]:
    """Return layer name -> sum over its weights of the optimizer's running mean of squared gradients.

    Nothing is changed, and nothing but these states is read. Layers without such a state (frozen, adapted, computed as
    by weight_norm, or with an optimizer that keeps none) are left out. Means begin at 0: those of layers that have seen
    fewer steps, or have another decay, are brought to what the one that is farthest has of its steady value.

    Args:
        model: as trained, on one process or a replica.
        optimizers: of the run, or wrappers with their `state`.

    Raises:
        PlanError: no layer has one, one is not finite, or parameters are sharded.
    """
    states: dict[Any, Mapping[str, Any]] = {}
    decays: dict[Any, float] = {}
    for optimizer in (each for each in optimizers if each is not None):
        states.update(optimizer.state)
        decays.update((p, _decay(group)) for group in getattr(optimizer, "param_groups", ()) for p in group["params"])
    listed = [w for w in module_inventory(model, AnalysisOptions()).weights if not w.unsupported and w.sharded is None]
    found = targets(model, listed, all_of_them=False)
    sums: dict[str, float] = {}
    inside = pieces(model, found)
    reached = {p: _reached(states[p], decays.get(p, 0.0)) for p in inside if p in states}
    for parameter, parts in inside.items():
        moment = _moment(states.get(parameter, {}), parameter)
        for part in parts if moment is not None else ():
            assert moment is not None
            total = _sum(part.of(moment)) * (max(reached.values()) / reached[parameter])
            for layer in found[part.index].layers:
                share = layer.out_features * layer.in_features / found[part.index].matrix.numel()
                sums[layer.layer_name] = total * share
    if not sums:
        raise PlanError(
            "sensitivities: expected an optimizer with mean squares of gradients (Adam, AdamW, RMSprop), got none for "
            f"any of {len(listed)} layers (adapters are none). Use recommend --sensitivity fisher with a text instead."
        )
    if odd := next((name for name, value in sums.items() if not math.isfinite(value)), ""):
        raise PlanError(f"sensitivities: expected finite mean squares of gradients, got {sums[odd]} for {odd}.")
    return sums


def _decay(group: Mapping[str, Any]) -> float:
    """Return by what a mean square is multiplied at each step; 0 where nobody says."""
    betas = group.get("betas")
    return float(betas[1] if betas else group.get("alpha", group.get("rho", 0.0)))


def _reached(state: Mapping[str, Any], decay: float) -> float:
    """Return which share of its steady value a mean that began at 0 has."""
    share = 1 - decay ** float(state.get("step", math.inf)) if 0 < decay < 1 else 1.0
    return share if share > 0 else 1.0


def _moment(state: Mapping[str, Any], parameter: Tensor) -> Tensor | None:
    """Return the mean squares of a parameter's gradients, laid out as it is; None if there are none to read."""
    for name in _MOMENTS:
        moment = state.get(name)
        if type(moment) is Tensor and moment.is_floating_point() and moment.shape == parameter.shape:
            return moment if moment.stride() == parameter.stride() else torch.empty_like(parameter).copy_(moment)
    return None


def _sum(matrix: Tensor) -> float:
    """Return the sum of all entries, in pieces: an output head as a whole would take gigabytes in fp64."""
    return sum(float(matrix[start:stop].double().sum()) for start, stop in spans(*matrix.shape))
