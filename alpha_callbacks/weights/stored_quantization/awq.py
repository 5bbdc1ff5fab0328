"""AWQ, version gemm: `qweight` holds 4-bit codes in int32 words along the outputs, eight in an order of its own."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.grouped_codes import (
    dequantize,
    group_of_columns,
    group_words,
    is_float,
    readable,
)
from alpha_callbacks.weights.stored_quantization.integer_packing import integer_packing
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.unpack_bits import unpack_bits
from alpha_callbacks.weights.stored_tensor import StoredTensor, read_columns

_BITS, _PER_WORD = 4, 8
# A word holds the codes of columns 0 2 4 6 1 3 5 7, lowest bits first: where each column is found in it.
_PLACE_OF_COLUMN = (0, 4, 1, 5, 2, 6, 3, 7)


class Awq:
    """The layout; see the module."""

    name = "awq"
    summary = Summary(
        decoded="4 bits, version gemm; also AutoRound's `auto_awq`",
        names="`qweight`, `qzeros`, `scales`, and a config",
        live="modules with buffers of these names, before a kernel repacks them",
        refused="versions gemv and llm-awq, or without a config: `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the modules whose config says AWQ and whose shapes are those of the gemm version."""
        if integer_packing(about) != "awq":
            return
        for tensor in tensors.values():
            module, _, last = tensor.name.rpartition(".")
            zeros, scales = tensors.get(f"{module}.qzeros"), tensors.get(f"{module}.scales")
            if last == "qweight" and zeros is not None and scales is not None and _fits(tensor, zeros, scales):
                yield Claim(tensor, {"zero points": zeros, "scales": scales})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return (code - zero point) * scale in float32: how AWQ defines the weight, before kernels round it."""
        scales = claim.companions["scales"]
        in_features, out_features = claim.codes.shape[0], scales.shape[1]
        group_size = in_features // scales.shape[0]
        return replace(
            claim.codes,
            name=claim.codes.name.removesuffix("qweight") + "weight",
            shape=(out_features, in_features),
            dtype=torch.float32,
            stored_dtype=f"AWQ {_BITS}-bit, {group_words(group_size, in_features)}",
            read=partial(_rows, claim, group_size),
            kind="linear",
        )


def _fits(codes: StoredTensor, zeros: StoredTensor, scales: StoredTensor) -> bool:
    if not (len(codes.shape) == len(zeros.shape) == len(scales.shape) == 2):
        return False
    if codes.stored_dtype != "int32" or zeros.stored_dtype != "int32" or not is_float(scales):
        return False
    (in_features, words), (groups, out_features) = codes.shape, scales.shape
    whole = groups > 0 and in_features % groups == 0 and words * _PER_WORD == out_features
    return readable(codes) and readable(zeros) and whole and zeros.shape == (groups, words)


def _rows(claim: Claim, group_size: int, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features), float32."""
    zeros, scales = claim.companions["zero points"], claim.companions["scales"]
    codes = _columns(claim.codes, start, stop).T
    groups = group_of_columns(claim.codes.shape[0], group_size)
    return dequantize(codes, read_columns(scales, start, stop).T, _columns(zeros, start, stop).T, groups)


def _columns(packed: StoredTensor, start: int, stop: int) -> Tensor:
    """Return the codes of outputs start..stop, one column each."""
    first, last = start // _PER_WORD, -(-stop // _PER_WORD)
    words = read_columns(packed, first, last)
    codes = unpack_bits(words, _BITS, _PER_WORD * (last - first)).unflatten(1, (-1, _PER_WORD))
    ordered: Tensor = codes[..., list(_PLACE_OF_COLUMN)].flatten(1)
    return ordered[:, start - first * _PER_WORD : stop - first * _PER_WORD]
