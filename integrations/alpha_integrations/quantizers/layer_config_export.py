"""The pipeline's layer-config JSON: a default, and one override per exact layer name."""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.plan_modules import (
    encoding_of,
    name_notes,
    refuse_unheld,
    require_modules,
    split_modules,
)

_TARGET = "layer-config"
_GROUP = 32  # the group size of the pipeline's kernels and of OCP MX
_INT_BITS = (2, 3, 4, 6, 8)
_FLOATS = {
    ("e4m3", "rceil"): "mxfp8",
    ("e2m3", "even"): "mxfp6",
    ("e2m1", "even"): "mxfp4",
    ("e4m3", "real"): "fp8",
    ("e2m1", "real"): "fp4",
}
_BY_ROW = ("fp8", "int8")  # with 8 bits the pipeline's finer groups differ little from one scale per row
_HOLDS = "int2, int3, int4, int6, int8, fp4 and fp8_e4m3 by group, int8 and fp8_e4m3 by row, mxfp8, mxfp6 and mxfp4"


def export(plan: Plan) -> Export:
    """Return {"default": ..., "overrides": [...]}; whatever is not listed stays at bf16.

    Raises:
        PlanError: a layer has a format without a name there.
    """
    modules = split_modules(plan, _TARGET)
    require_modules(_TARGET, modules)
    refuse_unheld(_TARGET, modules.low, lambda encoding: _entry(encoding) is not None, _HOLDS)
    entries = {name: _entry(encoding_of(choice, _TARGET)) or {} for name, choice in modules.low.items()}
    entries |= dict.fromkeys(modules.wide, {"skip": True})
    overrides = [{"pattern": escape(name), **entry} for name, entry in entries.items()]
    content = {"default": {"wq": "bf16", "aq": "bf16", "group_size": _GROUP}, "overrides": overrides}
    notes = (*_notes(modules.low.values()), *name_notes(modules))
    return Export(json.dumps(content, indent=1) + "\n", ".json", notes, modules.coverage("the pipeline"))


def escape(name: str) -> str:
    """Return the fnmatch pattern that matches this name and no other.

    Examples:
        >>> escape("layers[0].fc")
        'layers[[]0].fc'
    """
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
    assert fnmatchcase(name, pattern)
    return pattern


def _entry(encoding: Encoding) -> dict[str, object] | None:
    """Return the keys of an override, or None if the pipeline has no name for this format."""
    integer = encoding.element == "int" and encoding.bits in _INT_BITS and encoding.symmetric
    wq = f"int{encoding.bits}" if integer else _FLOATS.get((encoding.element, encoding.scale))
    if wq is None or not (encoding.sharing == "group" or encoding.sharing == "channel" and wq in _BY_ROW):
        return None
    return {"wq": wq, "group_size": encoding.size or _GROUP}


def _notes(low: Iterable[Choice]) -> tuple[str, ...]:
    by_row = sorted({choice.precision for choice in low if encoding_of(choice, _TARGET).sharing == "channel"})
    if not by_row:
        return ()
    return (
        f"{', '.join(by_row)}: measured with one scale per row; the pipeline uses groups of {_GROUP}, which is finer.",
    )
