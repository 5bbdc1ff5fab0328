"""AutoRound: the `layer_config` of `AutoRound(model, layer_config=...)`, exact names with bits, group and symmetry."""

import json
from collections import Counter
from typing import Any

from alpha_callbacks.planning.export_plan import Export, refuse
from alpha_callbacks.planning.plan import Plan, module_name
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.integer_groups import integer_entry
from alpha_integrations.quantizers.module_entries import module_entries
from alpha_integrations.quantizers.plan_modules import name_notes

_TARGET = "auto-round"
_BITS = (2, 3, 4, 8)
_SIDE = 32  # AutoRound leaves a matrix with other sizes at 16 bits
_KEPT = {"bits": 16, "data_type": "float"}
_HOLDS = "int2, int3, int4 and int8 by group or row, asymmetric ones up to 4 bits"
_NOTE = (
    "AutoRound learns how to round; error and KL here are those of rounding to nearest (its iters=0). What the file "
    "does not name inside blocks gets AutoRound's own scheme."
)


def export(plan: Plan) -> Export:
    """Return {module path: {"bits", "group_size", "sym", "data_type"}}; what stays has 16 bits.

    Raises:
        PlanError: a layer has a format or sizes that AutoRound would not take.
    """
    modules, entries = module_entries(plan, _TARGET, _entry, _HOLDS)
    rows = Counter[str]()  # of a fused module: of all its parts
    for choice in plan.choices:
        rows[module_name(choice.layer_name)] += choice.out_features
    odd = [c for c in modules.low.values() if rows[module_name(c.layer_name)] % _SIDE or c.in_features % _SIDE]
    refuse(_TARGET, odd, f"matrices whose sides are multiples of {_SIDE}, and leaves others at 16 bits")
    content = {name: {**entry, "data_type": "int"} for name, entry in entries.items()}
    # An entry for lm_head, even at 16 bits, would make AutoRound look at it.
    content |= {name: dict(_KEPT) for name in modules.wide if name.rpartition(".")[2] != "lm_head"}
    text = json.dumps(content, indent=1) + "\n"
    return Export(text, ".json", (_NOTE, *name_notes(modules)), modules.coverage("AutoRound"))


def _entry(encoding: Encoding) -> dict[str, Any] | None:
    entry = integer_entry(encoding, _BITS)
    return entry if entry is not None and (entry["sym"] or entry["bits"] < 8) else None
