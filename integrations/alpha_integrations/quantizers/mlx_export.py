"""MLX-LM: the `quantization` of a config.json, which is also what a `quant_predicate` of its converter answers."""

import json
from typing import Any

from alpha_callbacks.planning.export_plan import Export
from alpha_callbacks.planning.plan import Plan
from alpha_callbacks.precisions.encoding import Encoding
from alpha_integrations.quantizers.module_entries import module_entries
from alpha_integrations.quantizers.plan_modules import name_notes

_TARGET = "mlx"
_BITS, _GROUPS = (2, 3, 4, 5, 6, 8), (32, 64, 128)
# Bit for bit what MLX 0.32.4 computes on a CPU; its nvfp4 has no scale of the tensor, so it is another format.
_MODES = {("e2m1", "rceil"): "mxfp4", ("e4m3", "rceil"): "mxfp8"}
_HOLDS = (
    "asymmetric integers of 2 to 6 or 8 bits in groups of 32, 64 or 128 (int4:asym:g64), mxfp4:rceil and "
    "mxfp8; its scales of symmetric integers, of mxfp4 by default and of nvfp4 are others than were measured"
)
_NOTE = (
    "Run: mlx_lm.convert(MODEL, quantize=True, q_group_size={group_size}, q_bits={bits}, q_mode={mode!r}, "
    'quant_predicate=lambda path, module: config.get(path, False)) with config = "quantization" of this file.'
)
_ROUNDING = (
    "Affine groups of MLX have another grid than the measured asymmetric ones, which is about as good: relative errors "
    "of normal weights were 8.15 % and 8.14 % (int4, groups of 32), 19.1 % and 19.4 % (int3, groups of 64)."
)


def export(plan: Plan) -> Export:
    """Return {"quantization": {"group_size", "bits", "mode", path: {...} or false}}.

    Raises:
        PlanError: a layer has a format that MLX lacks.
    """
    modules, entries = module_entries(plan, _TARGET, _entry, _HOLDS)
    base = min(entries.values(), key=lambda entry: int(entry["group_size"]))  # others' columns divide by it too
    content = {"quantization": {**base, **entries, **dict.fromkeys(modules.wide, False)}}
    affine = any(entry["mode"] == "affine" for entry in entries.values())
    notes = (_NOTE.format(**base), *([_ROUNDING] if affine else []), *name_notes(modules))
    return Export(json.dumps(content, indent=1) + "\n", ".json", notes, modules.coverage("MLX-LM"))


def _entry(encoding: Encoding) -> dict[str, Any] | None:
    mode = _MODES.get((encoding.element, encoding.scale))
    if mode is not None and encoding.sharing == "group":
        return {"group_size": encoding.size, "bits": encoding.bits, "mode": mode}
    integer = encoding.element == "int" and encoding.scale == "real" and not encoding.symmetric
    if integer and encoding.bits in _BITS and encoding.sharing == "group" and encoding.size in _GROUPS:
        return {"group_size": encoding.size, "bits": encoding.bits, "mode": "affine"}
    return None
