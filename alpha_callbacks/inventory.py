"""Stored tensors -> weights to analyse, and every other tensor with the reason why not. One place for all sources."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from alpha_callbacks.categories import categorize, clean_name
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.fused import TRANSPOSED_MODELS, Part, split_gate_up, split_qkv, split_thirds, text_config
from alpha_callbacks.weight import RowReader, Weight

Kind = Literal["unknown", "linear", "transposed", "conv", "embedding", "in_proj"]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor of a checkpoint or a live module, not read yet.

    Attributes:
        name: parameter path.
        shape: as stored.
        dtype: what `read` returns; None for codes that are not numbers.
        stored_dtype: name of the storage format.
        read: `read(start, stop)` returns that range of the first dimension.
        kind: what a live module says it is; "unknown" leaves it to the name and shape.
        packed: why its values are codes and not weights, or "".
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    stored_dtype: str
    read: Callable[[int, int], Tensor]
    kind: Kind = "unknown"
    packed: str = ""

    @property
    def numel(self) -> int:
        """Number of stored elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Skipped:
    """A tensor that is not analysed.

    Attributes:
        name: parameter path.
        shape: as stored.
        stored_dtype: name of the storage format.
        reason: one clause in plain words.
        shared: True if its values are analysed under another name.
    """

    name: str
    shape: tuple[int, ...]
    stored_dtype: str
    reason: str
    shared: bool = False

    @property
    def unknown(self) -> bool:
        """True for a matrix that nobody recognised, which a user may want to know of."""
        return self.reason == UNKNOWN and sum(size > 1 for size in self.shape) > 1


@dataclass
class Inventory:
    """What a source holds.

    Attributes:
        weights: matrices to analyse, in the order of the tensors given.
        skipped: all other tensors.
    """

    weights: list[Weight] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def take_inventory(
    tensors: Sequence[StoredTensor],
    config: Mapping[str, Any],
    *,
    selects: Callable[[str], bool] = lambda name: True,
    include_embeddings: bool = False,
    ties: Mapping[str, str] | None = None,
) -> Inventory:
    """Sort tensors into weights and the rest.

    Args:
        tensors: in module order.
        config: the model's config.json as a dict, or empty; used to split fused tensors.
        selects: layer filter.
        include_embeddings: analyse embedding tables too.
        ties: tensor name -> name of the tensor that owns the same storage. Of those that share one, a single tensor is
            analysed: the language head if it passes the filter, else the last that does.

    Raises:
        CheckpointError: two tensors have the same layer name.
    """
    inventory, seen, ties = Inventory(), dict[str, str](), ties or {}
    entries = [_examine(tensor, config, selects, include_embeddings) for tensor in _without_ddp_prefix(tensors)]
    groups: dict[str, list[_Entry]] = {}
    for original, entry in zip(tensors, entries, strict=True):
        groups.setdefault(ties.get(original.name, original.name), []).append(entry)
    for entry, group in zip(entries, (groups[ties.get(t.name, t.name)] for t in tensors), strict=True):
        shown = _representative(group)
        if shown is not None and shown is not entry:
            reason = f"same storage as {layer_name_of(shown.tensor.name)}, analysed there"
            inventory.skipped.append(_skip(entry.tensor, reason, shared=True))
        elif not entry.weights:
            inventory.skipped.append(_skip(entry.tensor, entry.why))
        for weight in entry.weights if shown is entry else ():
            if weight.layer_name in seen:
                raise CheckpointError(
                    f"{weight.layer_name}: expected one tensor of this name, got {seen[weight.layer_name]} and "
                    f"{entry.tensor.name}. Remove one of them."
                )
            seen[weight.layer_name] = entry.tensor.name
            other = next((e for e in group if e is not entry), None)
            inventory.weights.append(replace(weight, tied_to=layer_name_of(other.tensor.name)) if other else weight)
    return inventory


@dataclass(frozen=True)
class _Entry:
    """A tensor with the weights in it that are wanted, or why there are none."""

    tensor: StoredTensor
    weights: tuple[Weight, ...]
    why: str


def _examine(
    tensor: StoredTensor, config: Mapping[str, Any], selects: Callable[[str], bool], include_embeddings: bool
) -> _Entry:
    why = _why_not(tensor, include_embeddings)
    found = () if why else tuple(_weights_of(tensor, config))
    wanted = tuple(weight for weight in found if selects(weight.layer_name))
    return _Entry(tensor, wanted, why or ("" if wanted else FILTERED))


def _representative(group: Sequence[_Entry]) -> _Entry | None:
    """Return the entry that is analysed for all that share its storage."""
    usable = [entry for entry in group if entry.weights]
    heads = [entry for entry in usable if entry.weights[0].category == "lm_head"]
    return (heads or usable)[-1] if usable else None


