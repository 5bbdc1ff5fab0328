"""bitsandbytes LLM.int8: `weight` in int8 and `SCB`, the largest magnitude of each row, which code 127 stands for."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.precisions.blocks import over
from alpha_callbacks.weights.stored_quantization.companions import by_module, companions_of
from alpha_callbacks.weights.stored_quantization.grouped_codes import is_float, readable
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.small_texts import single_number
from alpha_callbacks.weights.stored_tensor import StoredTensor

_LARGEST = 127
_BY_ROW = 0  # the one `weight_format` that is still written; the others are tiled for certain GPUs


class BitsAndBytesInt8:
    """The layout; see the module."""

    name = "bitsandbytes int8"
    summary = Summary(
        decoded="int8 with a magnitude per row",
        names="`weight` in int8 with `SCB`",
        live="`Linear8bitLt`, before and after it has run",
        refused="tiled storage (`weight_format` other than 0): `unsupported`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the int8 matrices with a magnitude per row beside them, stored row by row."""
        modules = by_module(tensors.values())
        for scale in tensors.values():
            module, _, last = scale.name.rpartition(".")
            codes, form = (
                tensors.get(f"{module}.weight".lstrip(".")),
                tensors.get(f"{module}.weight_format".lstrip(".")),
            )
            if last != "SCB" or codes is None or codes.stored_dtype != "int8" or len(codes.shape) != 2:
                continue
            if any(name not in (scale.name, f"{codes.name}_format") for name in companions_of(codes, modules)):
                continue  # another scale, which may have to be applied too
            by_row = form is None or single_number(form) == _BY_ROW
            if by_row and is_float(scale) and scale.shape == codes.shape[:1] and readable(codes):
                yield Claim(codes, {"scales": scale, **({"storage format": form} if form is not None else {})})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return code * magnitude / 127 in float32."""
        return replace(
            claim.codes,
            dtype=torch.float32,
            stored_dtype="bitsandbytes int8, row",
            read=partial(_rows, claim),
            kind="linear",
        )


def _rows(claim: Claim, start: int, stop: int) -> Tensor:
    """Return decoded rows start..stop, shape (stop - start, in_features), float32."""
    magnitudes = claim.companions["scales"].read(start, stop).float()
    return over(claim.codes.read(start, stop).float().mul_(magnitudes[:, None]), _LARGEST)
