"""torchao: an `FqnToConfig` as JSON, for transformers' TorchAoConfig."""

import json
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.loaded_model import LoadedModel
from alpha_integrations.quantizers.plan_modules import (
    Modules,
    encoding_of,
    fused_notes,
    name_notes,
    refuse_ragged,
    refuse_unheld,
    require_modules,
    split_modules,
)

_TARGET = "torchao"
_NVFP4 = Encoding("e2m1", 4, "group", 16, scale="e4m3")
_FLOATS = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}
_HOLDS = (
    "int2 to int8, fp8_e4m3 and fp8_e5m2 (not :none, :block128), and nvfp4. Its MX formats quantize activations too, "
    "and its NF4 does not survive a saved configuration"
)
_ROWS = f"nvfp4 only where out_features is a multiple of {_NVFP4.size}"


def export(plan: Plan) -> Export:
    """Return what `torchao.core.config.config_to_dict` writes; `config_from_dict` reads it.

    Raises:
        PlanError: a layer has a format that torchao lacks, or a shape that it would skip.
    """
    modules = checked_modules(plan)
    notes = ["Weights are quantized in the model's own dtype: in bf16 scales and quotients are rounded to 8 bits."]
    if any(choice.category == "lm_head" for choice in modules.low.values()):
        notes.append("The language head is in the plan: TorchAoConfig needs modules_to_not_convert=[] to reach it.")
    notes += [*fused_notes(modules.low), *name_notes(modules), *_served(modules)]
    text = json.dumps(fqn_to_config(modules), indent=1) + "\n"
    return Export(text, ".json", tuple(notes), modules.coverage("transformers with torchao"))


def checked_modules(plan: Plan, model: LoadedModel | None = None) -> Modules:
    """Return the modules of a plan, all of which torchao can hold.

    Args:
        plan: as a scan of files gives it.
        model: the loaded model, see `split_modules`.

    Raises:
        PlanError: it cannot hold one.
    """
    modules = split_modules(plan, _TARGET, model)
    require_modules(_TARGET, modules)
    refuse_unheld(_TARGET, modules.low, lambda encoding: _config(encoding) is not None, _HOLDS)
    refuse_ragged(_TARGET, modules.low)
    ragged = {name: choice for name, choice in modules.low.items() if choice.out_features % _NVFP4.size}
    refuse_unheld(_TARGET, ragged, lambda encoding: encoding != _NVFP4, _ROWS)
    return modules


def _served(modules: Modules) -> list[str]:
    fused = next((name for name in modules.low if name.endswith((".q_proj", ".gate_proj"))), "")
    if not fused:
        return []
    return [
        "vLLM looks for fused layers under their own names (qkv_proj, gate_up_proj) and finds none here (e.g. "
        f"{fused}): export to compressed-tensors for it."
    ]


def fqn_to_config(modules: Modules) -> dict[str, Any]:
    """Return the configuration; every name is exact, since JSON files may sort their keys.

    A layer with a bias is named by its weight: transformers 5 would take the bias for a matrix to quantize, too. What
    stays as it is has no entry, because transformers would look at each of its parameters (5.23).
    """
    keys = {name: f"{name}.weight" if name in modules.biased else name for name in modules.low}
    entries = {keys[name]: _config(encoding_of(choice, _TARGET)) for name, choice in modules.low.items()}
    return _object("FqnToConfig", 1, fqn_to_config=entries, module_fqn_to_config=entries)


def _config(encoding: Encoding) -> dict[str, Any] | None:
    """Return the torchao config that does what was measured, or None if there is none."""
    if encoding == _NVFP4:
        return _object("NVFP4WeightOnlyConfig", 1, use_dynamic_per_tensor_scale=True)
    granularity = _granularity(encoding)
    if granularity is None or encoding.scale != "real":
        return None
    # set_inductor_config would change torch's settings in the process that applies the configuration.
    if encoding.element in _FLOATS:
        dtype = {"_type": "torch.dtype", "_data": _FLOATS[encoding.element]}
        return _object(
            "Float8WeightOnlyConfig", 2, weight_dtype=dtype, set_inductor_config=False, granularity=granularity
        )
    if encoding.element != "int":
        return None
    if encoding.bits == 8 and encoding.symmetric:  # in bf16 more exact than Intx
        return _object("Int8WeightOnlyConfig", 2, group_size=None, granularity=granularity, set_inductor_config=False)
    if encoding.sharing == "tensor":
        return None
    return _object(
        "IntxWeightOnlyConfig",
        2,
        weight_dtype={"_type": "torch.dtype", "_data": f"int{encoding.bits}"},
        granularity=granularity if encoding.sharing == "group" else _object("PerAxis", 1, axis=0),
        mapping_type={"_type": "MappingType", "_data": "SYMMETRIC" if encoding.symmetric else "ASYMMETRIC"},
        scale_dtype=None,
        intx_packing_format={"_type": "IntxPackingFormat", "_data": "UNPACKED_TO_INT8"},
        intx_choose_qparams_algorithm={"_type": "IntxChooseQParamsAlgorithm", "_data": "AFFINE"},
    )


def _granularity(encoding: Encoding) -> dict[str, Any] | None:
    if encoding.sharing == "group":
        return _object("PerGroup", 1, group_size=encoding.size)
    if encoding.sharing == "tensor":
        return _object("PerTensor", 1)
    return _object("PerRow", 1, dim=-1) if encoding.sharing == "channel" else None


def _object(kind: str, version: int, **data: Any) -> dict[str, Any]:
    return {"_type": kind, "_version": version, "_data": data}
