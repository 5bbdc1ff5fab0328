"""compressed-tensors: the `quantization_config` of config.json, as transformers and vLLM read it."""

import json
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.encoding import Encoding, Sharing
from alpha_integrations.quantizers.plan_modules import (
    Modules,
    encoding_of,
    fused_notes,
    refuse_ragged,
    refuse_unheld,
    split_modules,
)

_TARGET = "compressed-tensors"
# Formats whose scales are small floats themselves: (element, scale) -> (strategy, dtype of the scales, packing).
_SMALL_SCALES = {
    ("e4m3", "rceil"): ("group", "uint8", "mxfp8-quantized"),
    ("e2m3", "even"): ("group", "uint8", "mxfp6-pack-quantized"),
    ("e2m1", "even"): ("group", "uint8", "mxfp4-pack-quantized"),
    ("e2m1", "e4m3"): ("tensor_group", "float8_e4m3fn", "nvfp4-pack-quantized"),
}
# Formats with real scales: element -> (type, packing).
_REAL_SCALES = {"int": ("int", "pack-quantized"), "e4m3": ("float", "naive-quantized")}
_STRATEGIES: dict[Sharing, str] = {"tensor": "tensor", "channel": "channel", "group": "group", "tile": "block"}
_HOLDS = "int2 to int8, fp8_e4m3 (not :none), mxfp8_e4m3, mxfp6_e2m3, mxfp4 (default scale rules) and nvfp4"
_FUSED = (
    {"attn_q", "attn_k", "attn_v"},
    {"cross_attn_q", "cross_attn_k", "cross_attn_v"},
    *({f"{kind}_gate", f"{kind}_up"} for kind in ("mlp", "moe_expert", "moe_shared")),
)


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
    refuse_unheld(target, modules.low, lambda encoding: scheme_of(encoding) is not None, _HOLDS)
    refuse_ragged(target, modules.low)
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
    """Return one group per format, as QuantizationScheme reads it."""
    names = defaultdict(list)
    for name, choice in low.items():
        names[encoding_of(choice, _TARGET)].append(name)
    groups = {}
    for i, (encoding, targets) in enumerate(names.items()):
        groups[f"group_{i}"] = {
            "targets": targets,
            "weights": scheme_of(encoding),
            "input_activations": None,
            "output_activations": None,
            "format": _format(encoding),
        }
    return groups


def scheme_of(encoding: Encoding) -> dict[str, Any] | None:
    """Return a format as QuantizationArgs of a weight, or None if there is no such scheme."""
    common = {"symmetric": encoding.symmetric, "dynamic": False}
    if small := _SMALL_SCALES.get((encoding.element, encoding.scale)):
        strategy, scale, _ = small
        scales = {"strategy": strategy, "group_size": encoding.size, "scale_dtype": f"torch.{scale}"}
        return {"num_bits": encoding.bits, "type": "float", **scales, **common}
    if encoding.scale != "real" or encoding.element not in _REAL_SCALES:
        return None
    kind, _ = _REAL_SCALES[encoding.element]
    scheme = {"num_bits": encoding.bits, "type": kind, **common, "strategy": _STRATEGIES[encoding.sharing]}
    if encoding.sharing == "group":
        scheme["group_size"] = encoding.size
    if encoding.sharing == "tile":
        scheme["block_structure"] = [encoding.size, encoding.size]
    return scheme


def _format(encoding: Encoding) -> str:
    small = _SMALL_SCALES.get((encoding.element, encoding.scale))
    return small[-1] if small else _REAL_SCALES[encoding.element][-1]


def _notes(low: Mapping[str, Choice]) -> tuple[str, ...]:
    notes = []
    encodings = {encoding_of(choice, _TARGET) for choice in low.values()}
    if any((encoding.element, encoding.scale) == ("e4m3", "real") for encoding in encodings):
        notes.append(
            "fp8_e4m3: weight-only, as it was measured (naive-quantized). vLLM's FP8 kernels quantize activations "
            "too; for them set input_activations and the format float-quantized."
        )
    if any((encoding.element, encoding.scale) == ("e4m3", "rceil") for encoding in encodings):
        notes.append(
            "mxfp8_e4m3: where the largest weight of a block is exactly 1.75 * 2^n, compressed-tensors' own rule takes "
            "twice the scale that was measured. `alpha-hill quantize` writes the measured scale."
        )
    if not all(encoding.symmetric for encoding in encodings):
        notes.append("asym: transformers cannot load packed zero points; other runtimes were not tried.")
    if differing := _differing(low):
        notes.append(
            f"vLLM fuses q, k, v and gate, up, and needs one scheme per fused group: {len(differing)} groups have "
            f"several, e.g. that of {differing[0]}."
        )
    return (*notes, *fused_notes(low))


def _differing(low: Mapping[str, Choice]) -> list[str]:
    """Return one module of each set that a runtime fuses although its members differ in precision."""
    found: dict[tuple[str, int], list[tuple[str, str]]] = defaultdict(list)
    for name, choice in low.items():
        for i, together in enumerate(_FUSED):
            if choice.category in together:
                found[name.rpartition(".")[0], i].append((name, choice.precision))
    return [members[0][0] for members in found.values() if len({precision for _, precision in members}) > 1]
