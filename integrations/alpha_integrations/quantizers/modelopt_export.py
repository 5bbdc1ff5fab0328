"""ModelOpt: `hf_quant_config.json`, which TensorRT-LLM, vLLM and SGLang read beside the weights."""

import json
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.compressed_tensors_export import differing_notes
from alpha_integrations.quantizers.module_entries import module_entries
from alpha_integrations.quantizers.plan_modules import fused_notes, name_notes

_TARGET = "modelopt"
_HOLDS = "nvfp4 (W4A16_NVFP4), int8 (W8A16), fp8:tensor (FP8), fp8 (FP8_PER_CHANNEL_PER_TOKEN) and mxfp8 (MXFP8)"
_FLOATS = {"tensor": "FP8", "channel": "FP8_PER_CHANNEL_PER_TOKEN"}
_NOTE = "The file says what a checkpoint holds: the weights are ModelOpt's to write (mtq.quantize with these formats)."
_ACTIVATIONS = "{} quantize activations too; error and KL here are those of the weights alone."


def export(plan: Plan) -> Export:
    """Return {"producer", "quantization": {"quant_algo", "quantized_layers" or its fields, "exclude_modules"}}.

    Raises:
        PlanError: a layer has a format that ModelOpt has no name for.
    """
    modules, layers = module_entries(plan, _TARGET, _entry, _HOLDS)
    algorithms = sorted({str(entry["quant_algo"]) for entry in layers.values()})
    content: dict[str, Any] = {"quant_algo": "MIXED_PRECISION", "kv_cache_quant_algo": None, "quantized_layers": layers}
    if len(algorithms) == 1:  # as ModelOpt writes it
        content = {**next(iter(layers.values())), "kv_cache_quant_algo": None}
    content["exclude_modules"] = list(modules.wide)
    active = [name for name in algorithms if not name.startswith(("W4A16", "W8A16"))]
    activations = [_ACTIVATIONS.format(" and ".join(active))] if active else []
    notes = (_NOTE, *activations, *fused_notes(modules.low), *differing_notes(plan))
    text = json.dumps({"producer": {"name": "modelopt"}, "quantization": content}, indent=1) + "\n"
    return Export(text, ".json", (*notes, *name_notes(modules)), modules.coverage("ModelOpt"))


def _entry(encoding: Encoding) -> dict[str, Any] | None:
    if (encoding.element, encoding.scale) == ("e2m1", "e4m3"):
        return {"quant_algo": "W4A16_NVFP4", "group_size": encoding.size}
    if (encoding.element, encoding.scale) == ("e4m3", "rceil"):
        return {"quant_algo": "MXFP8", "group_size": encoding.size}
    if encoding.element == "e4m3" and encoding.scale == "real" and encoding.sharing in _FLOATS:
        return {"quant_algo": _FLOATS[encoding.sharing]}
    integer = (encoding.element, encoding.bits, encoding.sharing, encoding.symmetric)
    return {"quant_algo": "W8A16"} if integer == ("int", 8, "channel", True) else None
