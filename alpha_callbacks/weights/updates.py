"""Updates of weights: W - W0 of two checkpoints, and what an adapter adds, as weights that can be analysed."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from alpha_callbacks.weights.adapters.update import Update
from alpha_callbacks.weights.layer_names import UPDATE, UPDATE_CATEGORY
from alpha_callbacks.weights.sharded import joined
from alpha_callbacks.weights.stored_dtype import ADDED
from alpha_callbacks.weights.weight import RowReader, Weight

ABSENT = "the base has no layer of this name"


def as_update(weight: Weight, rows: RowReader, stored: str, *, unsupported: str = "") -> Weight:
    """Return the update of a weight: a row of its own, whose name and category say that it is no weight.

    Args:
        weight: gives name, category and shape.
        rows: reads the update, float64.
        stored: what it is made of, for `stored_dtype`.
        unsupported: why it cannot be computed, or "".
    """
    return replace(
        weight,
        layer_name=f"{weight.layer_name}{UPDATE}",
        source_name=weight.source_name and f"{weight.source_name}{UPDATE}",
        category=f"{weight.category}{UPDATE_CATEGORY}",
        dtype=torch.float64,
        stored_dtype=stored,
        rows=rows,
        tied_to="",
        unsupported=unsupported,
        factors=None,
    )


def difference(tuned: Weight, base: Weight) -> Weight:
    """Return the update tuned - base, the difference of the stored (or decoded) values in float64."""

    def rows(start: int, stop: int) -> Tensor:
        return tuned.rows(start, stop).double() - base.rows(start, stop).double()

    stored = f"{tuned.stored_dtype} - {base.stored_dtype}"
    shapes = [f"{w.out_features}x{w.in_features}" for w in (tuned, base)]
    why = tuned.unsupported or base.unsupported and f"the base: {base.unsupported}"
    if shapes[0] != shapes[1]:
        why = f"{shapes[0]} here and {shapes[1]} in the base, so there is no difference"
    made = as_update(tuned, rows, stored, unsupported=why)
    return replace(made, sharded=joined(tuned.sharded, base.sharded), base_norm=base.frobenius_norm)


def without_base(weight: Weight) -> Weight:
    """Return the update of a weight that the base does not have, or that cannot be read."""
    why = weight.unsupported or ABSENT
    return as_update(weight, weight.rows, weight.stored_dtype, unsupported=why)


def adapted(base: Weight, update: Update, rows: Mapping[str, RowReader]) -> Weight:
    """Return the weight with its adapter: the sum (or what else the method makes of it) in float64, not rounded again.

    Args:
        base: the weight below the adapter.
        update: of the tensor that it is in.
        rows: readers of the update's rows for this weight, which may be one part of a fused tensor.
    """

    def read(start: int, stop: int) -> Tensor:
        return update.combine(base.rows(start, stop).double(), {what: at(start, stop) for what, at in rows.items()})

    stored = f"{base.stored_dtype}{ADDED}{update.method}"
    why = base.unsupported or update.unsupported
    sharded = joined(base.sharded, update.sharded)
    return replace(base, dtype=torch.float64, stored_dtype=stored, rows=read, unsupported=why, sharded=sharded)


def added(weight: Weight, update: Update, left: RowReader | None, base: Weight | None) -> Weight:
    """Return the update of an adapter that holds it itself, with its factors where it is a product of two.

    Args:
        weight: gives name, category, shape and the rows of the update.
        update: of the tensor that it is in.
        left: reader of the rows of the left factor.
        base: the weight below the adapter, where there is one.
    """
    made = as_update(weight, weight.rows, update.method, unsupported=weight.unsupported)
    if base is not None:
        made = replace(made, base_norm=base.frobenius_norm, sharded=joined(base.sharded, weight.sharded))
    if left is None or update.right is None:
        return made
    right: Callable[[], Tensor] = update.right
    return replace(made, factors=lambda: (left(0, weight.out_features), right()))


def transposed(weight: Weight) -> Weight:
    """Return a weight with its rows and columns exchanged."""
    length = weight.out_features
    return replace(
        weight,
        out_features=weight.in_features,
        in_features=length,
        rows=lambda start, stop: weight.rows(0, length)[:, start:stop].T,
    )
