"""The formats of other libraries as round trips fp32 -> fp32: what ours are held to, and timed against."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

RoundTrip = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Oracle:
    """One of our formats and another implementation of it.

    Attributes:
        name: our name of the format.
        library: the package to import.
        call: its round trip.
        differing: the largest share of the weights that may differ, all of them ties or by a last bit.
        why: they differ.
        any_scale: False where blocks far smaller than the largest weight differ by choice.
    """

    name: str
    library: str
    call: RoundTrip
    differing: float = 0.0
    why: str = ""
    any_scale: bool = True

    def __str__(self) -> str:
        return f"{self.name}-{self.library}"


def mismatches(ours: Tensor, theirs: Tensor) -> int:
    """Return how many numbers differ; -0 equals 0, nan equals nothing."""
    return int(torch.count_nonzero(ours != theirs))


def equally_near(w: Tensor, ours: Tensor, theirs: Tensor) -> Tensor:
    """Return where two answers are equally far from the weight, up to the last bits: ties, or sums in another order."""
    return ((ours - w).abs() - (theirs - w).abs()).abs() <= 2.0**-20 * torch.maximum(ours.abs(), theirs.abs())


def mixed(seed: int = 0) -> Tensor:
    """Return 262,144 weights of several scales, with a row of zeros, a tiny block, an outlier, rows of one sign."""
    w = torch.randn(512, 512, generator=torch.Generator().manual_seed(seed))
    w[100:200] *= 0.02
    w[200:300] *= 1e-5
    w[300:400] *= torch.logspace(-3, 3, 512)
    w[400:] = w[400:].bfloat16().float()
    w[7] = 0
    w[8, 64:192] *= 1e-30
    w[9, 3] = 1000
    w[10].abs_().neg_()
    w[11].abs_()
    return w


def stored(seed: int = 1) -> Tensor:
    """Return 262,144 weights as checkpoints hold them: numbers of bf16, of std 0.02, so that ties are many."""
    return (0.02 * torch.randn(512, 512, generator=torch.Generator().manual_seed(seed))).bfloat16().float()


SAMPLES = {"mixed": mixed, "stored": stored}


def direct_cast(w: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast within the range of the dtype and back."""
    largest = torch.finfo(dtype).max
    return w.clamp(-largest, largest).to(dtype).float()


def scaled_cast(w: Tensor, dtype: torch.dtype) -> Tensor:
    """Cast each row under absmax / largest, as torchao scales its weight-only float8."""
    from torchao.quantization.quant_primitives import (
        _choose_scale_float8,
        _dequantize_affine_float8,
        _quantize_affine_float8,
    )

    scale = _choose_scale_float8(w, [1, w.shape[1]], dtype, hp_value_lb=1e-30)
    out: Tensor = _dequantize_affine_float8(_quantize_affine_float8(w, scale, dtype), scale)
    return out


def compressed_tensors(w: Tensor, **arguments: Any) -> Tensor:
    """Pass weights through `calculate_qparams` and `fake_quantize`; scales stay fp32 unless the format has others."""
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    args = QuantizationArgs(**arguments)
    whole = None
    if args.strategy == "tensor":
        low, high = w.amin(), w.amax()
    elif args.strategy == "channel":
        low, high = w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    elif args.strategy == "block":
        down, right = args.block_structure
        tiles = w.unflatten(1, (-1, right)).unflatten(0, (-1, down))
        low, high = tiles.amin((1, 3)), tiles.amax((1, 3))
    else:
        groups = w.unflatten(1, (-1, args.group_size))
        low, high = groups.amin(-1), groups.amax(-1)
        if args.strategy == "tensor_group":
            whole = generate_gparam(w.amin(), w.amax())
    scale, zero = calculate_qparams(low, high, args, global_scale=whole)
    out: Tensor = fake_quantize(w, scale, None if args.symmetric else zero, args, global_scale=whole)
    return out


def torchao_mx(w: Tensor, element: Any, rule: str) -> Tensor:
    """Pass weights through an MXTensor."""
    from torchao.prototype.mx_formats.config import ScaleCalculationMode
    from torchao.prototype.mx_formats.mx_tensor import MXTensor

    mode = ScaleCalculationMode[rule.upper()]
    out: Tensor = MXTensor.to_mx(w, element, 32, scaling_mode=mode).dequantize(torch.float32)
    return out


def torchao_nvfp4(w: Tensor) -> Tensor:
    """Pass weights through an NVFP4Tensor with two levels of scales."""
    from torchao.prototype.mx_formats.nvfp4_tensor import NVFP4Tensor, per_tensor_amax_to_scale

    scale = per_tensor_amax_to_scale(w.abs().max())
    out: Tensor = NVFP4Tensor.to_nvfp4(w, per_tensor_scale=scale).dequantize(torch.float32)
    return out


def torchao_integer(w: Tensor, bits: int, size: int | None) -> Tensor:
    """Pass weights through symmetric affine integers in groups of `size`, None: whole rows."""
    from torchao.quantization.quant_primitives import (
        MappingType,
        choose_qparams_affine,
        dequantize_affine,
        quantize_affine,
    )

    block, low, high = (1, size or w.shape[1]), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale, zero = choose_qparams_affine(w, MappingType.SYMMETRIC, block, torch.int8, low, high, eps=1e-38)
    codes = quantize_affine(w, block, scale, zero, torch.int8, low, high)
    out: Tensor = dequantize_affine(codes, block, scale, zero, torch.int8, low, high, output_dtype=torch.float32)
    return out


