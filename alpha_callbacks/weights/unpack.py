"""One stored tensor -> the matrices inside it: flattened, transposed, split, or one per expert."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.canonical_names import canonical_name
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.expert_stacks import UNCLEAR, is_stack, stack_forms
from alpha_callbacks.weights.families import Form, Known, known_of, stack_size
from alpha_callbacks.weights.fused_layouts import (
    Part,
    split_gate_up,
    split_groups,
    split_named,
    split_qkv,
    split_thirds,
)
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of, numbered
from alpha_callbacks.weights.weight import RowReader, Weight

_WIDEST_KERNEL = 32  # of the convolutions that are called attn or mlp; most are 1 to 9 wide
_PROJECTIONS = ("attn_", "cross_attn_", "mlp_", "moe_")
_SEVERAL = "a linear layer by its name, several matrices or heads by its shape: which way they lie, nothing says"


def weights_of(tensor: StoredTensor, config: Mapping[str, Any]) -> Iterable[Weight]:
    """Yield the matrices inside one tensor, of which no more is known than its family and its own shape tell.

    Args:
        tensor: at least 2-D.
        config: the model's config.json as a dict, or empty; decides how fused tensors are split.
    """
    return unpacked(tensor, config, known_of(layer_name_of(tensor.name), config))


def unpacked(tensor: StoredTensor, config: Mapping[str, Any], known: Known | None) -> Iterable[Weight]:
    """Yield the matrices inside one tensor.

    Args:
        tensor: at least 2-D.
        config: as for `weights_of`.
        known: what is known of it.
    """
    layer, shape = layer_name_of(tensor.name), tensor.shape
    if tensor.dtype is None or tensor.packed:
        yield _unsupported(
            tensor, layer, tensor.packed or f"stored as {tensor.stored_dtype} codes, which are not weights"
        )
        return
    if is_stack(tensor, known):
        yield from _stack(tensor, layer, known or stack_forms([tensor], config).get(layer), config)
        return
    form = known.form if known and tensor.kind == "unknown" else "in_out" if tensor.kind == "transposed" else "out_in"
    if known and form.startswith("rows"):
        yield from _rows_stack(tensor, layer, known, config)
        return
    if known is None and _is_several(tensor, layer):
        yield _unsupported(tensor, layer, _SEVERAL)
        return
    rows, out_features, in_features = _matrix(tensor, form)
    category = (known.category if known else "") or categorize(layer, ndim=2 if "heads" in form else len(shape))
    if tensor.kind == "embedding":
        category = "embedding"
    if tensor.kind == "in_proj" or layer.endswith("in_proj_weight"):
        layer, parts = layer.removesuffix("_weight"), split_thirds(out_features)
    elif tensor.parts is not None:
        parts = tensor.parts
    elif known and known.form == "groups_out_in":
        parts = split_groups(out_features, stack_size(config), category)
    elif known and known.parts and not tensor.saved_as:
        parts = split_named(out_features, layer, known.parts)
    else:
        parts = () if tensor.saved_as else _parts(category, out_features, config)
    whole = Weight(layer, category, out_features, in_features, tensor.dtype, tensor.stored_dtype, rows)
    yield from _split(whole, parts, _names(tensor, layer, parts))


def _names(
    tensor: StoredTensor, layer: str, parts: tuple[Part, ...], *, stacked: bool = False
) -> list[tuple[str, str]]:
    """Return (layer name, that in the source if it is another) of each part; "*" is the index in a stack."""
    source = layer_name_of(tensor.source).removesuffix("_weight") if tensor.source else layer
    if stacked:
        layer, source = numbered(layer), numbered(source)
    found = []
    for position, suffix in enumerate([f".{part.suffix}" if part.suffix else "" for part in parts] or [""]):
        name = tensor.saved_as[position] if tensor.saved_as else canonical_name(layer + suffix)
        found.append((name, "" if name == source + suffix else source + suffix))
    return found


def _matrix(tensor: StoredTensor, form: Form) -> tuple[RowReader, int, int]:
    """Return (rows, out_features, in_features) of a tensor that is one matrix."""
    shape = tensor.shape
    if form == "in_out" and len(shape) == 2:
        return partial(_transposed_rows, tensor.read, shape[0]), shape[1], shape[0]
    if form == "in_heads":
        return partial(_transposed_rows, partial(_flat_rows, tensor.read), shape[0]), math.prod(shape[1:]), shape[0]
    return partial(_flat_rows, tensor.read) if len(shape) > 2 else tensor.read, shape[0], math.prod(shape[1:])


def _is_several(tensor: StoredTensor, layer: str) -> bool:
    """Return True for a projection in more dimensions than a matrix has that cannot be a kernel either."""
    if tensor.kind != "unknown" or max(tensor.shape[2:], default=0) <= _WIDEST_KERNEL:
        return False
    return categorize(layer).startswith(_PROJECTIONS)


def _parts(category: str, out_features: int, config: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the matrices fused in one of this category, () where it is one or the config does not explain it."""
    if category == "attn_qkv":
        return split_qkv(out_features, config)
    if category in ("mlp_gate_up", "moe_expert_gate_up", "moe_shared_gate_up"):
        return split_gate_up(out_features, config, category.removesuffix("_gate_up"))
    return ()


