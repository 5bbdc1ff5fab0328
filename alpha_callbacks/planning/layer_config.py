"""A layer config made of patterns, applied to the layers of one model: a plan with exact names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from alpha_callbacks.errors import OptionError, PlanError
from alpha_callbacks.planning.plan import Choice, Plan, module_name
from alpha_callbacks.precisions.registry import get_precision

if TYPE_CHECKING:
    from alpha_callbacks.weights.weight import Weight

KEPT = ("embedding", "lm_head", "moe_router", "conv")  # quantized only where a pattern names them

_GROUPED = ("int2", "int3", "int4", "int6", "int8", "fp8", "fp4")
_FIXED = {"mxfp8": 32, "mxfp6": 32, "mxfp4": 32}  # with the one group size that they have
_WIDE = ("bf16", "fp16", "fp32")
_MODULE_KEYS = ("wq", "aq", "group_size", "skip")


def layers_of(weights: Iterable[Weight]) -> tuple[Choice, ...]:
    """Return the weights of an inventory as choices that leave them as stored, for `expand`."""
    return tuple(
        Choice(w.layer_name, w.category, w.out_features, w.in_features, _stored(w), tied_to=w.tied_to) for w in weights
    )


def expand(config: Mapping[str, Any], layers: Iterable[Choice]) -> Plan:
    """Apply a layer config to a model.

    Every layer starts from "default"; each override whose pattern matches its name (fnmatch, case counts, `*` crosses
    dots) is laid over it in order, later keys win, and "skip": true leaves it at 16 bits. Embeddings, language heads,
    routers and convolutions are left out of this unless the last part of a pattern has letters of their name
    (`lm_head`, `*.mlp.gate`, not `*` or `model.layers.1*`). A layer that shares another's storage stays as it is.

    Args:
        config: {"default": {"wq", "group_size", ...}, "overrides": [{"pattern", "wq", "group_size", "skip"}]}. "aq" is
            about activations, which a plan does not hold.
        layers: the layers of the model; a skipped one keeps its precision if that has 16 bits or more, else it is bf16.

    Raises:
        PlanError: not such a config, an unknown wq, or patterns that match nothing.
    """
    default, overrides = _read(config)
    listed = tuple(layers)
    unused = [o.pattern for o in overrides if not any(o.matches(layer.layer_name) for layer in listed)]
    if unused:
        shown = ", ".join(unused[:5]) + (", ..." if len(unused) > 5 else "")
        raise PlanError(
            f"layer config: expected patterns that match a layer of the model, got {len(unused)} that match none: "
            f"{shown}. Correct or remove them."
        )
    return Plan(tuple(_choose(layer, default, overrides) for layer in listed), "layer-config")


@dataclass(frozen=True)
class _Override:
    """One entry of "overrides"."""

    pattern: str
    keys: Mapping[str, Any]

    def matches(self, layer_name: str) -> bool:
        return any(fnmatchcase(name, self.pattern) for name in {layer_name, module_name(layer_name)})

    def names(self, layer_name: str) -> bool:
        """Return True if it matches, and not only by wildcards."""
        last = re.sub(r"\[[^]]*\]|[*?]", "", self.pattern.rpartition(".")[2])
        return self.matches(layer_name) and any(letter.isalpha() for letter in last)


def _read(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[_Override, ...]]:
    default, listed = config.get("default", {}), config.get("overrides", [])
    if not isinstance(default, Mapping) or not isinstance(listed, list):
        raise PlanError('layer config: expected {"default": {...}, "overrides": [...]}.')
    for entry in listed:
        if not isinstance(entry, Mapping) or not isinstance(entry.get("pattern"), str):
            raise PlanError(f'layer config: expected overrides with a "pattern", got {entry!r}.')
    return default, tuple(_Override(entry["pattern"], entry) for entry in listed)


def _choose(layer: Choice, default: Mapping[str, Any], overrides: tuple[_Override, ...]) -> Choice:
    kept = layer.category in KEPT
    if layer.tied_to:
        return replace(layer, precision=_wide(layer), reason=f"same storage as {layer.tied_to}", budgeted=False)
    laid = [o for o in overrides if (o.names if kept else o.matches)(layer.layer_name)]
    if kept and not laid:
        return replace(layer, precision=_wide(layer), reason=f"{layer.category}, named by no pattern", budgeted=False)
    keys = dict(default)
    for override in laid:
        keys.update({key: value for key, value in override.keys.items() if key in _MODULE_KEYS})
    source = f"pattern {laid[-1].pattern}" if laid else "default"
    if not isinstance(keys.get("skip", False), bool):
        raise PlanError(f"{layer.layer_name}: expected skip to be true or false, got {keys['skip']!r}.")
    if keys.get("skip"):
        return replace(layer, precision=_wide(layer), reason=f"skipped by {source}")
    return replace(layer, precision=_precision(keys, layer.layer_name), reason=source)


def _precision(keys: Mapping[str, Any], layer_name: str) -> str:
    """Return the canonical precision of wq and group_size."""
    wq, size = str(keys.get("wq", "bf16")).lower(), keys.get("group_size")
    if wq in _WIDE:
        return get_precision(wq).name
    if wq in _FIXED:
        if size not in (None, _FIXED[wq]):
            raise PlanError(f"{layer_name}: expected group_size {_FIXED[wq]} for {wq}, got {size!r}.")
        return get_precision(wq).name
    if wq not in _GROUPED:
        known = ", ".join((*_GROUPED, *_FIXED, *_WIDE))
        raise PlanError(f"{layer_name}: expected wq to be one of {known}, got {keys.get('wq')!r}.")
    if size is None:
        return get_precision(wq).name
    try:
        return get_precision(f"{wq}:g{size}" if int(size) > 0 else f"{wq}:channel").name
    except (OptionError, TypeError, ValueError) as error:
        raise PlanError(f"{layer_name}: expected group_size as a number, got {size!r}.") from error


def _wide(layer: Choice) -> str:
    return layer.precision if not layer.low_bit else "bf16"


def _stored(weight: Weight) -> str:
    name = str(weight.dtype).removeprefix("torch.")
    return get_precision(name).name if name in ("float64", "float32", "float16", "bfloat16") else "bf16"