def bitsandbytes_nf4(w: Tensor, size: int) -> Tensor:
    """Pass weights through NF4 in flat blocks."""
    from bitsandbytes.functional import dequantize_nf4, quantize_nf4

    out: Tensor = dequantize_nf4(*quantize_nf4(w, blocksize=size))
    return out


def gguf_kind(w: Tensor, kind: str) -> Tensor:
    """Pass weights through a block format of llama.cpp."""
    import gguf

    qtype = gguf.GGMLQuantizationType[kind]
    return torch.from_numpy(gguf.dequantize(gguf.quantize(w.numpy(), qtype), qtype))


_MX_ELEMENTS = {
    "mxfp8_e4m3": torch.float8_e4m3fn,
    "mxfp8_e5m2": torch.float8_e5m2,
    "mxfp6_e2m3": "fp6_e2m3",
    "mxfp6_e3m2": "fp6_e3m2",
    "mxfp4": torch.float4_e2m1fn_x2,
}


def _ct(name: str, **arguments: Any) -> Oracle:
    return Oracle(name, "compressed_tensors", partial(compressed_tensors, **arguments))


def _ct_mx(name: str, bits: int) -> Oracle:
    kinds = {"scale_dtype": torch.uint8, "zp_dtype": torch.uint8}
    return _ct(name, num_bits=bits, type="float", strategy="group", group_size=32, **kinds)


_E4M3 = {"num_bits": 8, "type": "float"}
_CT_NVFP4 = partial(
    compressed_tensors, num_bits=4, type="float", strategy="tensor_group", group_size=16,
    scale_dtype=torch.float8_e4m3fn, zp_dtype=torch.float8_e4m3fn,
)  # fmt: skip
_HALF = "an absmax lies half way between two codes, and x * (1 / scale) falls to the other side of it than x / scale"

ORACLES = (
    Oracle("fp8_e4m3_none", "torch", partial(direct_cast, dtype=torch.float8_e4m3fn)),
    Oracle("fp8_e5m2_none", "torch", partial(direct_cast, dtype=torch.float8_e5m2)),
    _ct("fp8_e4m3", **_E4M3, strategy="channel"),
    _ct("fp8_e4m3_tensor", **_E4M3, strategy="tensor"),
    _ct("fp8_e4m3_block128", **_E4M3, strategy="block", block_structure=[128, 128]),
    Oracle("fp8_e4m3", "torchao", partial(scaled_cast, dtype=torch.float8_e4m3fn)),
    Oracle("fp8_e5m2", "torchao", partial(scaled_cast, dtype=torch.float8_e5m2)),
    _ct("int8", num_bits=8, strategy="channel"),
    _ct("int8_tensor", num_bits=8, strategy="tensor"),
    _ct("int8_g32", num_bits=8, strategy="group", group_size=32),
    _ct("int6_g32", num_bits=6, strategy="group", group_size=32),
    _ct("int4_g32", num_bits=4, strategy="group", group_size=32),
    _ct("int4_g128", num_bits=4, strategy="group", group_size=128),
    _ct("int4_channel", num_bits=4, strategy="channel"),
    _ct("int3_g32", num_bits=3, strategy="group", group_size=32),
    _ct("int2_g32", num_bits=2, strategy="group", group_size=32),
    _ct("int4_g32_asym", num_bits=4, strategy="group", group_size=32, symmetric=False),
    _ct("int4_g128_asym", num_bits=4, strategy="group", group_size=128, symmetric=False),
    _ct("int8_asym", num_bits=8, strategy="channel", symmetric=False),
    Oracle("int8", "torchao", partial(torchao_integer, bits=8, size=None), 0.003, _HALF),
    Oracle("int4_g32", "torchao", partial(torchao_integer, bits=4, size=32), 0.005, _HALF),
    *(
        Oracle(f"{name}_{rule}", "torchao", partial(torchao_mx, element=element, rule=rule))
        for name, element in _MX_ELEMENTS.items()
        for rule in ("floor", "even", "rceil")
    ),
    _ct_mx("mxfp4", 4),
    _ct_mx("mxfp6_e2m3", 6),
    _ct_mx("mxfp8_e4m3", 8),
    Oracle("mxfp4_floor", "gguf", partial(gguf_kind, kind="MXFP4"), 0.005, "it rounds ties towards zero"),
    Oracle("nvfp4", "torchao", torchao_nvfp4),
    Oracle("nvfp4", "compressed_tensors", _CT_NVFP4, 0.35, "it keeps 1 / (scale of the tensor)", any_scale=False),
    Oracle("nf4_b32", "bitsandbytes", partial(bitsandbytes_nf4, size=32)),
    Oracle("nf4", "bitsandbytes", partial(bitsandbytes_nf4, size=64)),
    Oracle("nf4_b128", "bitsandbytes", partial(bitsandbytes_nf4, size=128)),
)  # fmt: skip
