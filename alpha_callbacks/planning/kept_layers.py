"""Which layers stay at 16 bits by rule or by --keep, outside the budget, and why."""

import re

from alpha_callbacks.errors import PlanError
from alpha_callbacks.planning.plan import Choice
from alpha_callbacks.planning.recommend_options import RecommendOptions
from alpha_callbacks.planning.tied_groups import units
from alpha_callbacks.tables.table import LayerRows, Table
from alpha_callbacks.utils.labels import some_names

_KEPT = {"embedding": "an embedding", "lm_head": "the language head", "moe_router": "a router", "conv": "a convolution"}
_BY_OPTION = "kept by --keep"
_HALF = {"float16", "F16"}


def all_kept(table: Table, options: RecommendOptions) -> dict[str, str]:
    """Return layer name -> why it is outside the budget; --keep also keeps every layer that shares a format.

    Raises:
        PlanError: --keep matches no layer.
    """
    names = [layer.first.layer_name for layer in table.layers]
    if options.keep and not any(re.search(options.keep, name) for name in names):
        raise PlanError(f"keep: expected layers that match {options.keep!r}, got none. {some_names(names)}")
    choices = [choice_of(layer, sixteen_bit_format(layer)) for layer in table.layers]
    kept = {layer.first.layer_name: why for layer in table.layers if (why := _kept(layer, options))}
    for group in units(choices, tied=not options.untied):
        names = [choices[i].layer_name for i in group]
        if owner := next((name for name in names if kept.get(name) == _BY_OPTION), None):
            kept.update({name: f"shares a format with {owner}, {_BY_OPTION}" for name in names if name not in kept})
    return kept


def _kept(layer: LayerRows, options: RecommendOptions) -> str:
    """Return why a layer is outside the budget, or ""."""
    row = layer.first
    if row.tied_to:
        return f"shares its storage with {row.tied_to}"
    if options.keep and re.search(options.keep, row.layer_name):
        return _BY_OPTION
    if row.category == "lm_head" and options.quantize_head:
        return ""
    return f"kept by rule: {_KEPT[row.category]}" if row.category in _KEPT else ""


def sixteen_bit_format(layer: LayerRows) -> str:
    """Return the 16-bit format that a layer stays in."""
    return "fp16" if layer.first.stored_dtype in _HALF else "bf16"


def choice_of(layer: LayerRows, precision: str, *, reason: str = "", budgeted: bool = True) -> Choice:
    """Return the choice of a precision for a layer."""
    row = layer.first
    return Choice(
        row.layer_name, row.category, row.out_features, row.in_features, precision, reason, budgeted, row.tied_to
    )
