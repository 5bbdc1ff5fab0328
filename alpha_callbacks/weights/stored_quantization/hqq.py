"""HQQ: `W_q` holds the codes, `scale` and `zero` belong to groups of them; bits, shape and axis are tensors too."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.companions import by_module
from alpha_callbacks.weights.stored_quantization.grouped_codes import is_float, readable
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.row_packing import read_packed_rows
from alpha_callbacks.weights.stored_quantization.small_texts import short_text, single_number
from alpha_callbacks.weights.stored_tensor import StoredTensor

_ROLES = {"scale": "scales", "zero": "zero points"}
_SETTINGS = {  # each a tensor of its own
    *("nbits", "group_size", "axis", "shape", "packing", "view_as_float", "unpack_view_dtype", "compute_dtype"),
    *("channel_wise", "optimize", "round_zero", "quant_scale", "quant_zero", "offload_meta"),
    *("encoded_state_dict", "stores_quant_config"),
}
_DTYPES = {"torch.float16": torch.float16, "torch.bfloat16": torch.bfloat16}
_PER_ITEM = {8: 1, 4: 2, 3: 10, 2: 4, 1: 8}  # codes in an integer: a byte, of 3 bits 32 bits


class Hqq:
    """The layout; see the module."""

    name = "hqq"
    summary = Summary(
        decoded="1, 2, 3, 4 and 8 bits, grouped along either axis",
        names="`W_q`, `scale`, `zero`, `nbits`, `axis`, `shape`, …",
        live="`HQQLinear`",
        refused="scales that are codes themselves, or codes stored as floats: `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the modules that hold `W_q`, `scale`, `zero`, and say how they are packed."""
        modules = by_module(tensors.values())
        for codes in tensors.values():
            module, _, last = codes.name.rpartition(".")
            if last != "W_q":
                continue
            parts = {name.rpartition(".")[2]: tensors[name] for name in modules[module]}
            roles = {role: parts[part] for part, role in _ROLES.items() if part in parts}
            settings = {f"setting {part!r}": parts[part] for part in _SETTINGS if part in parts}
            claim = Claim(codes, {**roles, **settings})
            if _form(claim) is not None:
                yield claim

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return (code - zero) * scale, in the type that the file names, as HQQ computes it; else in float32."""
        form = _form(claim)
        assert form is not None, f"{claim.codes.name} was not recognised"
        along = "" if form.axis == 1 else " along the outputs"
        return replace(
            claim.codes,
            name=claim.codes.name.removesuffix("W_q") + "weight",
            shape=form.shape,
            dtype=form.dtype,
            stored_dtype=f"HQQ {form.bits}-bit, group {form.group_size}{along}",
            read=partial(_rows, claim, form),
            kind="linear",
        )


@dataclass(frozen=True)
class _Form:
    """How the codes are packed.

    Attributes:
        bits: of a code.
        axis: 1: the matrix of codes is (groups, group_size); 0: it is (group_size, groups).
        group_size: weights that share a scale.
        shape: of the weight, whose elements are those of the matrix of codes in their order.
        dtype: that HQQ computes in.
    """

    bits: int
    axis: int
    group_size: int
    shape: tuple[int, int]
    dtype: torch.dtype


def _form(claim: Claim) -> _Form | None:
    parts = claim.companions
    setting = {name: parts.get(f"setting {name!r}") for name in _SETTINGS}
    scale, zero, shape = parts.get("scales"), parts.get("zero points"), setting["shape"]
    bits, axis = single_number(setting["nbits"]), single_number(setting["axis"])
    if bits not in _PER_ITEM or axis not in (0, 1) or scale is None or zero is None or shape is None:
        return None
    if any(single_number(setting[name]) for name in ("view_as_float", "quant_scale", "quant_zero")):
        return None
    if shape.shape != (2,) or shape.dtype is not None or not all(map(readable, (shape, claim.codes))):
        return None
    rows, columns = (int(n) for n in shape.read(0, 2))
    if not (is_float(scale) and is_float(zero)) or len(claim.codes.shape) != 2 or min(rows, columns) < 1:
        return None
    if claim.codes.stored_dtype != ("int32" if bits == 3 else "uint8"):
        return None
    groups, asked = math.prod(scale.shape), single_number(setting["group_size"])
    group_size = asked or (rows * columns // groups if groups else 0)
    if not group_size or groups * group_size != rows * columns:
        return None
    codes = (groups, group_size) if axis == 1 else (group_size, groups)
    stored = (-(-codes[0] // _PER_ITEM[bits]), codes[1])
    # The first rows of the codes fill the highest bits, so that the number of rows must be known to the bit.
    whole = codes[0] % _PER_ITEM[bits] == 0 or bits == 3
    if not whole or claim.codes.shape != stored or zero.shape not in (scale.shape, (), (1,), (1, 1)):
        return None
    dtype = _DTYPES.get(short_text(setting["compute_dtype"]), torch.float32)
    return _Form(bits, axis, group_size, (rows, columns), dtype) if scale.shape in ((groups, 1), (1, groups)) else None


def _rows(claim: Claim, form: _Form, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features)."""
    columns = form.shape[1]
    width = claim.codes.shape[1]
    first, last = start * columns, stop * columns
    begin, end = first // width, -(-last // width)  # rows of the matrix of codes
    codes = read_packed_rows(claim.codes, form.bits, begin, max(begin, end), top=_PER_ITEM[form.bits]).flatten()
    codes = codes[first - begin * width : last - begin * width].to(form.dtype)
    at = torch.arange(first, last, device=codes.device)
    group = at // width if form.axis == 1 else at % width
    scale, zero = (
        part.read(0, part.shape[0] if part.shape else 1).to(form.dtype).flatten()
        for part in (claim.companions["scales"], claim.companions["zero points"])
    )
    values = codes - (zero.index_select(0, group) if zero.numel() > 1 else zero)
    return (values * scale.index_select(0, group)).reshape(stop - start, columns)