def _split(whole: Weight, parts: tuple[Part, ...], names: list[tuple[str, str]], number: str = "") -> Iterable[Weight]:
    """Yield the parts of a fused matrix, or the matrix itself when there are none, under these names."""
    if not parts:
        name, source = names[0]
        if source or name != whole.layer_name:  # a copy for each matrix of a large model takes its time
            whole = replace(whole, layer_name=name.replace("*", number), source_name=source.replace("*", number))
        yield whole
    for part, (name, source) in zip(parts, names, strict=True) if parts else ():
        crosses = part.category and whole.category.startswith("cross_")
        category = f"cross_{part.category}" if crosses else part.category
        yield Weight(
            name.replace("*", number),
            category or (whole.category if whole.category == "conv" else categorize(name)),
            sum(stop - start for start, stop in part.ranges),
            whole.in_features,
            whole.dtype,
            whole.stored_dtype,
            partial(_picked_rows, whole.rows, part.ranges),
            source_name=source.replace("*", number),
        )


def _stack(tensor: StoredTensor, layer: str, known: Known | None, config: Mapping[str, Any]) -> Iterable[Weight]:
    """Yield one matrix (or gate and up) per entry of the first dimension."""
    count, a, b = tensor.shape
    assert tensor.dtype is not None
    if known is None and tensor.kind == "unknown":
        yield _unsupported(tensor, layer, UNCLEAR)
        return
    last = layer.rpartition(".")[2]
    category = (known.category if known else "") or categorize(f"experts.{last}")
    flipped = tensor.kind == "unknown" and known is not None and known.form == "experts_in_out"
    out_features, in_features = (b, a) if flipped else (a, b)
    parts = _parts(category, out_features, config) if tensor.parts is None else tensor.parts
    names = _names(tensor, layer, parts, stacked=True)
    for number in range(count):
        rows = partial(_expert_rows, tensor.read, number, flipped)
        whole = Weight("", category, out_features, in_features, tensor.dtype, tensor.stored_dtype, rows)
        yield from _split(whole, parts, names, str(number))


def _rows_stack(tensor: StoredTensor, layer: str, known: Known, config: Mapping[str, Any]) -> Iterable[Weight]:
    """Yield the matrices of a 2-D stack, one above the other."""
    count, (length, columns) = stack_size(config), tensor.shape
    assert tensor.dtype is not None
    if not count or length % count:
        yield _unsupported(tensor, layer, f"{length} rows of several experts, whose number the config does not say")
        return
    names, each, flipped = _names(tensor, layer, (), stacked=True), length // count, known.form == "rows_in_out"
    shape = (columns, each) if flipped else (each, columns)
    for number in range(count):
        rows: RowReader = partial(_offset_rows, tensor.read, number * each)
        if flipped:
            rows = partial(_transposed_rows, rows, each)
        whole = Weight("", known.category, *shape, tensor.dtype, tensor.stored_dtype, rows)
        yield from _split(whole, (), names, str(number))


def _unsupported(tensor: StoredTensor, layer: str, reason: str) -> Weight:
    rows, cols = tensor.shape[0], math.prod(tensor.shape[1:])
    category = categorize(layer)
    return Weight(layer, category, rows, cols, torch.uint8, tensor.stored_dtype, tensor.read, unsupported=reason)


def _offset_rows(read: RowReader, offset: int, start: int, stop: int) -> Tensor:
    return read(offset + start, offset + stop)


def _flat_rows(read: RowReader, start: int, stop: int) -> Tensor:
    return read(start, stop).flatten(1)


def _transposed_rows(read: RowReader, length: int, start: int, stop: int) -> Tensor:
    return read(0, length)[:, start:stop].T


def _expert_rows(read: RowReader, expert: int, flipped: bool, start: int, stop: int) -> Tensor:
    matrix = read(expert, expert + 1)[0]
    return (matrix.T if flipped else matrix)[start:stop]


def _picked_rows(read: RowReader, ranges: tuple[tuple[int, int], ...], start: int, stop: int) -> Tensor:
    """Return rows start..stop of the concatenation of `ranges`."""
    if len(ranges) == 1:
        offset = ranges[0][0]
        return read(offset + start, offset + stop)
    picked = torch.cat([torch.arange(a, b) for a, b in ranges])[start:stop]
    first, last = int(picked.min()), int(picked.max())
    return read(first, last + 1)[picked - first]