def _without_ddp_prefix(tensors: Sequence[StoredTensor]) -> list[StoredTensor]:
    """Return the tensors without the "module." of DistributedDataParallel, which every name has or none."""
    prefix = "module."
    if not all(clean_name(tensor.name).startswith(prefix) for tensor in tensors):
        return list(tensors)
    return [replace(tensor, name=clean_name(tensor.name).removeprefix(prefix)) for tensor in tensors]


FILTERED = "left out by the layer filter"
UNKNOWN = "not the weight of a known kind of layer"


def layer_name_of(parameter: str) -> str:
    """Return the layer name of a parameter path: no ".weight", no wrappers in the path, no ".base_layer" of PEFT.

    Example:
        >>> layer_name_of("_orig_mod.model.layers.0.self_attn.q_proj.base_layer.weight")
        'model.layers.0.self_attn.q_proj'
    """
    name = re.sub(r"\.(weight|qweight|weight_packed)$|_blocks$", "", clean_name(parameter))
    return name.removesuffix(".base_layer")


_EXPERTS_3D = re.compile(r"(^|\.)(experts|block_sparse_moe|moe)\.|_exps(\.weight)?$")
_LORA = re.compile(r"(^|\.)(lora_[AB]|lora_embedding_[AB]|lora_magnitude_vector)(\.|$)")
_NAMED = re.compile(
    r"\.(weight|qweight|weight_packed)$|(^|[._])(in|q|k|v)_proj_weight$|(^|[._])weight_(ih|hh|hr)(_l\d+)?(_reverse)?$|_blocks$"
)
_SCALES = ("weight_scale", "weight_scale_inv", "SCB", "weight.absmax", "weight.quant_map")


def _why_not(tensor: StoredTensor, include_embeddings: bool) -> str:
    """Return why this tensor is no weight to analyse, or an empty string."""
    name, ndim = clean_name(tensor.name), len(tensor.shape)
    if _LORA.search(name):
        return "low-rank adapter factor, not a weight by itself"
    if name.endswith(".original_module.weight"):
        return "replaced by a trained copy"
    if name.endswith("_scales") or tensor.dtype is None and not _NAMED.search(name):
        return f"{tensor.stored_dtype} codes, scales or indices, not weights"
    if ndim < 2:
        return f"{ndim}-D, has no spectrum"
    if not _NAMED.search(name) and not (ndim == 3 and _EXPERTS_3D.search(name)) and tensor.kind == "unknown":
        return UNKNOWN
    if ndim > 5:
        return f"{ndim}-D, expected 2 to 5"
    layer = layer_name_of(name)
    if (tensor.kind == "embedding" or categorize(layer) == "embedding") and ndim == 2 and not include_embeddings:
        return "embedding (--include-embeddings analyses it)"
    return ""


def _weights_of(tensor: StoredTensor, config: Mapping[str, Any]) -> Iterable[Weight]:
    """Yield the matrices inside one tensor."""
    layer, shape = layer_name_of(tensor.name), tensor.shape
    if tensor.dtype is None or tensor.packed:
        yield _unsupported(tensor, layer)
        return
    if len(shape) == 3 and _EXPERTS_3D.search(clean_name(tensor.name)):
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
    """Yield one matrix (or gate and up) an expert from a tensor of shape (experts, a, b)."""
    count, a, b = tensor.shape
    assert tensor.dtype is not None
    base, _, last = layer.rpartition(".")
    category = categorize(f"experts.{last}")
    gate_up = category == "moe_expert_gate_up"
    # (experts, out, in) as nn.Linear has it, unless only the other reading gives gate and up (Llama 4, gpt-oss).
    flipped = gate_up and not split_gate_up(a, config, "moe_expert") and bool(split_gate_up(b, config, "moe_expert"))
    hidden = text_config(config).get("hidden_size")
    flipped = flipped or (category == "moe_expert_down" and a != hidden and b == hidden)
    out_features, in_features = (b, a) if flipped else (a, b)
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


def mark_packed(tensors: Iterable[StoredTensor]) -> list[StoredTensor]:
    """Return the tensors with those marked whose values are codes: integer storage, or a scale stored beside them."""
    listed = list(tensors)
    names = {tensor.name for tensor in listed}
    marked = []
    for tensor in listed:
        layer = tensor.name.removesuffix(".weight")
        scale = next((s for s in _SCALES if f"{layer}.{s}" in names), "")
        if scale and tensor.name.endswith(".weight"):
            reason = (
                f"quantized: {tensor.stored_dtype} codes with {scale} beside them. Dequantize the checkpoint first."
            )
            tensor = replace(tensor, packed=reason)
        marked.append(tensor)
    return marked


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


def _skip(tensor: StoredTensor, reason: str, *, shared: bool = False) -> Skipped:
    return Skipped(tensor.name, tensor.shape, tensor.stored_dtype, reason, shared)
