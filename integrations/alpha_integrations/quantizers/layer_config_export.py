"""The pipeline's layer-config JSON: a default and overrides, each for one exact name."""

import json
from fnmatch import fnmatchcase

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_integrations.quantizers.plan_modules import refuse_unheld, split_modules
from alpha_integrations.quantizers.precision_words import words_of

_TARGET = "layer-config"
_GROUP = 32  # what the pipeline's kernels take; that of OCP MX
_WHOLE = {"mxfp8_e4m3": "mxfp8", "mxfp6_e2m3": "mxfp6", "mxfp4": "mxfp4"}
_ELEMENTS = {"fp8_e4m3": "fp8", "fp4": "fp4", **{f"int{bits}": f"int{bits}" for bits in (2, 3, 4, 6, 8)}}
_BY_ROW = ("fp8", "int8")  # with 8 bits the finer groups of the pipeline differ little from a scale a row
_HOLDS = "int2, int3, int4, int6, int8, fp4 and fp8_e4m3 by group, int8 and fp8_e4m3 by row, mxfp8, mxfp6 and mxfp4"


def export(plan: Plan) -> Export:
    """Return {"default": ..., "overrides": [...]}; whatever is not listed stays at bf16.

    Raises:
        PlanError: a layer has a format without a name there.
    """
    modules = split_modules(plan, _TARGET)
    refuse_unheld(_TARGET, modules.low, lambda precision: _entry(precision) is not None, _HOLDS)
    overrides: list[dict[str, object]] = []
    for name in plan.modules():
        choice = modules.low.get(name)
        entry = {"skip": True} if choice is None else _entry(choice.precision)
        overrides.append({"pattern": escape(name), **(entry or {})})
    content = {"default": {"wq": "bf16", "aq": "bf16", "group_size": _GROUP}, "overrides": overrides}
    return Export(json.dumps(content, indent=1) + "\n", ".json", _notes([c.precision for c in modules.low.values()]))


def escape(name: str) -> str:
    """Return the fnmatch pattern that matches this name and no other.

    Examples:
        >>> escape("layers[0].fc")
        'layers[[]0].fc'
    """
    pattern = "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
    assert fnmatchcase(name, pattern)
    return pattern


def _entry(precision: str) -> dict[str, object] | None:
    """Return the keys of an override, or None if the pipeline has no word for this format."""
    words = words_of(precision)
    if not words.sharing:
        wq, size = _WHOLE.get(precision), _GROUP
    else:
        wq, size = _ELEMENTS.get(words.base), words.size or _GROUP
        if words.asymmetric or not (words.sharing == "group" or words.sharing == "channel" and wq in _BY_ROW):
            return None
    return None if wq is None else {"wq": wq, "group_size": size}


def _notes(precisions: list[str]) -> tuple[str, ...]:
    by_row = sorted({p for p in precisions if words_of(p).sharing == "channel"})
    if not by_row:
        return ()
    return (
        f"{', '.join(by_row)}: measured with a scale a row; the pipeline takes groups of {_GROUP}, which is finer.",
    )
