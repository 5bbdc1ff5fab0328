"""A compressed-tensors checkpoint: several formats in one folder, read by plain `from_pretrained` and by vLLM."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from alpha_callbacks.errors import MissingExtraError, PlanError
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.planning.write_model import Rounding, refused
from alpha_callbacks.precisions.gptq_rounding import Codes
from alpha_callbacks.precisions.minifloat import E2M1, E4M3, power_of_two_below
from alpha_integrations.quantizers.compressed_tensors_export import checked_modules, quantization_config
from alpha_integrations.quantizers.gptq_layers import gptq_layers
from alpha_integrations.quantizers.loaded_model import LoadedModel
from alpha_integrations.quantizers.model_folder import (
    check_layers,
    check_loads,
    load_model,
    planned_dtype,
    refuse_left,
    save_companions,
    whole_folder,
)
from alpha_integrations.quantizers.plan_modules import fused_notes, refuse_unheld

_TARGET, _EXTRA = "compressed-tensors", "quantize"
_LOADS = "no zero points, because transformers cannot load them; the exported configuration may have them"
_SCALE_ERROR = 2.0**-8  # rounding to bf16 makes half of it


def write(model: Path, plan: Plan, output_dir: Path, rounding: Rounding | None = None) -> tuple[str, ...]:
    """Quantize a checkpoint and save it with its tokenizer.

    Args:
        model: checkpoint folder, or a .gguf file of the same model (which is dequantized first).
        plan: with module paths as layer names.
        output_dir: a new or empty folder.
        rounding: GPTQ, or None.

    Raises:
        PlanError: a format that cannot be held, a plan of another model, scales that the model's dtype cannot hold, or
            a text or a model that GPTQ cannot use.
        MissingExtraError: compressed-tensors or transformers is not installed.
    """
    if rounding is not None and rounding.method != "gptq":
        raise refused(_TARGET, rounding, "has nearest and gptq")
    modules = checked_modules(plan, _TARGET, LoadedModel.of(str(model)))
    refuse_left(_TARGET, modules)
    refuse_unheld(_TARGET, modules.low, lambda encoding: encoding.symmetric, _LOADS)
    try:
        from compressed_tensors.compressors import ModelCompressor, compress_module
        from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config
    except ImportError as error:
        raise MissingExtraError(f"{_TARGET}: writing a checkpoint", _EXTRA) from error
    with whole_folder(output_dir) as folder:
        loaded = load_model(model, _EXTRA)
        places = LoadedModel(loaded)
        if stacked := next((c.layer_name for c in plan.choices if places.is_stacked(c.layer_name)), None):
            raise PlanError(
                f"{_TARGET}: expected a model without stacked experts, got {stacked}, part of a stack in transformers, "
                "which cannot load such a checkpoint (5.23), even where experts stay at 16 bits. Use --format "
                "torchao, or export the plan for vLLM or llm-compressor."
            )
        modules = checked_modules(plan, _TARGET, places)
        refuse_left(_TARGET, modules)
        check_layers(loaded, modules)
        weights = {name: loaded.get_submodule(name).weight.detach() for name in modules.low}  # before a cast
        stored, dtype = loaded.dtype, planned_dtype(plan.choices)
        cast = dtype if dtype is not None and dtype.itemsize < stored.itemsize else None
        codes, notes = dict[str, Codes](), tuple[str, ...]()
        if rounding is not None:
            codes, notes = gptq_layers(model, loaded, modules.low, rounding, cast, _TARGET)
        if cast is not None:
            loaded.to(cast)
        settings = {**quantization_config(modules.low, modules.wide), "quantization_status": "initialized"}
        apply_quantization_config(loaded, QuantizationConfig.model_validate(settings), show_progress=False)
        for name in modules.low:
            module = loaded.get_submodule(name)
            weight = weights.pop(name).float()
            if name in codes:
                _fill_codes(module, codes.pop(name), name)
            else:
                _fill(module, weight, name)
            compress_module(module)
        compressor = ModelCompressor.from_pretrained_model(loaded)
        loaded.save_pretrained(folder)
        compressor.update_config(str(folder))
        save_companions(model, folder)
        stayed, family = loaded.dtype, type(loaded)
        del loaded, places, compressor, module  # so that the memory is that of one model
        check_loads(folder, family, _TARGET)
    return (*notes, *_notes(stored, stayed, dtype), *fused_notes(modules.low))


def _fill_codes(module: Any, codes: Codes, name: str) -> None:
    """Set the scales of a module that a configuration was applied to, and its weight to what the codes say.

    Raises:
        PlanError: the dtype of the scales cannot hold them.
    """
    held = module.weight_scale
    held.data.copy_(codes.scales.reshape(held.shape))
    if not torch.equal(held.float(), codes.scales.reshape(held.shape)):
        raise PlanError(f"{name}: expected scales that {held.dtype} holds, got others. Save the model in bf16 first.")
    module.weight = nn.Parameter(codes.weight(), requires_grad=False)


def _fill(module: Any, weight: Tensor, name: str) -> None:
    """Set scales and zero points of a module that a configuration was applied to, and its weight to fp32.

    Raises:
        PlanError: the dtype of the scales cannot hold them.
    """
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    args = module.quantization_scheme.weights
    shared = None
    if args.strategy == "tensor_group":
        shared = generate_gparam(weight.min(), weight.max())
        module.weight_global_scale.data.copy_(shared)
    blocks = _blocks(weight, args)
    low, high = blocks.aminmax(dim=-1)
    scale, zero = calculate_qparams(low, high, args, global_scale=shared)
    scale = _measured_scale(blocks.abs().amax(dim=-1), weight, args, scale)
    held = module.weight_scale
    held.data.copy_(scale)
    worst = ((held.float() - scale).abs() / scale).amax()
    if not worst <= _SCALE_ERROR:
        raise PlanError(
            f"{name}: expected scales that {held.dtype} holds, got one that is off by {worst:.0%}. Save the "
            "model in bf16 first."
        )
    if not args.symmetric:
        module.weight_zero_point.data.copy_(zero)
    module.weight = nn.Parameter(weight, requires_grad=False)  # quotients by the scales are taken in fp32


def _measured_scale(top: Tensor, weight: Tensor, args: Any, scale: Tensor) -> Tensor:
    """Return the library's scales, or those that were measured where the rules differ for ties, common in bf16 weights.

    Args:
        top: largest |w| of each block.
        weight: the whole matrix.
        args: QuantizationArgs.
        scale: the library's scales.
    """
    if args.num_bits == 8 and args.scale_dtype is torch.uint8:
        ideal = top / E4M3.largest
        power = power_of_two_below(ideal)
        measured = torch.where(ideal > power, 2 * power, power)
    elif args.strategy == "tensor_group":
        whole = weight.abs().amax() / (E4M3.largest * E2M1.largest)
        measured = E4M3.round((top / E2M1.largest / whole).clamp(2.0**E4M3.smallest, E4M3.largest))
    else:
        return scale
    return torch.where(top > 0, measured, scale)


def _blocks(weight: Tensor, args: Any) -> Tensor:
    """Return the weights; those that share a scale lie along the last dimension, the others have the scales' shape."""
    if args.strategy == "tensor":
        return weight.reshape(1, -1)
    if args.strategy == "channel":
        return weight.unsqueeze(1)
    if args.strategy == "block":
        rows, columns = args.block_structure
        padded = nn.functional.pad(weight, (0, -weight.shape[1] % columns, 0, -weight.shape[0] % rows))
        tiles = padded.reshape(len(padded) // rows, rows, -1, columns)
        return tiles.transpose(1, 2).flatten(2)
    return weight.reshape(len(weight), -1, args.group_size)


def _notes(stored: torch.dtype, saved: torch.dtype, planned: torch.dtype | None) -> tuple[str, ...]:
    name = str(saved).removeprefix("torch.")
    notes = list[str]()
    if saved is not torch.float32:
        notes.append(f"Scales are rounded to {name}, the model's dtype; the weights were measured with fp32 scales.")
    if planned != saved:
        notes.append(f"Layers that are not quantized stay in {name}, as the checkpoint stores them.")
    elif stored != saved:
        notes.append(f"Layers that are not quantized were cast from {str(stored).removeprefix('torch.')} to {name}.")
    return tuple(notes)
