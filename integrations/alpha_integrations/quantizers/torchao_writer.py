"""A torchao checkpoint, read by plain `from_pretrained`."""

from pathlib import Path

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Plan
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


def write(model: Path, plan: Plan, output_dir: Path) -> tuple[str, ...]:
    """Quantize a checkpoint and save it with its tokenizer.

    Args:
        model: checkpoint folder.
        plan: with module paths as layer names.
        output_dir: a new or empty folder.

    Raises:
        PlanError: a format that cannot be held, or a plan of another model.
        MissingExtraError: torchao or transformers is not installed.
    """
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
        loaded = load_model(model, _EXTRA, quantization_config=config, **({"dtype": dtype} if dtype else {}))
        check_layers(loaded, modules)
        for name in modules.low:
            if not isinstance(loaded.get_submodule(name).weight, TorchAOBaseTensor):
                raise PlanError(f"{name}: expected torchao to quantize it, but it did not. Keep it at bf16.")
        loaded.save_pretrained(folder)
        save_companions(model, folder)
    name = str(loaded.dtype).removeprefix("torch.")
    cast = f"Weights were cast to {name} and quantized in it, scales too; they were measured with fp32 scales."
    return (cast, *fused_notes(modules.low))
