"""bitsandbytes through transformers: keyword arguments of BitsAndBytesConfig, NF4 and a list of what to skip."""

import json
import re
from collections.abc import Sequence

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.plan_modules import name_notes, refuse_unheld, require_modules, split_modules

_TARGET = "bitsandbytes"
_NF4 = Encoding("nf4", 4, "group", 64, scale="fp32")
_HOLDS = (
    "nf4 (blocks of 64) and 16 bits, one format for all quantized layers. Its int8 (LLM.int8) uses other scales than "
    "were measured and quantizes activations too"
)


def export(plan: Plan) -> Export:
    """Return {"load_in_4bit": true, ...}, for BitsAndBytesConfig(**kwargs).

    Raises:
        PlanError: a layer has another low-bit format than NF4.
    """
    modules = split_modules(plan, _TARGET, takes=lambda place: place.module in ("Linear", "Conv1D"))
    require_modules(_TARGET, modules)
    refuse_unheld(_TARGET, modules.low, lambda encoding: encoding == _NF4, _HOLDS)
    skipped = list(modules.wide)
    notes = ["bitsandbytes quantizes every linear layer that the list does not name, even one that is not in the plan."]
    if not any(choice.category == "lm_head" for choice in plan.choices):
        skipped.append("lm_head")  # an explicit list replaces the default one, which names it
    content = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "llm_int8_skip_modules": skip_patterns(skipped, list(modules.low)),
    }
    told = (*notes, *name_notes(modules))
    return Export(
        json.dumps(content, indent=1) + "\n", ".json", told, modules.coverage("transformers with bitsandbytes")
    )


def skip_patterns(skipped: Sequence[str], quantized: Sequence[str]) -> list[str]:
    """Return one entry per module to skip; none of them matches a module to quantize.

    An entry acts as a prefix up to a dot, as a regular expression and as a suffix. vLLM reads plain names only, so a
    name is escaped only where it would match a module to quantize or would not match itself.

    Examples:
        >>> skip_patterns(["layers.1.fc", "fc"], ["layers.10.fc"])
        ['layers.1.fc', '^fc$']
    """
    return [
        name if skips(name, name) and not any(skips(name, other) for other in quantized) else f"^{re.escape(name)}$"
        for name in skipped
    ]


def skips(entry: str, name: str) -> bool:
    """Return True if an entry of `llm_int8_skip_modules` keeps a module from being quantized.

    Source: transformers, `should_convert_module`.
    """
    try:
        matched = re.match(rf"(?:{entry})(?:(?<=\.)|(?=\.|$))", name) is not None
    except re.error:
        return False
    return matched or name.endswith(entry)
