"""llm-compressor: a recipe (YAML) with the groups of compressed-tensors."""

import json
import re
from textwrap import indent
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_integrations.quantizers.compressed_tensors_export import checked_modules, config_groups, differing_notes
from alpha_integrations.quantizers.plan_modules import fused_notes, name_notes

_TARGET = "llm-compressor"
_NOTE = "The recipe rounds to nearest, as it was measured; another modifier (GPTQ, AWQ) takes the same config_groups."
_EXPERTS = (
    "Load the model inside `llmcompressor.modeling.moe.linearize.load_quantizable_moe()`: only then are experts layers "
    "with the names of this recipe."
)
_PROJECTIONS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}
_EXPERT = re.compile(r"\.(\d+)\.(\w+)$")


def export(plan: Plan) -> Export:
    """Return a recipe with one QuantizationModifier.

    Raises:
        PlanError: a layer has a format that compressed-tensors lacks, or rows that do not divide into its blocks.
    """
    modules = checked_modules(plan, _TARGET)
    experts = {_linear_expert(name, path): choice for name, (choice, path) in modules.stacked.items()}
    groups = config_groups({**modules.low, **experts})
    text = "quant_stage:\n  quant_modifiers:\n    QuantizationModifier:\n"
    text += _entry("ignore", list(modules.wide)) + _entry("config_groups", groups)
    notes = (_NOTE, *([_EXPERTS] if experts else []), *fused_notes(modules.low), *differing_notes(plan))
    return Export(text, ".yaml", (*notes, *name_notes(modules)), modules.coverage(_TARGET, stacks=True))


def _linear_expert(name: str, path: str) -> str:
    """Return the name of an expert's matrix after `linearize_moe`, whatever the files call it.

    Args:
        name: in the files.
        path: of the module that holds all experts of the block.

    Examples:
        >>> _linear_expert("model.layers.0.block_sparse_moe.experts.3.w1", "model.layers.0.mlp.experts")
        'model.layers.0.mlp.experts.3.gate_proj'
    """
    match = _EXPERT.search(name)
    return f"{path}.{match[1]}.{_PROJECTIONS.get(match[2], match[2])}" if match else name


def _entry(key: str, value: Any) -> str:
    """Return a key of the modifier; JSON is YAML too, and quotes every name."""
    return indent(f"{key}:\n{indent(json.dumps(value, indent=1), '  ')}\n", " " * 6)
