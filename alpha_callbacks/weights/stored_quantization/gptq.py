"""GPTQ: `qweight` holds codes in int32 words along the inputs, `qzeros` and `scales` belong to groups of inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.weights.stored_quantization.grouped_codes import (
    dequantize,
    group_of_columns,
    group_words,
    is_float,
    readable,
)
from alpha_callbacks.weights.stored_quantization.integer_packing import integer_packing
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.small_texts import json_object
from alpha_callbacks.weights.stored_quantization.unpack_bits import unpack_bits
from alpha_callbacks.weights.stored_tensor import StoredTensor, read_columns

_BITS = (2, 3, 4, 8)
_WORD = 32
_ROLES = {"qzeros": "zero points", "scales": "scales", "g_idx": "group indices"}


class Gptq:
    """The layout; see the module."""

    name = "gptq"
    summary = Summary(
        decoded="2, 3, 4 and 8 bits with zero points of version 1 and 2, act-order; also AutoRound's `auto_gptq`",
        names="`qweight`, `qzeros`, `scales`, `g_idx`, and a config",
        live="modules with buffers of these names, before a kernel repacks them",
        refused="repacked for Marlin, or without a config: `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the modules whose shapes agree with each other and whose config says how zero points are stored."""
        if integer_packing(about) not in ("gptq", "gptq_v2"):
            return
        for tensor in tensors.values():
            module, _, last = tensor.name.rpartition(".")
            if last != "qweight":
                continue
            found = {role: tensors.get(f"{module}.{part}") for part, role in _ROLES.items()}
            claim = Claim(tensor, {role: part for role, part in found.items() if part is not None})
            if _form(claim, about) is not None:
                yield claim

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return (code - zero point) * scale in float32: how GPTQ defines the weight, before kernels round it."""
        form = _form(claim, about)
        assert form is not None, f"{claim.codes.name} was not recognised"
        group = "act-order groups" if form.ordered else group_words(form.group_size, form.in_features)
        return replace(
            claim.codes,
            name=claim.codes.name.removesuffix("qweight") + "weight",
            shape=(form.out_features, form.in_features),
            dtype=torch.float32,
            stored_dtype=f"GPTQ {form.bits}-bit, {group}",
            read=partial(_rows, claim, form),
            kind="linear",
        )


@dataclass(frozen=True)
class _Form:
    """What the shapes and the config say.

    Attributes:
        bits: of a code and of a zero point.
        in_features: columns.
        out_features: rows.
        groups: number of groups.
        group_size: columns that share a scale, where no index says it.
        ordered: the groups are given by an index for every column.
        less_one: zero points are stored minus one (the first version of the format).
        symmetric: all zero points are the middle code, as the config says.
    """

    bits: int
    in_features: int
    out_features: int
    groups: int
    group_size: int
    ordered: bool
    less_one: bool
    symmetric: bool


def _form(claim: Claim, about: Description) -> _Form | None:
    """Return how the codes are stored, or None if it is in doubt. The bits are those that the shapes allow."""
    parts, codes, quantization = claim.companions, claim.codes, about.quantization
    zeros, scales, order = parts.get("zero points"), parts.get("scales"), parts.get("group indices")
    if zeros is None or scales is None or not (len(codes.shape) == len(zeros.shape) == len(scales.shape) == 2):
        return None
    integers = [codes, zeros, *([order] if order is not None else [])]
    if not all(map(readable, integers)) or not is_float(scales):
        return None
    if codes.stored_dtype != "int32" or zeros.stored_dtype != "int32":
        return None
    groups, out_features = scales.shape
    bits = zeros.shape[1] * _WORD // out_features if out_features else 0
    in_features = codes.shape[0] * _WORD // bits if bits in _BITS else 0
    fits = (
        in_features > 0
        and zeros.shape == (groups, out_features * bits // _WORD)
        and codes.shape == (in_features * bits // _WORD, out_features)
    )
    ordered = order is not None and order.shape != (0,)
    group_size = _group_size(quantization, in_features, groups)
    if not fits or (ordered and order is not None and order.shape != (in_features,)):
        return None
    if not (ordered or group_size):
        return None
    symmetric = quantization.get("sym") is True
    said = json_object(about.metadata.get(zeros.name, "")).get("version")  # of a live module, converted or not
    less_one = said == 1 if said in (1, 2) else integer_packing(about) == "gptq"
    return _Form(bits, in_features, out_features, groups, group_size, ordered, less_one, symmetric)


def _group_size(quantization: Mapping[str, Any], in_features: int, groups: int) -> int:
    """Return the columns per group, 0 if neither the config nor an even division tells; layers may have their own."""
    asked = quantization.get("group_size")
    if type(asked) is int and asked > 0 and -(-in_features // asked) == groups:
        return asked
    return in_features // groups if groups and in_features % groups == 0 else 0


def _rows(claim: Claim, form: _Form, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features), float32."""
    parts = claim.companions
    words = read_columns(claim.codes, start, stop).T
    codes = unpack_bits(words, form.bits, form.in_features)
    zeros = _zero_points(parts["zero points"], form)[:, start:stop].T
    scales = read_columns(parts["scales"], start, stop).T
    return dequantize(codes, scales, zeros, _groups(claim, form))


def _groups(claim: Claim, form: _Form) -> Tensor:
    if not form.ordered:
        return group_of_columns(form.in_features, form.group_size)
    order = claim.companions["group indices"]
    groups = order.read(0, form.in_features).long()
    if groups.numel() and not (int(groups.min()) >= 0 and int(groups.max()) < form.groups):
        raise CheckpointError(
            f"{order.name}: expected indices of {form.groups} groups, got {int(groups.min())} to {int(groups.max())}. "
            "Download the file again."
        )
    return groups


def _zero_points(stored: StoredTensor, form: _Form) -> Tensor:
    """Return all zero points, shape (groups, out_features).

    Writers disagree with their own config on whether one was subtracted, so that of a symmetric scheme is told from the
    values: it is the middle code, in either version.

    Source: vLLM pull request 38966.
    """
    codes = unpack_bits(stored.read(0, form.groups), form.bits, form.out_features).int()
    middle, last = 2 ** (form.bits - 1), 2**form.bits - 1
    if form.symmetric and (bool((codes == middle).all()) or bool((codes == middle - 1).all())):
        return torch.full_like(codes, middle)
    return (codes + 1) & last if form.less_one else codes
