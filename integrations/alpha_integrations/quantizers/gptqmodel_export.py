"""GPTQModel: arguments of `QuantizeConfig`, with a `dynamic` entry for every module of a plan."""

import json
import re
from collections import Counter

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_integrations.quantizers.integer_groups import integer_entry
from alpha_integrations.quantizers.module_entries import module_entries
from alpha_integrations.quantizers.plan_modules import name_notes

_TARGET = "gptqmodel"
_BITS = (2, 3, 4, 8)
_HOLDS = "int2, int3, int4 and int8 by group or row"
_NOTE = (
    "GPTQ makes up for the error of one column in the next; error and KL here are those of rounding to nearest. What "
    "the file does not name gets its first three values."
)


def export(plan: Plan) -> Export:
    """Return {"bits", "group_size", "sym", "dynamic": {"+:^name$": {...}, "-:^name$": {}}}.

    The first expression that matches decides there, so each is the whole of one name.

    Raises:
        PlanError: a layer has a format that GPTQ cannot pack.
    """
    modules, entries = module_entries(plan, _TARGET, lambda encoding: integer_entry(encoding, _BITS), _HOLDS)
    weights = Counter[str]()
    for name, entry in entries.items():
        weights[json.dumps(entry)] += modules.low[name].numel
    base = json.loads(weights.most_common(1)[0][0])
    dynamic = {f"+:^{re.escape(name)}$": entry for name, entry in entries.items()}
    dynamic |= {f"-:^{re.escape(name)}$": {} for name in modules.wide}
    heads = any(choice.category == "lm_head" for choice in modules.low.values())
    text = json.dumps({**base, **({"lm_head": True} if heads else {}), "dynamic": dynamic}, indent=1) + "\n"
    return Export(text, ".json", (_NOTE, *name_notes(modules)), modules.coverage("GPTQModel"))
