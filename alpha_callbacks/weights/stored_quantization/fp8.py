"""Matrices in FP8 or INT8 times a scale per block, row or tensor, under the names that each library gives the scale."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from alpha_callbacks.weights.stored_quantization.companions import by_module, companions_of
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.scaled import (
    EXPONENTS,
    REAL,
    Blocks,
    Scaled,
    blocks_of,
    decoded,
    decoded_stack,
    expert,
    grid,
)
from alpha_callbacks.weights.stored_quantization.small_texts import json_of_bytes
from alpha_callbacks.weights.stored_tensor import StoredTensor

_FP8 = {"float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz"}
# Every one of these scales is what the codes are multiplied by, those called "inv" too (the inverse of what quantized).
_SCALES = {
    "weight_scale_inv",  # DeepSeek-V3, transformers' FP8Linear
    "weight_scale",  # fbgemm, ModelOpt, Quark, ComfyUI since 2025; compressed-tensors has a layout of its own
    "scale",  # DeepSeek-V4
    "qscale_weight",  # Mistral's consolidated files
    "scale_weight",  # ComfyUI's fp8_scaled files
}
# The same for a stack of experts, appended to its name.
_SCALES_OF_STACK = {"_scale_inv", "_weight_scale_inv", "_scale", "_weight_scale"}
# Values of `quant_method` that use these tensors as described here.
_METHODS = {"", "fp8", "fbgemm_fp8", "modelopt", "quark", "compressed-tensors", "w8a8_fp8"}
_INT8_METHODS = {"", "modelopt", "quark", "w8a8_int8", "blockwise_int8"}  # codes of int8 are FP4 pairs to "fp8"


class Fp8:
    """The layout; see the module."""

    name = "FP8, INT8"
    summary = Summary(
        decoded="float8 e4m3, e5m2 (fn and fnuz) or int8 times a scale per block, row, group or tensor; stacks too",
        names="`weight` with `weight_scale_inv`, `weight_scale`, `scale`, `qscale_weight` or `scale_weight`; "
        "experts in three dimensions with `…_scale_inv`, `…_weight_scale_inv`, `…_weight_scale` or `…_scale`",
        live="parameters of these names, as in transformers' `FP8Linear` and `FP8Experts`",
        refused="block sizes that shapes leave open or `weight_block_size` contradicts, further companions, another "
        "`quant_method`: “float8_e4m3fn codes with … beside them”",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield the matrices and stacks whose companions are a scale of a shape that is understood, and no more."""
        modules = by_module(tensors.values())
        for tensor in tensors.values():
            methods = _FP8_OR_INT8.get(tensor.stored_dtype, frozenset())
            if about.method not in methods or len(tensor.shape) not in (2, 3) or not tensor.readable:
                continue
            beside = {name.removeprefix(_prefix(tensor)): tensors[name] for name in companions_of(tensor, modules)}
            scales = [name for name in beside if name in (_SCALES if _is_weight(tensor) else _SCALES_OF_STACK)]
            others = [name for name in beside if name not in scales and not _says_fp8(beside[name])]
            if len(scales) == 1 and not others and self._understood(tensor, beside[scales[0]], about):
                said = {name.replace("_", " "): beside[name] for name in beside if name not in scales}
                yield Claim(tensor, {"scales": beside[scales[0]], **said})

    def _understood(self, codes: StoredTensor, scale: StoredTensor, about: Description) -> bool:
        if about.method == "compressed-tensors" and scale.name.endswith("weight_scale"):
            return False  # its layout knows the groups of the config
        if not scale.readable or scale.stored_dtype not in REAL | EXPONENTS:
            return False
        if codes.stored_dtype == "int8" and (scale.stored_dtype not in REAL or scale.name.endswith(".scale")):
            return False  # pairs of FP4
        found = _blocks(codes, scale, about)
        if found is None or _said_otherwise(codes, about):
            return False
        if scale.stored_dtype in EXPONENTS and (found.rows, found.columns) == (1, 32):
            return bool(about.config)  # MX; ComfyUI's bare files have these scales in a kernel's order
        return scale.stored_dtype != "uint8"

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return codes times scales, both in float32, as transformers computes it."""
        codes, scale = claim.codes, claim.companions["scales"]
        blocks = _blocks(codes, scale, about)
        assert blocks is not None, f"{codes.name} was not recognised"
        label = f"{codes.stored_dtype} (scale per {blocks.words})"
        if len(codes.shape) == 2:
            matrix = Scaled(codes, codes.shape[1], Tensor.float, scale, blocks)
            return decoded(codes, matrix, name=codes.name, stored_dtype=label)

        def of_expert(index: int) -> Scaled:
            scales = _scales_of_expert(codes, scale, index, about)
            return Scaled(expert(codes, index), codes.shape[2], Tensor.float, scales, blocks)

        shape = (codes.shape[1], codes.shape[2])
        return decoded_stack(codes, of_expert, shape, name=codes.name, stored_dtype=label)


_FP8_OR_INT8 = {**dict.fromkeys(_FP8, frozenset(_METHODS)), "int8": frozenset(_INT8_METHODS)}


def _is_weight(tensor: StoredTensor) -> bool:
    return tensor.name.rpartition(".")[2] == "weight"


def _prefix(tensor: StoredTensor) -> str:
    return tensor.name.removesuffix("weight") if _is_weight(tensor) else tensor.name


def _says_fp8(tensor: StoredTensor) -> bool:
    """Return True for ComfyUI's description of a layer, JSON in bytes, if it says only the type of the codes."""
    return tensor.name.rpartition(".")[2] == "comfy_quant" and _is_only_fp8(json_of_bytes(tensor))


