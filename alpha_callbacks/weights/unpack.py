"""One stored tensor -> the matrices inside it: flattened, transposed, split, or one per expert."""

import math
import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.fused_layouts import (
    TRANSPOSED_MODELS,
    Part,
    split_gate_up,
    split_qkv,
    split_thirds,
    text_config,
)
from alpha_callbacks.weights.layer_names import categorize, clean_name
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of
from alpha_callbacks.weights.weight import RowReader, Weight

_EXPERTS_3D = re.compile(r"(^|\.)(experts|block_sparse_moe|moe|switch_mlp)\.")


def is_expert_stack(tensor: StoredTensor) -> bool:
    """Return True for a tensor of shape (experts, a, b)."""
    named = tensor.kind == "stack" or _EXPERTS_3D.search(clean_name(tensor.name)) is not None
    return named and len(tensor.shape) == 3


def weights_of(tensor: StoredTensor, config: Mapping[str, Any]) -> Iterable[Weight]:
    """Yield the matrices inside one tensor.

    Args:
        tensor: at least 2-D.
        config: the model's config.json as a dict, or empty; decides how fused tensors are split.
    """
    layer, shape = layer_name_of(tensor.name), tensor.shape
    if tensor.dtype is None or tensor.packed:
        yield _unsupported(tensor, layer)
        return
    if is_expert_stack(tensor):
        yield from _experts(tensor, layer, config)
        return
    model_type = str(text_config(config).get("model_type", ""))
    transposed = tensor.kind == "transposed" or (
        tensor.kind == "unknown"
        and model_type in TRANSPOSED_MODELS
        and re.search(r"\.(c_attn|c_proj|c_fc|q_attn)$", layer)
    )
    if len(shape) == 2 and transposed:
        rows: RowReader = partial(_transposed_rows, tensor.read, shape[0])
        out_features, in_features = shape[1], shape[0]
    else:
        rows = partial(_flat_rows, tensor.read) if len(shape) > 2 else tensor.read
        out_features, in_features = shape[0], math.prod(shape[1:])
    category = categorize(layer, ndim=len(shape))
    if tensor.kind == "embedding":
        category = "embedding"
    if tensor.kind == "in_proj" or layer.endswith("in_proj_weight"):
        layer, parts = layer.removesuffix("_weight"), split_thirds(out_features)
    elif tensor.parts is not None:
        parts = tensor.parts
    elif category == "attn_qkv":
        parts = split_qkv(out_features, config)
    elif category in ("mlp_gate_up", "moe_expert_gate_up"):
        parts = split_gate_up(out_features, config, category.removesuffix("_gate_up"))
    else:
        parts = ()
    whole = Weight(layer, category, out_features, in_features, tensor.dtype, tensor.stored_dtype, rows)
    yield from _split(whole, parts)


def _split(whole: Weight, parts: tuple[Part, ...]) -> Iterable[Weight]:
    """Yield the parts of a fused matrix, or the matrix itself when there are none."""
    if not parts:
        yield whole
    for part in parts:
        yield Weight(
            f"{whole.layer_name}.{part.suffix}",
            part.category,
            sum(stop - start for start, stop in part.ranges),
            whole.in_features,
            whole.dtype,
            whole.stored_dtype,
            partial(_picked_rows, whole.rows, part.ranges),
        )


def _experts(tensor: StoredTensor, layer: str, config: Mapping[str, Any]) -> Iterable[Weight]:
    """Yield one matrix (or gate and up) per expert from a tensor of shape (experts, a, b)."""
    count, a, b = tensor.shape
    assert tensor.dtype is not None
    base, _, last = layer.rpartition(".")
    category = categorize(f"experts.{last}")
    gate_up = category == "moe_expert_gate_up"
    # (experts, out, in) as nn.Linear has it, unless only the other reading gives gate and up (Llama 4, gpt-oss).
    flipped = gate_up and not split_gate_up(a, config, "moe_expert") and bool(split_gate_up(b, config, "moe_expert"))
    hidden = text_config(config).get("hidden_size")
    flipped = flipped or (category == "moe_expert_down" and a != hidden and b == hidden)
    flipped = flipped and tensor.kind != "stack"
    out_features, in_features = (b, a) if flipped else (a, b)
    parts = tensor.parts
    if parts is None:
        parts = split_gate_up(out_features, config, "moe_expert") if gate_up else ()
    for expert in range(count):
        rows = partial(_expert_rows, tensor.read, expert, flipped)
        name = f"{base}.{expert}.{last}" if base else f"{last}.{expert}"
        yield from _split(
            Weight(name, category, out_features, in_features, tensor.dtype, tensor.stored_dtype, rows), parts
        )


def _unsupported(tensor: StoredTensor, layer: str) -> Weight:
    rows, cols = tensor.shape[0], math.prod(tensor.shape[1:])
    reason = tensor.packed or f"stored as {tensor.stored_dtype} codes, which are not weights"
    category = categorize(layer)
    return Weight(layer, category, rows, cols, torch.uint8, tensor.stored_dtype, tensor.read, unsupported=reason)


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
