"""optimum-quanto: `weight._data` times `weight._scale`, of 8-bit types as they are, of 4 and 2 bits in groups.

Grouped codes are packed as a matrix of groups, (groups, group size), whose shape does not tell that of the weight. A
live model knows it and says it as `size` (`live_codes`); of a file the config and the name of the layer tell it.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.families import text_config
from alpha_callbacks.weights.stored_quantization.grouped_codes import is_float, readable
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.row_packing import read_packed_rows
from alpha_callbacks.weights.stored_quantization.small_texts import json_object
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

_FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
_READS_HIDDEN = ("attn_q", "attn_k", "attn_v", "mlp_gate", "mlp_up", "lm_head")  # (rows, hidden_size)
_WRITES_HIDDEN = ("attn_o", "mlp_down")  # (hidden_size, columns)
# Towers with a width of their own, and the second of two factors, which reads their rank (DeepSeek).
_OTHERS = ("vision", "visual", "audio", "q_b_proj", "attn_q_b")


class Quanto:
    """The layout; see the module."""

    name = "optimum-quanto"
    summary = Summary(
        decoded="qint8, qfloat8, qint4, qint2",
        names="`weight._data` or `weight._data._data`, `weight._scale`, `weight._shift`",
        live="`QLinear`",
        refused="4 and 2 bits where neither config nor name tells the shape: `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the weights whose parts are there, also those whose shape nobody says."""
        for scale in tensors.values():
            if not scale.name.endswith(".weight._scale") or not is_float(scale):
                continue
            weight = scale.name.removesuffix("._scale")
            plain, packed = tensors.get(f"{weight}._data"), tensors.get(f"{weight}._data._data")
            shift = tensors.get(f"{weight}._shift")
            if plain is not None and shift is None:
                yield Claim(plain, {"scales": scale})
            elif packed is not None and shift is not None:
                yield Claim(packed, {"scales": scale, "zero points": shift})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return what quanto's own `dequantize` returns, in the type of the scales."""
        scale, grouped = claim.companions["scales"], "zero points" in claim.companions
        name = scale.name.removesuffix("._scale")
        whole = replace(claim.codes, name=name, dtype=scale.dtype, kind="unknown")
        if not readable(claim.codes):
            return whole
        if not grouped:
            fits = len(claim.codes.shape) == 2 and scale.shape in ((), (1,), (claim.codes.shape[0], 1))
            if not fits or not (claim.codes.dtype in _FLOAT8 or claim.codes.stored_dtype == "int8"):
                return _refused(whole, "codes of a type or with scales of a shape that is not known")
            kind = "int8" if claim.codes.dtype is None else claim.codes.stored_dtype
            words = f"quanto {kind}, {'row' if len(scale.shape) == 2 else 'tensor'}"
            return replace(whole, stored_dtype=words, read=partial(_rows, claim))
        form = _grouped(claim, about)
        if form is None:
            return _refused(
                whole, "codes in groups, and neither the files nor their config say the shape of the matrix"
            )
        words = f"quanto {form.bits}-bit, group {form.group_size}"
        return replace(whole, shape=form.shape, stored_dtype=words, read=partial(_grouped_rows, claim, form))


@dataclass(frozen=True)
class _Groups:
    """Grouped codes: their bits, the columns of a group, and the shape of the matrix."""

    bits: int
    group_size: int
    shape: tuple[int, int]


def _grouped(claim: Claim, about: Description) -> _Groups | None:
    packed, scale, shift = claim.codes, claim.companions["scales"], claim.companions["zero points"]
    if len(packed.shape) != 2 or packed.stored_dtype != "uint8" or not (packed.shape[0] and readable(shift)):
        return None
    (stored, size), groups = packed.shape, scale.shape[0] if scale.shape else 0
    found = [bits for bits in (4, 2) if -(-groups // (8 // bits)) == stored]
    bits = found[0] if len(found) == 1 else 0  # one or two groups fill a byte of either kind
    if not bits or scale.shape != (groups, 1) or shift.shape != scale.shape:
        return None
    shape = _shape(scale.name.removesuffix("._scale"), groups * size, about)
    if shape is None or math.prod(shape) != groups * size or shape[1] % size:
        return None
    return _Groups(bits, size, shape)


def _shape(weight: str, count: int, about: Description) -> tuple[int, int] | None:
    """Return (rows, columns) of a matrix of so many weights, or None where nobody says."""
    said = json_object(about.metadata.get(weight, "")).get("size")
    if isinstance(said, list) and len(said) == 2 and all(type(n) is int for n in said):
        return said[0], said[1]
    config, category = text_config(about.config), categorize(layer_name_of(weight))
    hidden = config.get("hidden_size")
    if category == "lm_head":  # OPT-350m projects before its head
        hidden = config.get("word_embed_proj_dim", hidden)
    if type(hidden) is not int or hidden < 1 or count % hidden or any(part in weight for part in _OTHERS):
        return None
    if category in _READS_HIDDEN:
        return count // hidden, hidden
    return (hidden, count // hidden) if category in _WRITES_HIDDEN else None


def _rows(claim: Claim, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop of 8-bit codes."""
    scale = claim.companions["scales"]
    factors = (
        scale.read(start, stop) if len(scale.shape) == 2 and scale.shape[0] > 1 else scale.read(0, 1).reshape(1, 1)
    )
    return factors * claim.codes.read(start, stop).to(factors.dtype)


def _grouped_rows(claim: Claim, form: _Groups, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop of codes in groups."""
    per_row = form.shape[1] // form.group_size
    first, last = start * per_row, stop * per_row
    codes = read_packed_rows(claim.codes, form.bits, first, last)
    scale, shift = (claim.companions[role].read(first, last) for role in ("scales", "zero points"))
    if shift.is_floating_point():
        values = scale * codes - shift
    else:
        values = scale * (codes.to(torch.int8) - shift.to(torch.int8))
    return values.reshape(stop - start, form.shape[1])


def _refused(whole: StoredTensor, what: str) -> StoredTensor:
    return replace(whole, packed=f"quantized: optimum-quanto {what}. Dequantize the checkpoint first.")
