"""compressed-tensors: the `quantization_config` of config.json, as transformers and vLLM read it."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Choice, Plan, module_name
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.precisions.encoding import Encoding, Sharing
from alpha_integrations.quantizers.loaded_model import LoadedModel, Place
from alpha_integrations.quantizers.plan_modules import (
    Modules,
    encoding_of,
    fused_notes,
    name_notes,
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


def export(plan: Plan) -> Export:
    """Return the configuration of weight-only schemes that equal what was measured.

    Raises:
        PlanError: a layer has a format that compressed-tensors lacks, or rows that do not divide into its blocks.
    """
    modules = checked_modules(plan, _TARGET)
    served = {**modules.low} | {name: choice for name, (choice, _) in modules.stacked.items()}
    # vLLM knows most modules by both names, that of the files and that of transformers, but some by one alone.
    low = served | {module_name(c.layer_name): c for c in modules.low.values()}
    kept = (*modules.wide, *(name for name, choice in plan.modules().items() if not choice.low_bit))
    config = quantization_config(low, tuple(dict.fromkeys(kept)))
    notes = (*_notes(served), *differing_notes(plan), *fused_notes(served), *name_notes(modules), *_stacks(modules))
    return Export(json.dumps(config, indent=1) + "\n", ".json", notes, modules.coverage("transformers"))


def checked_modules(plan: Plan, target: str, model: LoadedModel | None = None) -> Modules:
    """Return the modules of a plan, all of which compressed-tensors can hold.

    Args:
        plan: as a scan of files gives it.
        target: name of the format, for messages.
        model: the loaded model, see `split_modules`.

    Raises:
        PlanError: it cannot hold one.
    """
    modules = split_modules(plan, target, model, takes=_takes)
    low = {**modules.low, **{name: choice for name, (choice, _) in modules.stacked.items()}}
    refuse_unheld(target, low, lambda encoding: scheme_of(encoding) is not None, _HOLDS)
    refuse_ragged(target, low)
    return modules


def _takes(place: Place) -> bool:
    """Return True for a linear layer, but for that of nn.MultiheadAttention, which reads its weight past the layer."""
    return place.kind == "linear" and place.module != "NonDynamicallyQuantizableLinear"


def quantization_config(low: Mapping[str, Choice], wide: Sequence[str]) -> dict[str, Any]:
    """Return the whole configuration; targets are exact names, and none is in two groups.

    Args:
        low: path -> choice, those to be quantized.
        wide: paths of all others.
    """
    groups = config_groups(low)
    formats = list(dict.fromkeys(group["format"] for group in groups.values()))
    return {
        "quant_method": "compressed-tensors",
        "format": formats[0] if len(formats) == 1 else "mixed-precision",
        "quantization_status": "compressed",
        "ignore": list(wide),
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
    return tuple(notes)


def differing_notes(plan: Plan) -> tuple[str, ...]:
    """Say which layers that a server fuses differ in precision."""
    groups = [[plan.choices[i] for i in group] for group in units(plan.choices)]
    differing = [group[0].layer_name for group in groups if len({choice.precision for choice in group}) > 1]
    if not differing:
        return ()
    return (
        f"vLLM needs one scheme for layers that it fuses (q, k and v; gate and up; experts): {len(differing)} groups "
        f"have several, e.g. that of {differing[0]}. Recommend without --untied.",
    )


def _stacks(modules: Modules) -> tuple[str, ...]:
    if not modules.stacked:
        return ()
    return (f"{len(modules.stacked)} matrices of experts have the names of the files, which vLLM reads.",)
