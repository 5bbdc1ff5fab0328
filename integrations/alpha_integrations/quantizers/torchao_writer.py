"""A torchao checkpoint, read by plain `from_pretrained`."""

from pathlib import Path
from typing import Any

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import Rounding, refused
from alpha_callbacks.precisions.gptq_rounding import Codes
from alpha_integrations.quantizers.gptq_layers import gptq_layers
from alpha_integrations.quantizers.loaded_model import LoadedModel
from alpha_integrations.quantizers.model_folder import (
    check_layers,
    load_model,
    planned_dtype,
    refuse_left,
    save_companions,
    whole_folder,
)
from alpha_integrations.quantizers.plan_modules import fused_notes
from alpha_integrations.quantizers.torchao_export import checked_modules, fqn_to_config

_TARGET = _EXTRA = "torchao"


def write(model: Path, plan: Plan, output_dir: Path, rounding: Rounding | None = None) -> tuple[str, ...]:
    """Quantize a checkpoint and save it with its tokenizer.

    Args:
        model: checkpoint folder.
        plan: with module paths as layer names.
        output_dir: a new or empty folder.
        rounding: GPTQ, or None.

    Raises:
        PlanError: a format that cannot be held, a plan of another model, or a text or a model that GPTQ cannot use.
        MissingExtraError: torchao or transformers is not installed.
    """
    if rounding is not None and rounding.method != "gptq":
        raise refused(_TARGET, rounding, "has nearest and gptq")
    modules = checked_modules(plan, LoadedModel.of(str(model)))
    refuse_left(_TARGET, modules)
    if model.suffix.lower() == ".gguf":
        raise PlanError(
            f"{model}: expected a checkpoint folder, got a GGUF file, which transformers quantizes no more."
        )
    try:
        from torchao.core.config import config_from_dict
        from torchao.utils import TorchAOBaseTensor
        from transformers import TorchAoConfig
    except ImportError as error:
        raise MissingExtraError(f"{_TARGET}: writing a checkpoint", _EXTRA) from error
    with whole_folder(output_dir) as folder:
        # By default transformers skips the language head and the last module, whatever the configuration says.
        config = TorchAoConfig(config_from_dict(fqn_to_config(modules)), modules_to_not_convert=[])
        dtype = planned_dtype(plan.choices)
        codes, notes = dict[str, Codes](), tuple[str, ...]()
        if rounding is not None:
            codes, notes = gptq_layers(model, load_model(model, _EXTRA), modules.low, rounding, dtype, _TARGET)
        loaded = load_model(model, _EXTRA, quantization_config=config, **({"dtype": dtype} if dtype else {}))
        check_layers(loaded, modules)
        for name in modules.low:
            weight = loaded.get_submodule(name).weight
            if not isinstance(weight, TorchAOBaseTensor):
                raise PlanError(f"{name}: expected torchao to quantize it, but it did not. Keep it at bf16.")
            if name in codes:
                _fill(weight, codes.pop(name))
        loaded.save_pretrained(folder)
        save_companions(model, folder)
    name = str(loaded.dtype).removeprefix("torch.")
    cast = f"Weights were cast to {name} and quantized in it, scales too; they were measured with fp32 scales."
    return (*notes, cast, *fused_notes(modules.low))


def _fill(weight: Any, codes: Codes) -> None:
    """Put codes and scales into a tensor of torchao; both of its kinds of integers have these two parts."""
    weight.qdata.copy_(codes.integers)
    weight.scale.copy_(codes.scales.reshape(weight.scale.shape))
