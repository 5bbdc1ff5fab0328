"""Matrices in FP4 (E2M1), two codes in a byte: MXFP4 with power-of-two scales, NVFP4 with two levels of scales."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from alpha_callbacks.weights.stored_quantization.companions import by_module, companions_of
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.scaled import (
    EXPONENTS,
    REAL,
    Blocks,
    Scaled,
    as_numbers,
    decoded,
    decoded_stack,
    expert,
)
from alpha_callbacks.weights.stored_quantization.unpack_bits import unpack_fp4
from alpha_callbacks.weights.stored_tensor import StoredTensor

_PAIRS = {"uint8", "int8", "float4_e2m1fn_x2"}
_MX_GROUP, _NV_GROUP = 32, 16


class Mxfp4:
    """MXFP4: see the module; one scale per 32 weights, after OCP Microscaling Formats (MX) 1.0."""

    name = "MXFP4"
    summary = Summary(
        decoded="pairs of E2M1 times a power of two per 32 weights of a row, single matrices and stacks",
        names="`…_blocks` with `…_scales` (gpt-oss), int8 `weight` with E8M0 `scale` (DeepSeek-V4), "
        "uint8 `weight` with uint8 `weight_scale` (Quark), `gate_up_proj` with `gate_up_proj_scale_inv`",
        live="parameters of these names; not transformers' `Mxfp4GptOssExperts`, whose order belongs to a GPU kernel",
        refused="groups of another size (128 is read where `expert_dtype` is fp4): “uint8 codes with … beside them”",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield codes whose only companion is a scale per group."""
        if about.method not in {"", "mxfp4", "fp8", "quark", "modelopt"}:
            return
        modules = by_module(tensors.values())
        for tensor in tensors.values():
            if tensor.stored_dtype not in _PAIRS or not tensor.readable:
                continue
            if tensor.name.endswith(("_blocks", ".blocks")):
                scale = tensors.get(f"{tensor.name.removesuffix('blocks')}scales")
                fits = scale is not None and scale.shape == tensor.shape[:-1] and tensor.shape[-1] == _MX_GROUP // 2
                if scale is not None and fits and len(tensor.shape) in (3, 4) and scale.stored_dtype in EXPONENTS:
                    yield Claim(tensor, {"scales": scale})
                continue
            beside = companions_of(tensor, modules)
            endings = ("scale", "weight_scale", "weight_scale_inv", "scale_inv")
            if len(beside) == 1 and beside[0].endswith(endings) and len(tensor.shape) in (2, 3):
                scale = tensors[beside[0]]
                if scale.readable and _is_mx(tensor, scale, about):
                    yield Claim(tensor, {"scales": scale})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return codes times powers of two in float32, which is exact."""
        codes, scale = claim.codes, claim.companions["scales"]
        name = codes.name
        if name.endswith(("_blocks", ".blocks")):  # (out, in), unlike the same stacks in 16 bits
            name, codes = (
                name[: -len("_blocks")],
                replace(_flat(codes), kind="stack" if len(codes.shape) == 4 else codes.kind),
            )
        size = 2 * codes.shape[-1] // scale.shape[-1]
        return _decoded(codes, scale, size, _powers, name, f"mxfp4 (scale per group of {size})")


class Nvfp4:
    """NVFP4 of ModelOpt: one E4M3 scale per 16 weights, and one scale of those scales per matrix."""

    name = "NVFP4"
    summary = Summary(
        decoded="pairs of E2M1 times an E4M3 scale per 16 weights and a scale per matrix; stacks in both orientations",
        names="uint8 `weight` with `weight_scale` and `weight_scale_2`; experts with `…_weight_scale` and "
        "`…_weight_scale_2`",
        live="parameters of these names; not transformers' `NVFP4Linear`, whose order belongs to a GPU kernel",
        refused="a kernel's order (ComfyUI: no config.json), `pre_quant_scale`: “uint8 codes with … beside them”",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield codes whose companions are the two scales and no more."""
        if about.method and not about.method.startswith("modelopt") or not about.config:
            return  # bare files are ComfyUI's, which stores both the pairs and the scales in a kernel's order
        modules = by_module(tensors.values())
        for tensor in tensors.values():
            if tensor.stored_dtype != "uint8" or len(tensor.shape) not in (2, 3) or not tensor.readable:
                continue
            own = tensor.name.removesuffix("weight")
            beside = {name.removeprefix(own).removeprefix("_"): name for name in companions_of(tensor, modules)}
            if beside.keys() != {"weight_scale", "weight_scale_2"}:
                continue
            scale, second = tensors[beside["weight_scale"]], tensors[beside["weight_scale_2"]]
            known = scale.stored_dtype == "float8_e4m3fn" and second.stored_dtype in REAL
            one = second.numel in ({1, tensor.shape[0]} if len(tensor.shape) == 3 else {1})
            if known and one and scale.readable and second.readable and _turned(tensor, scale, _NV_GROUP) is not None:
                yield Claim(tensor, {"scales": scale, "scale of the scales": second})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return codes times the product of both scales in float32, as ModelOpt computes it."""
        scale, second = claim.companions["scales"], claim.companions["scale of the scales"]

        def numbers(index: int, stored: Tensor) -> Tensor:
            whole = second.read(0, second.shape[0] if second.shape else 1).float().flatten()
            return stored.float() * whole[index if second.numel > 1 else 0]

        label = f"nvfp4 (scale per group of {_NV_GROUP} and tensor)"
        return _decoded(claim.codes, scale, _NV_GROUP, numbers, claim.codes.name, label)


def _is_mx(codes: StoredTensor, scale: StoredTensor, about: Description) -> bool:
    """Return True if the codes are pairs of FP4 with a scale per group along the rows.

    int8 codes with one scale per 16 bytes are never numbers of 8 bits: those share a scale among 32 at least.
    """
    if codes.stored_dtype == "uint8" and not about.config:
        return False  # see Nvfp4.recognise
    fp4 = about.config.get("expert_dtype") == "fp4"  # DeepSeek-V4
    kinds = EXPONENTS | REAL if fp4 else EXPONENTS
    sizes = (_MX_GROUP, 128) if fp4 else (_MX_GROUP,)
    return scale.stored_dtype in kinds and any(_turned(codes, scale, size) is False for size in sizes)


def _turned(codes: StoredTensor, scale: StoredTensor, size: int) -> bool | None:
    """Return whether the groups run down the columns, which then is the side of in_features; None if neither fits."""
    *stack, rows, columns = codes.shape
    if scale.shape == (*stack, rows, 2 * columns // size) and 2 * columns % size == 0:
        return False
    return True if stack and scale.shape == (*stack, 2 * rows // size, columns) and 2 * rows % size == 0 else None


def _flat(codes: StoredTensor) -> StoredTensor:
    """Return blocks of shape (..., groups, 16) as rows of bytes."""

    def read(start: int, stop: int) -> Tensor:
        return codes.read(start, stop).flatten(-2)

    return replace(codes, shape=(*codes.shape[:-2], codes.shape[-2] * codes.shape[-1]), read=read)


def _decoded(
    codes: StoredTensor,
    scale: StoredTensor,
    size: int,
    numbers: Callable[[int, Tensor], Tensor],
    name: str,
    label: str,
) -> StoredTensor:
    """Return the matrix, or the stack of matrices as (experts, out_features, in_features) whichever way it is stored.

    Args:
        codes: pairs of FP4, 2-D or 3-D.
        scale: one per group.
        size: weights of a group.
        numbers: number of the expert and its scales as stored -> what its codes are multiplied by.
        name: of the matrix.
        label: the layout in words.
    """
    if len(codes.shape) == 2:
        blocks = Blocks(1, size, "group")
        matrix = Scaled(codes, 2 * codes.shape[1], unpack_fp4, scale, blocks, partial(numbers, 0))
        return decoded(codes, matrix, name=name, stored_dtype=label)
    turned = bool(_turned(codes, scale, size))
    rows, columns = codes.shape[:0:-1] if turned else codes.shape[1:]

    def of_expert(index: int) -> Scaled:
        return Scaled(
            expert(codes, index, transposed=turned),
            2 * columns,
            unpack_fp4,
            expert(scale, index, transposed=turned),
            Blocks(1, size, "group"),
            partial(numbers, index),
        )

    return decoded_stack(codes, of_expert, (rows, 2 * columns), name=name, stored_dtype=label)


def _powers(_: int, stored: Tensor) -> Tensor:
    return as_numbers(stored)
