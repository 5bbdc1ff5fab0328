"""bitsandbytes through transformers: keyword arguments of BitsAndBytesConfig, NF4 and a list of what to skip."""

import json
import re
from collections.abc import Sequence

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_integrations.quantizers.plan_modules import refuse_unheld, split_modules

_TARGET = "bitsandbytes"
_HOLDS = (
    "nf4 (blocks of 64) and 16 bits, one format for all quantized layers. Its int8 (LLM.int8) has other scales than "
    "were measured and quantizes activations too"
)


def export(plan: Plan) -> Export:
    """Return {"load_in_4bit": true, ...}, for BitsAndBytesConfig(**kwargs).

    Raises:
        PlanError: a layer has another low-bit format than NF4.
    """
    modules = split_modules(plan, _TARGET)
    refuse_unheld(_TARGET, modules.low, lambda precision: precision == "nf4", _HOLDS)
    skipped = list(modules.wide)
    notes = [
        "bitsandbytes quantizes every linear layer that the list does not name, also those that are not in the plan."
    ]
    if not any(choice.category == "lm_head" for choice in plan.choices):
        skipped.append("lm_head")  # an explicit list takes the place of the default one, which has it
    content = {
        "load_in_4bit": True,
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": False,
        "bnb_4bit_compute_dtype": "bfloat16",
        "llm_int8_skip_modules": skip_patterns(skipped, list(modules.low)),
    }
    return Export(json.dumps(content, indent=1) + "\n", ".json", tuple(notes))


def skip_patterns(skipped: Sequence[str], quantized: Sequence[str]) -> list[str]:
    """Return an entry for each module to skip that skips none to be quantized.

    An entry is a prefix up to a dot, a regular expression, or a suffix, whichever fits. A plain name is what vLLM
    reads too, so it is escaped only where it would do harm or would not match itself.

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
