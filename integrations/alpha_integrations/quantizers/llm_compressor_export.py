"""llm-compressor: a recipe (YAML) with the groups of compressed-tensors."""

import json
from textwrap import indent
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_integrations.quantizers.compressed_tensors_export import checked_modules, config_groups
from alpha_integrations.quantizers.plan_modules import fused_notes, renamed_notes

_TARGET = "llm-compressor"
_NOTE = "The recipe rounds to nearest, as it was measured; another modifier (GPTQ, AWQ) takes the same config_groups."


def export(plan: Plan) -> Export:
    """Return a recipe with one QuantizationModifier.

    Raises:
        PlanError: a layer has a format that compressed-tensors lacks, or rows that do not divide into its blocks.
    """
    modules = checked_modules(plan, _TARGET)
    groups = config_groups(modules.low)
    text = "quant_stage:\n  quant_modifiers:\n    QuantizationModifier:\n"
    text += _entry("ignore", list(modules.wide)) + _entry("config_groups", groups)
    return Export(text, ".yaml", (_NOTE, *fused_notes(modules.low), *renamed_notes(modules.low)))


def _entry(key: str, value: Any) -> str:
    """Return a key of the modifier; JSON is YAML too, and quotes every name."""
    return indent(f"{key}:\n{indent(json.dumps(value, indent=1), '  ')}\n", " " * 6)
