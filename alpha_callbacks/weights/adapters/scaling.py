"""How strongly an adapter acts: its config, the numbers beside its factors, or the habit of who wrote it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.utils.name_patterns import PatternError, matches
from alpha_callbacks.weights.adapters.names import Group
from alpha_callbacks.weights.adapters.update import whole

_PEFT_ALPHA = 8  # what PEFT takes where a config does not say
UNKNOWN_SCALE = "its scale is not known: adapter_config.json (with lora_alpha) is not beside the file"


def scale_of(group: Group, rank: int, config: Mapping[str, Any], *, peft: bool) -> float | None:
    """Return the factor of the product, or None where nothing tells it.

    A number named `alpha` beside the factors (kohya) and a config (PEFT) give alpha / rank, or alpha / sqrt(rank) with
    `use_rslora`; MLX gives the factor itself. Without any, the factor is 1, as diffusers and ComfyUI have it, unless
    the names are PEFT's own, whose config must then be missing.

    Args:
        group: the factors of one module.
        rank: their rank; 0: they have none (two whole factors of LoKr).
        config: of the adapter, or empty.
        peft: the names begin as PEFT's do.

    Raises:
        CheckpointError: numbers of the config that are none.
    """
    if "alpha" in group.roles:
        alpha = float(whole(group.roles["alpha"]).reshape(-1)[0])
        return alpha / rank if alpha and rank else 1.0
    try:
        if "lora_parameters" in config:
            return float(config["lora_parameters"]["scale"])
        if {"peft_type", "lora_alpha", "alpha"} & config.keys():
            alpha = alpha_of(group.module, config)
            return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except (TypeError, ValueError, KeyError, ZeroDivisionError, OverflowError) as error:
        raise CheckpointError(f"adapter_config.json: expected a number as scale, got {error}.") from error
    return None if peft else 1.0


def alpha_of(module: str, config: Mapping[str, Any]) -> float:
    """Return the number that is divided by the rank of a module to scale its product."""
    default = config.get("lora_alpha", config.get("alpha", _PEFT_ALPHA))
    return float(_for_module(config, "alpha_pattern", module, default))


def rank_of(module: str, config: Mapping[str, Any]) -> int:
    """Return the rank that a config gives a module; 0 where it gives none."""
    rank = _for_module(config, "rank_pattern", module, config.get("r", 0))
    return rank if isinstance(rank, int) else 0


def _for_module(config: Mapping[str, Any], patterns: str, module: str, default: Any) -> Any:
    """Return the value of the first pattern that the end of a module's path matches, as PEFT looks it up.

    Raises:
        CheckpointError: a pattern is not understood, or takes too long to match.
    """
    found = config.get(patterns)
    for pattern, value in found.items() if isinstance(found, Mapping) else ():
        try:
            found_here = matches(rf"(.*\.)?({pattern})$", module)
        except PatternError as error:
            raise CheckpointError(
                f"adapter_config.json: expected names or simple patterns in {patterns}, got {error}. Write out names."
            ) from error
        if found_here:
            return value
    return default


def config_in_header(metadata: Mapping[str, str], module: str) -> Mapping[str, Any]:
    """Return the config of a module's component that diffusers writes into the header of a file, or an empty one."""
    try:
        found = json.loads(metadata.get("lora_adapter_metadata", "{}"))
    except (ValueError, RecursionError):
        return {}
    component = module.partition(".")[0]
    if not isinstance(found, dict):
        return {}
    start = f"{component}."
    return {name.removeprefix(start): value for name, value in found.items() if str(name).startswith(start)}
