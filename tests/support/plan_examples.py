"""Plans for the tests of exporters and writers, and what each consumer would make of an export, by its own rules."""

import fnmatch
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.categorize import categorize

SIZE = 64
WIDE = ("bf16", "fp16", "fp32")

# Names that are prefixes, suffixes or patterns of each other.
NAMES = (
    "model.layers.1.self_attn.q_proj",
    "model.layers.10.self_attn.q_proj",
    "model.layers.1.self_attn.q_proj_extra",
    "model.layers.11.mlp.up_proj",
    "model.layers_1.mlp.up_proj",
    "modelXlayers.1.self_attn.q_proj",
    "q_proj",
    "up_proj",
    "layers[0].fc",
    "layers0.fc",
    "layers[!1].fc",
    "what?.fc",
    "whatever.fc",
    "a*b.fc",
    "a(b.fc",
    "model.lm_head",
    "lm_head",
)
GGUF_NAMES = (
    *(f"blk.{block}.{kind}" for block in (1, 10, 11) for kind in ("attn_q", "attn_output", "ffn_up", "ffn_down")),
    "output",
)


def plan_of(precisions: Mapping[str, str], *, rows: int = SIZE, columns: int = SIZE, **more: Any) -> Plan:
    """Return a plan of square layers: name -> precision, by any of its names."""
    return Plan(
        tuple(
            Choice(name, categorize(name), rows, columns, get_precision(precision).name, **more)
            for name, precision in precisions.items()
        )
    )


def model_of(names: Iterable[str]) -> nn.Module:
    """Return a module with a linear layer of each name."""
    root = nn.Module()
    for name in names:
        parent = root
        *path, last = name.split(".")
        for part in path:
            if part not in dict(parent.named_children()):
                parent.add_module(part, nn.Module())
            parent = parent.get_submodule(part)
        parent.add_module(last, nn.Linear(SIZE, SIZE, bias=False, dtype=torch.bfloat16))
    return root


Judge = Callable[[Export, Plan], dict[str, str]]


@dataclass(frozen=True)
class Target:
    """An exporter with what it holds and its consumer.

    Attributes:
        low: low-bit formats that it holds.
        judge: export, plan -> name of each layer that the consumer quantizes, and what to, in its own words.
        names: layer names that it takes.
        mixed: several low-bit formats in one plan.
    """

    low: tuple[str, ...]
    judge: Judge
    names: tuple[str, ...] = NAMES
    mixed: bool = True


def compressed_tensors(export: Export, plan: Plan) -> dict[str, str]:
    return _by_scheme(json.loads(export.text), plan)


def llm_compressor(export: Export, plan: Plan) -> dict[str, str]:
    yaml = pytest.importorskip("yaml")
    modifiers = yaml.safe_load(export.text)["quant_stage"]["quant_modifiers"]
    assert list(modifiers) == ["QuantizationModifier"]
    return _by_scheme(modifiers["QuantizationModifier"], plan)


def _by_scheme(config: Any, plan: Plan) -> dict[str, str]:
    """Apply a configuration with compressed-tensors itself."""
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationConfig, apply_quantization_config

    parsed = QuantizationConfig.model_validate({**config, "quantization_status": "initialized"})
    model = model_of(choice.layer_name for choice in plan.choices)
    apply_quantization_config(model, parsed, show_progress=False)
    schemes = {name: getattr(module, "quantization_scheme", None) for name, module in model.named_modules()}
    return {name: f"{s.weights.type}{s.weights.num_bits} {s.weights.strategy}" for name, s in schemes.items() if s}


def torchao(export: Export, plan: Plan) -> dict[str, str]:
    """Apply a configuration with torchao itself."""
    pytest.importorskip("torchao")
    from torchao.core.config import config_from_dict
    from torchao.quantization import quantize_

    model = model_of(choice.layer_name for choice in plan.choices)
    quantize_(model, config_from_dict(json.loads(export.text)), filter_fn=None)
    kinds = {name: type(weight.data).__name__ for name, weight in model.named_parameters()}
    return {name.removesuffix(".weight"): kind for name, kind in kinds.items() if kind != "Tensor"}


def bitsandbytes(export: Export, plan: Plan) -> dict[str, str]:
    """Replace layers as transformers does."""
    pytest.importorskip("bitsandbytes")
    from transformers import BitsAndBytesConfig
    from transformers.integrations.bitsandbytes import replace_with_bnb_linear
    from transformers.quantizers.base import HfQuantizer

    config = BitsAndBytesConfig(**json.loads(export.text))
    model: Any = model_of(choice.layer_name for choice in plan.choices)
    skip = HfQuantizer.get_modules_to_not_convert(model, config.llm_int8_skip_modules)
    model = replace_with_bnb_linear(model, modules_to_not_convert=skip, quantization_config=config)
    return {name: m.weight.quant_type for name, m in model.named_modules() if type(m).__name__ == "Linear4bit"}


