"""compressed-tensors: the `quantization_config` of config.json, as transformers and vLLM read it."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_integrations.quantizers.plan_modules import Modules, fused_notes, refuse_ragged, refuse_unheld, split_modules
from alpha_integrations.quantizers.precision_words import words_of

_TARGET = "compressed-tensors"
# Formats without options: bits, weights a scale, dtype of the scales, how they are packed.
_FIXED = {
    "mxfp8_e4m3": (8, 32, "uint8", "mxfp8-quantized"),
    "mxfp6_e2m3": (6, 32, "uint8", "mxfp6-pack-quantized"),
    "mxfp4": (4, 32, "uint8", "mxfp4-pack-quantized"),
    "nvfp4": (4, 16, "float8_e4m3fn", "nvfp4-pack-quantized"),
}
_HOLDS = "int2 to int8, fp8_e4m3 (not :none), mxfp8_e4m3, mxfp6_e2m3, mxfp4 (default scale rules) and nvfp4"
_FUSED = ({"attn_q", "attn_k", "attn_v"}, {"mlp_gate", "mlp_up"}, {"moe_expert_gate", "moe_expert_up"})


def export(plan: Plan) -> Export:
    """Return the configuration of weight-only schemes that equal what was measured.

    Raises:
        PlanError: a layer has a format that compressed-tensors lacks, or rows that do not divide into its blocks.
    """
    modules = checked_modules(plan, _TARGET)
    return Export(json.dumps(quantization_config(modules), indent=1) + "\n", ".json", _notes(modules.low))


def checked_modules(plan: Plan, target: str) -> Modules:
    """Return the modules of a plan, all of which compressed-tensors can hold.

    Raises:
        PlanError: it cannot hold one.
    """
    modules = split_modules(plan, target)
    refuse_unheld(target, modules.low, lambda precision: scheme_of(precision) is not None, _HOLDS)
    refuse_ragged(target, modules.low, lambda precision: _block(scheme_of(precision) or {}))
    return modules


def quantization_config(modules: Modules) -> dict[str, Any]:
    """Return the whole configuration; targets are exact names, and none is in two groups."""
    groups = config_groups(modules.low)
    formats = list(dict.fromkeys(group["format"] for group in groups.values()))
    return {
        "quant_method": "compressed-tensors",
        "format": formats[0] if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "ignore": list(modules.wide),
        "kv_cache_scheme": None,
        "config_groups": groups,
    }


def config_groups(low: Mapping[str, Choice]) -> dict[str, dict[str, Any]]:
    """Return one group per precision, as QuantizationScheme reads it."""
    names = defaultdict(list)
    for name, choice in low.items():
        names[choice.precision].append(name)
    groups = {}
    for i, (precision, targets) in enumerate(names.items()):
        weights = scheme_of(precision) or {}
        groups[f"group_{i}"] = {
            "targets": targets,
            "weights": weights,
            "input_activations": None,
            "output_activations": None,
            "format": _format(precision),
        }
    return groups


def scheme_of(precision: str) -> dict[str, Any] | None:
    """Return a precision as QuantizationArgs of a weight, or None if there is no such scheme."""
    common = {"symmetric": True, "dynamic": False}
    if precision in _FIXED:
        bits, size, scale, _ = _FIXED[precision]
        strategy = "tensor_group" if precision == "nvfp4" else "group"
        scales = {"strategy": strategy, "group_size": size, "scale_dtype": f"torch.{scale}"}
        return {"num_bits": bits, "type": "float", **scales, **common}
    words = words_of(precision)
    element: dict[str, Any] = {"num_bits": words.bits, "type": "int", **common, "symmetric": not words.asymmetric}
    if words.base == "fp8_e4m3":
        element = {"num_bits": 8, "type": "float", **common}
    elif not words.bits:
        return None
    if words.sharing == "group":
        return {**element, "strategy": "group", "group_size": words.size}
    if words.sharing == "tile":
        return {**element, "strategy": "block", "block_structure": [words.size, words.size]}
    return {**element, "strategy": words.sharing} if words.sharing in ("channel", "tensor") else None


def _format(precision: str) -> str:
    if precision in _FIXED:
        return _FIXED[precision][3]
    return "pack-quantized" if words_of(precision).bits else "naive-quantized"


def _block(weights: Mapping[str, Any]) -> int:
    structure = weights.get("block_structure")
    return int(structure[1] if structure else weights.get("group_size", 1))


def _notes(low: Mapping[str, Choice]) -> tuple[str, ...]:
    notes = []
    precisions = {choice.precision for choice in low.values()}
    if any(words_of(precision).base == "fp8_e4m3" for precision in precisions):
        notes.append(
            "fp8_e4m3: weight-only, as it was measured (naive-quantized). vLLM's FP8 kernels quantize activations "
            "too; for them set input_activations and the format float-quantized."
        )
    if "mxfp8_e4m3" in precisions:
        notes.append(
            "mxfp8_e4m3: where the largest weight of a block is exactly 1.75 * 2^n, compressed-tensors' own rule takes "
            "twice the scale that was measured (our writer does not)."
        )
    if any(words_of(precision).asymmetric for precision in precisions):
        notes.append("asym: transformers cannot load packed zero points; other runtimes were not tried.")
    if differing := _differing(low):
        notes.append(
            f"vLLM fuses q, k, v and gate, up, and wants one scheme for each: {len(differing)} groups have several, "
            f"e.g. that of {differing[0]}."
        )
    return (*notes, *fused_notes(low))


def _differing(low: Mapping[str, Choice]) -> list[str]:
    """Return a module of each set that a runtime fuses although its precisions differ."""
    found: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    for name, choice in low.items():
        for i, together in enumerate(_FUSED):
            if choice.category in together:
                found[name.rpartition(".")[0], i].append((name, choice.precision))
    return [members[0][0] for members in found.values() if len({precision for _, precision in members}) > 1]
