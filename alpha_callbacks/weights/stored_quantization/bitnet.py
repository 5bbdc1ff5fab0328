"""BitNet: four ternary codes in a byte of `weight`, each of another quarter of the rows, and one `weight_scale`."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.grouped_codes import is_float, readable
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.row_packing import read_packed_rows
from alpha_callbacks.weights.stored_tensor import StoredTensor

_BITS, _PER_BYTE = 2, 4


class BitNet:
    """The layout; see the module."""

    name = "bitnet"
    summary = Summary(
        decoded="ternary codes times one scale",
        names="`weight` in uint8 with `weight_scale`, and a config",
        live="transformers' `BitLinear`",
        refused="without a config: `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the bytes that have one scale beside them, in a model whose config says BitNet."""
        if about.method != "bitnet" or about.quantization.get("linear_class") not in (
            None,
            "bitlinear",
            "autobitlinear",
        ):
            return
        for tensor in tensors.values():
            scale = tensors.get(f"{tensor.name}_scale")
            codes = tensor.name.endswith(".weight") and tensor.stored_dtype == "uint8" and len(tensor.shape) == 2
            if codes and readable(tensor) and scale is not None and is_float(scale) and scale.shape in ((), (1,)):
                yield Claim(tensor, {"scales": scale})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return (code - 1) times the scale, or divided by it where the class of the layers is `bitlinear`.

        Source: transformers, integrations/bitnet.py.
        """
        rows, columns = claim.codes.shape
        divides = about.quantization.get("linear_class") != "autobitlinear"
        return replace(
            claim.codes,
            shape=(rows * _PER_BYTE, columns),
            dtype=torch.float32,
            stored_dtype="BitNet ternary, tensor",
            read=partial(_rows, claim, divides),
        )


def _rows(claim: Claim, divides: bool, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features), float32."""
    scale = claim.companions["scales"].read(0, 1).float().reshape(())
    values = read_packed_rows(claim.codes, _BITS, start, stop).float().sub_(1)
    return values.div_(scale) if divides else values.mul_(scale)