def layer_config(export: Export, plan: Plan) -> dict[str, str]:
    """Resolve patterns as the pipeline does: every match in order, later keys win."""
    config = json.loads(export.text)
    found = {}
    for choice in plan.choices:
        keys = dict(config["default"])
        for override in config["overrides"]:
            if fnmatch.fnmatch(choice.layer_name, override["pattern"]):
                keys |= override
        if not keys.get("skip") and keys["wq"] != "bf16":
            found[choice.layer_name] = f"{keys['wq']} {keys['group_size']}"
    return found


def gguf(export: Export, plan: Plan) -> dict[str, str]:
    """Search for the expressions as llama-quantize does, which would make all others Q8_0."""
    types = [line.rsplit("=", 1) for line in export.text.split()]
    kinds = {}
    for choice in plan.choices:
        kinds[choice.layer_name] = "q8_0 by default"
        matched = [kind for pattern, kind in types if re.search(pattern.lower(), f"{choice.layer_name}.weight")]
        assert len(matched) <= 1  # versions differ in which one wins
        if matched:
            kinds[choice.layer_name] = matched[0]
    return {name: kind for name, kind in kinds.items() if kind not in ("f32", "f16", "bf16")}


def auto_round(export: Export, plan: Plan) -> dict[str, str]:
    """Exact names of layers first, as AutoRound 0.16.1 resolves a layer_config; the rest of a block gets W4A16."""
    config = json.loads(export.text)
    names = {choice.layer_name for choice in plan.choices}
    assert set(config) <= names  # anything else would be searched for as an expression
    found = {}
    for choice in plan.choices:
        entry = config.get(choice.layer_name, {"bits": 16} if "lm_head" in choice.layer_name else {"bits": 4})
        if entry["bits"] < 16:
            found[choice.layer_name] = f"int{entry['bits']} {entry.get('group_size', 128)}"
    return found


def gptqmodel(export: Export, plan: Plan) -> dict[str, str]:
    """The first `dynamic` expression that matches decides, as in GPTQModel 7.7.0; the rest gets the base."""
    config = json.loads(export.text)
    found = {}
    for choice in plan.choices:
        keys = [key for key in config["dynamic"] if re.match(key[2:], choice.layer_name)]
        if keys and keys[0].startswith("-:"):
            continue
        entry = {**config, **(config["dynamic"][keys[0]] if keys else {})}
        found[choice.layer_name] = f"int{entry['bits']} {entry['group_size']}"
    return found


def mlx(export: Export, plan: Plan) -> dict[str, str]:
    """A path in `quantization` decides, as in MLX-LM 0.32.2; the rest is what the checkpoint has scales for."""
    config = json.loads(export.text)["quantization"]
    entries = {choice.layer_name: config[choice.layer_name] for choice in plan.choices}
    return {name: f"{e['mode']} {e['bits']} {e['group_size']}" for name, e in entries.items() if e}


def modelopt(export: Export, plan: Plan) -> dict[str, str]:
    """`quantized_layers`, or one algorithm for all that is not excluded, as ModelOpt 0.47.0 converts the file."""
    config = json.loads(export.text)["quantization"]
    if config["quant_algo"] == "MIXED_PRECISION":
        return {name: entry["quant_algo"] for name, entry in config["quantized_layers"].items()}
    names = [c.layer_name for c in plan.choices if c.layer_name not in config["exclude_modules"]]
    return dict.fromkeys(names, config["quant_algo"])


_CT = (
    "int2", "int3:g64", "int4", "int4:g64", "int4:channel", "int6", "int8", "int8:g32", "int8:tensor", "fp8",
    "fp8:tensor", "mxfp8", "mxfp6", "mxfp4", "nvfp4",
)  # fmt: skip
TARGETS = {
    "auto-round": Target(("int2", "int3:g64", "int4", "int4:channel", "int4:asym", "int8", "int8:g32"), auto_round),
    "gptqmodel": Target(("int2", "int3:g64", "int4", "int4:channel", "int4:asym", "int8", "int8:g32"), gptqmodel),
    "mlx": Target(("int2:asym", "int3:asym:g64", "int4:asym", "int6:asym", "mxfp4:rceil", "mxfp8"), mlx),
    "modelopt": Target(("nvfp4", "int8", "fp8", "fp8:tensor", "mxfp8"), modelopt),
    "bitsandbytes": Target(("nf4",), bitsandbytes, mixed=False),
    "compressed-tensors": Target((*_CT, "int4:asym"), compressed_tensors),
    "gguf": Target(
        ("gguf:q8_0", "gguf:q5_1", "gguf:q5_0", "gguf:q4_1", "gguf:q4_0", "gguf:mxfp4", "mxfp4:floor"), gguf, GGUF_NAMES
    ),
    "layer-config": Target(
        ("int2", "int3", "int4", "int4:g64", "int6", "int8", "int8:g32", "fp8", "fp4", "mxfp8", "mxfp6", "mxfp4"),
        layer_config,
    ),
    "llm-compressor": Target(_CT, llm_compressor),
    "torchao": Target(
        (
            "int2", "int3", "int4", "int4:g64", "int4:channel", "int4:asym", "int6", "int8", "int8:g32", "int8:tensor",
            "fp8", "fp8:tensor", "fp8:g32", "e5m2", "nvfp4",
        ),
        torchao,
    ),
}  # fmt: skip
