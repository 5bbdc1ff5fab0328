"""MLX: `weight` holds codes in uint32 words along the inputs, `scales` and `biases` belong to groups of inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.weights.families import text_config
from alpha_callbacks.weights.stored_quantization.grouped_codes import (
    dequantize,
    group_of_columns,
    group_words,
    is_float,
    readable,
)
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.unpack_bits import power_of_two, unpack_bits, unpack_fp4
from alpha_callbacks.weights.stored_tensor import StoredTensor

_BITS = (2, 3, 4, 5, 6, 8)
_FLOAT_MODES = {"mxfp4": (4, 32), "mxfp8": (8, 32), "nvfp4": (4, 16)}  # bits and group size, fixed by the format
_OFFSETS = ("biases", "qbiases")  # of MLX itself, of transformers' MetalConfig
_WORD = 32


class Mlx:
    """The layout; see the module."""

    name = "mlx"
    summary = Summary(
        decoded="affine codes of 2, 3, 4, 5, 6 and 8 bits, mxfp4, mxfp8, nvfp4; stacked experts; transformers' Metal",
        names="`weight` in uint32, `scales`, `biases` or `qbiases`, and a config",
        live="-",
        refused="shapes that the config does not explain: no row, and a reason in `coverage.csv`",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the modules whose shapes are those that bits and group size of the config give."""
        if not _settings(about):
            return
        for tensor in tensors.values():
            module, _, last = tensor.name.rpartition(".")
            scales = tensors.get(f"{module}.scales")
            if last != "weight" or tensor.stored_dtype != "uint32" or scales is None:
                continue
            offsets = next((tensors[n] for n in (f"{module}.{part}" for part in _OFFSETS) if n in tensors), None)
            claim = Claim(tensor, {"scales": scales, **({"offsets": offsets} if offsets is not None else {})})
            if _form(claim, about) is not None:
                yield claim

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return code * scale + offset, or float code * scale, in float32."""
        form = _form(claim, about)
        assert form is not None, f"{claim.codes.name} was not recognised"
        size = group_words(form.group_size, form.in_features)
        return replace(
            claim.codes,
            shape=(*claim.codes.shape[:-1], form.in_features),
            dtype=torch.float32,
            stored_dtype=f"MLX {f'{form.bits}-bit' if form.mode == 'affine' else form.mode}, {size}",
            read=partial(_read, claim, form),
        )


@dataclass(frozen=True)
class _Form:
    """What the config says of one module, and the shapes confirm.

    Attributes:
        mode: "affine", or a float format.
        bits: of a code.
        group_size: columns that share a scale.
        in_features: columns.
    """

    mode: str
    bits: int
    group_size: int
    in_features: int


def _settings(about: Description) -> Mapping[str, Any]:
    """Return the quantization of an MLX model or of transformers' Metal quantizer, or an empty mapping."""
    for part in (about.config, text_config(about.config)):
        found = part.get("quantization")
        if isinstance(found, Mapping) and "bits" in found:
            return found
    return about.quantization if about.method in ("", "metal", "mlx") and "bits" in about.quantization else {}


def _form(claim: Claim, about: Description) -> _Form | None:
    settings = _settings(about)
    module = claim.codes.name.removesuffix(".weight")
    own = settings.get(module)
    if own is False:
        return None  # not quantized, by its own words
    asked = {**settings, **(own if isinstance(own, Mapping) else {})}
    mode = str(asked.get("mode") or "affine")
    bits, group_size = _FLOAT_MODES.get(mode, (asked.get("bits"), asked.get("group_size")))
    if type(bits) is not int or type(group_size) is not int or bits not in _BITS or group_size < 1:
        return None
    *outer, words = claim.codes.shape
    in_features = words * _WORD // bits
    scales, offsets = claim.companions["scales"], claim.companions.get("offsets")
    grouped = (*outer, in_features // group_size)
    whole = words * _WORD % bits == 0 and in_features % group_size == 0
    if len(outer) not in (1, 2) or not whole or scales.shape != grouped or not readable(claim.codes):
        return None
    if mode == "affine":
        known = offsets is not None and is_float(offsets) and is_float(scales) and offsets.shape == grouped
    else:
        known = mode in _FLOAT_MODES and offsets is None and scales.stored_dtype == "uint8" and readable(scales)
    return _Form(mode, bits, group_size, in_features) if known else None


def _read(claim: Claim, form: _Form, start: int, stop: int) -> Tensor:
    """Return decoded rows (or experts) start..stop, shape (stop - start, ..., in_features), float32."""
    words, scales = claim.codes.read(start, stop), claim.companions["scales"].read(start, stop)
    groups = group_of_columns(form.in_features, form.group_size)
    if form.mode == "affine":
        values = dequantize(unpack_bits(words, form.bits, form.in_features), scales, None, groups)
        offsets = claim.companions["offsets"].read(start, stop).float()
        return values.add_(offsets.index_select(-1, groups.to(offsets.device)))
    if form.bits == 4:
        values = unpack_fp4(words.contiguous().view(torch.uint8))
    else:
        values = words.contiguous().view(torch.float8_e4m3fn).float()
    factors = scales.view(torch.float8_e4m3fn).float() if form.mode == "nvfp4" else power_of_two(scales)
    return dequantize(values, factors, None, groups)
