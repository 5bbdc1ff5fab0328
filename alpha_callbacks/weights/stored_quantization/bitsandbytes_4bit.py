"""bitsandbytes NF4 and FP4: `weight` holds the flattened codes, two in a byte, with a scale per block of them.

The scales (`absmax`) may be codes themselves (double quantization). All that a decoder has to know is in the file, as
JSON in the bytes of `weight.quant_state.bitsandbytes__nf4`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.grouped_codes import is_float, readable
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.small_texts import json_of_bytes
from alpha_callbacks.weights.stored_tensor import StoredTensor

_TYPES = ("nf4", "fp4")
_STATE = ".quant_state.bitsandbytes__"
_ROLES = {
    "absmax": "scales",
    "quant_map": "levels",
    "nested_absmax": "scales of the scales",
    "nested_quant_map": "levels of the scales",
}
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}


class BitsAndBytes4bit:
    """The layout; see the module."""

    name = "bitsandbytes 4-bit"
    summary = Summary(
        decoded="NF4 and FP4, scales as numbers or quantized again, in any storage type",
        names="`weight` with `weight.absmax`, `weight.quant_map` and `weight.quant_state.bitsandbytes__nf4`",
        live="`Linear4bit` (QLoRA), before and after it has run",
        refused="a state that does not fit the shapes: `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the weights whose state is whole and agrees with the shapes."""
        for state in tensors.values():
            weight, found, kind = state.name.rpartition(_STATE)
            if not found or kind not in _TYPES or weight not in tensors:
                continue
            if any(f"{weight}{_STATE}{other}" in tensors for other in _TYPES if other != kind):
                continue  # two states, of which one is wrong
            parts = {role: tensors.get(f"{weight}.{part}") for part, role in _ROLES.items()}
            claim = Claim(tensors[weight], {"quantization state": state, **{r: t for r, t in parts.items() if t}})
            if _form(claim) is not None:
                yield claim

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return level times scale, computed in float32 and rounded to the type that the state names."""
        form = _form(claim)
        assert form is not None, f"{claim.codes.name} was not recognised"
        double = ", double quantization" if form.nested_block else ""
        return replace(
            claim.codes,
            shape=form.shape,
            dtype=form.dtype,
            stored_dtype=f"bitsandbytes {form.kind}, block {form.block}{double}",
            read=partial(_rows, claim, form),
            kind="linear",
        )


@dataclass(frozen=True)
class _Form:
    """What the state says, and the shapes confirm.

    Attributes:
        kind: "nf4" or "fp4".
        shape: of the matrix.
        dtype: that the library returns.
        block: weights that share a scale, counted along the flattened matrix.
        nested_block: scales that share a scale of their own; 0: they are numbers.
        offset: added to scales that are codes.
        per_item: bytes in an element of the codes; FSDP wants them stored in the type of the model.
    """

    kind: str
    shape: tuple[int, int]
    dtype: torch.dtype
    block: int
    nested_block: int
    offset: float
    per_item: int


def _form(claim: Claim) -> _Form | None:
    parts = claim.companions
    state, scales, levels = parts["quantization state"], parts.get("scales"), parts.get("levels")
    said = json_of_bytes(state)
    shape, block, dtype = said.get("shape"), _positive(said.get("blocksize")), _DTYPES.get(str(said.get("dtype")))
    kind = state.name.rpartition("__")[2]
    if scales is None or levels is None or dtype is None or not block or said.get("quant_type") != kind:
        return None
    if not (isinstance(shape, list) and len(shape) == 2 and all(map(_positive, shape))):
        return None
    count = math.prod(shape)
    blocks, per_item = -(-count // block), _item_size(claim.codes)
    if (
        not per_item
        or math.prod(claim.codes.shape) * per_item != -(-count // 2)
        or claim.codes.shape[1:] not in ((), (1,))
    ):
        return None
    if levels.shape != (16,) or not is_float(levels) or scales.shape != (blocks,) or not readable(claim.codes):
        return None
    nested_block, offset = _positive(said.get("nested_blocksize")), said.get("nested_offset")
    nested, nested_levels = parts.get("scales of the scales"), parts.get("levels of the scales")
    if nested is None and nested_levels is None:
        plain = is_float(scales) and "nested_blocksize" not in said
        return _Form(kind, (shape[0], shape[1]), dtype, block, 0, 0.0, per_item) if plain else None
    known = (
        nested is not None
        and nested_levels is not None
        and nested_block
        and scales.stored_dtype == "uint8"
        and readable(scales)
        and is_float(nested)
        and is_float(nested_levels)
        and nested.shape == (-(-blocks // nested_block),)
        and nested_levels.shape == (256,)
    )
    if not known or not isinstance(offset, float | int):
        return None
    return _Form(kind, (shape[0], shape[1]), dtype, block, nested_block, float(offset), per_item)


def _positive(value: object) -> int:
    """Return a positive integer as it is, 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def _item_size(codes: StoredTensor) -> int:
    if codes.dtype is not None:
        return codes.dtype.itemsize
    return 1 if codes.stored_dtype in ("uint8", "int8") else 0


def _rows(claim: Claim, form: _Form, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features)."""
    columns = form.shape[1]
    first, last = start * columns, stop * columns
    per_item = 2 * form.per_item  # codes in an element
    begin = first // per_item
    items = claim.codes.read(begin, max(begin, -(-last // per_item)))
    stream = items.contiguous().view(torch.uint8).flatten()
    codes = torch.stack((stream >> 4, stream & 15), dim=-1).flatten()[first - begin * per_item :][: last - first]
    levels = claim.companions["levels"].read(0, 16).float()
    scales, block = _scales(claim, form, first // form.block, -(-last // form.block)), form.block
    of_code = torch.arange(first, last, device=scales.device) // block - first // block
    values = levels.index_select(0, codes.int()).mul_(scales.index_select(0, of_code))
    return values.to(form.dtype).reshape(stop - start, columns)


def _scales(claim: Claim, form: _Form, start: int, stop: int) -> Tensor:
    """Return the scales of blocks start..stop, float32."""
    stored = claim.companions["scales"].read(start, stop)
    if not form.nested_block:
        return stored.float()
    first, last = start // form.nested_block, -(-stop // form.nested_block)
    factors = claim.companions["scales of the scales"].read(first, last).float()
    levels = claim.companions["levels of the scales"].read(0, 256).float()
    of_scale = torch.arange(start, stop, device=stored.device) // form.nested_block - first
    return levels.index_select(0, stored.int()).mul_(factors.index_select(0, of_scale)).add_(form.offset)