def _said_otherwise(codes: StoredTensor, about: Description) -> bool:
    """Return True if the texts of a file of ComfyUI say more of a layer than the type of its codes."""
    try:
        said = json.loads(about.metadata.get("_quantization_metadata", "{}"))
        layers = said.get("layers", {}) if isinstance(said, dict) else {}
        layer = layers.get(codes.name.removesuffix(".weight"))
    except (ValueError, AttributeError, RecursionError):
        return True
    return layer is not None and not _is_only_fp8(layer)


def _is_only_fp8(said: object) -> bool:
    if not isinstance(said, dict) or not said.keys() <= {"format", "full_precision_matrix_mult"}:
        return False
    return str(said.get("format")).removesuffix("_rowwise") in _FP8


def _blocks(codes: StoredTensor, scale: StoredTensor, about: Description) -> Blocks | None:
    """Return which weights share a scale, or None if the shape of the scales is not understood."""
    by_block = scale.name.endswith(("scale_inv", ".scale"))  # others are per row or tensor beside blocks
    sizes = about.quantization.get("weight_block_size") if by_block else None
    *stack, rows, columns = codes.shape
    if not stack:
        return blocks_of(grid(scale), (rows, columns), sizes)
    if scale.numel == 1:
        return Blocks(rows, columns, "tensor")
    if scale.shape[0] != stack[0]:
        return None
    if _by_column(codes, scale, about):
        return Blocks(rows, 1, "row")
    shape = scale.shape[1:] or (1,)
    blocks = blocks_of(shape, (rows, columns), sizes)
    if "gate_up" not in codes.name or rows % 2 or shape[0] % 2:
        return blocks
    # Gate above up, each quantized by itself: a block that reached from one into the other would be misread.
    half = blocks_of((shape[0] // 2, *shape[1:]), (rows // 2, columns), sizes)
    if blocks is not None and (half is None or rows // 2 % blocks.rows == 0):
        return blocks
    return replace(half, rows=rows // 2) if blocks is None and half is not None and shape[0] == 2 else None


def _by_column(codes: StoredTensor, scale: StoredTensor, about: Description) -> bool:
    """Return True for a scale per column: fbgemm stores Llama 4's experts as (in, out), with a scale per output."""
    _, rows, columns = codes.shape
    shape = scale.shape[1:]
    turned = shape == (columns, 1) and (rows != columns or about.method == "fbgemm_fp8")
    return columns > 1 and (turned or shape == (1, columns))


def _scales_of_expert(codes: StoredTensor, scale: StoredTensor, index: int, about: Description) -> StoredTensor:
    if scale.numel == 1:
        return scale
    turned = _by_column(codes, scale, about) and scale.shape[1] != 1
    return expert(scale, index, transposed=turned)
