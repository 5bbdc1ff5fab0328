"""FP8 matrices: `weight` in float8_e4m3fn times `weight_scale_inv` per block, or `weight_scale` per row or tensor."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.companions import by_module, companions_of, in_few_bits
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_tensor import StoredTensor

# `quant_method` of config.json -> names of the scales whose product with the codes is the weight.
_SCALES = {
    "fp8": ("weight_scale_inv", "weight_scale"),  # DeepSeek, transformers
    "compressed-tensors": ("weight_scale",),
    "fbgemm_fp8": ("weight_scale",),
}
_CODES = torch.float8_e4m3fn


class Fp8:
    """The layout; see the module."""

    name = "fp8"
    summary = Summary(
        decoded="float8_e4m3fn times a scale per block, row or tensor",
        names="`weight` with `weight_scale_inv` or `weight_scale`",
        live="modules with parameters of these names, as transformers' `FP8Linear`",
        refused="other companions or shapes: `unsupported`, naming the companion",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the matrices whose only companion is a scale of a shape that is understood."""
        quantization = about.quantization
        known, modules = _SCALES.get(str(quantization.get("quant_method")), ()), by_module(tensors.values())
        for tensor in tensors.values():
            if not (tensor.name.endswith(".weight") and tensor.dtype is _CODES and len(tensor.shape) == 2):
                continue
            companions = companions_of(tensor, modules)
            if len(companions) != 1 or companions[0].rpartition(".")[2] not in known:
                continue
            scale = tensors[companions[0]]
            if _readable(tensor) and _readable(scale) and _block(tensor, scale, quantization) is not None:
                yield Claim(tensor, {"scales": scale})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return codes times scale, both in float32, as transformers and compressed-tensors compute it."""
        codes, scale = claim.codes, claim.companions["scales"]
        block = _block(codes, scale, about.quantization)
        assert block is not None, f"{codes.name} was not recognised"
        return replace(
            codes,
            dtype=torch.float32,
            stored_dtype=f"{codes.stored_dtype} (scale per {block.words})",
            read=partial(_rows, codes, scale, block),
        )


@dataclass(frozen=True)
class _Block:
    """Weights that share a scale.

    Attributes:
        rows: rows of a block.
        columns: columns of a block.
        words: what it is, for a reader.
    """

    rows: int
    columns: int
    words: str


def _readable(tensor: StoredTensor) -> bool:
    return tensor.sharded is None and not tensor.packed


def _block(codes: StoredTensor, scale: StoredTensor, quantization: Mapping[str, Any]) -> _Block | None:
    """Return which weights share a scale, or None if type or shape of the scale are not understood."""
    out_features, in_features = codes.shape
    if scale.dtype is None or in_few_bits(scale):
        return None
    if not scale.name.endswith(".weight_scale_inv"):
        if math.prod(scale.shape) == 1:
            return _Block(out_features, in_features, "tensor")
        return _Block(1, in_features, "row") if scale.shape in ((out_features,), (out_features, 1)) else None
    sizes = quantization.get("weight_block_size")
    if not (isinstance(sizes, list | tuple) and len(sizes) == 2 and all(type(n) is int and n > 0 for n in sizes)):
        return None
    rows, columns = sizes
    expected = (math.ceil(out_features / rows), math.ceil(in_features / columns))
    return _Block(rows, columns, f"{rows}x{columns} block") if scale.shape == expected else None


def _rows(codes: StoredTensor, scale: StoredTensor, block: _Block, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features), float32."""
    first = start // block.rows
    last = max(first + 1, math.ceil(stop / block.rows))
    scales = scale.read(first, last).float().reshape(last - first, -1)
    values = codes.read(start, stop).float()
    of_row = torch.arange(start, stop, device=scales.device) // block.rows - first
    return values.mul_(scales[of_row].repeat_interleave(block.columns, dim=1)[:, : values.shape[1]])
