import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import noise
from tests.weights.stored_quantization.matrices import LAYER, of_file, only, reasons

ROWS, COLUMNS = 160, 96  # not multiples of 128: scales in tiles are padded


def _saved(folder: Path, tensor: Tensor) -> Any:
    """Return the matrix of a file as torchao writes it."""
    support = pytest.importorskip("torchao.prototype.safetensors.safetensors_support")
    tensors, metadata = support.flatten_tensor_state_dict(
        {f"{LAYER}.weight": tensor, f"{LAYER}.bias": torch.ones(ROWS)}
    )
    return of_file(folder, tensors, {}, metadata)


def _quantized(kind: str, dtype: torch.dtype) -> Tensor:
    """Return a tensor subclass of torchao."""
    quantization = pytest.importorskip("torchao.quantization")
    granularity = pytest.importorskip("torchao.quantization.granularity")
    intx = quantization.IntxWeightOnlyConfig
    configs = {
        "int8": quantization.Int8WeightOnlyConfig(),
        "float8": quantization.Float8WeightOnlyConfig(),
        "int4 groups": intx(weight_dtype=torch.int4, granularity=granularity.PerGroup(32)),
        "int3 rows": intx(weight_dtype=torch.int3, granularity=granularity.PerAxis(0)),
    }
    layer = nn.Linear(COLUMNS, ROWS, bias=False)
    layer.weight.data = noise(ROWS, COLUMNS).to(dtype)
    quantization.quantize_(layer, configs[kind])
    return layer.weight.data


@pytest.mark.parametrize("kind", ["int8", "float8", "int4 groups", "int3 rows"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_integers_and_float8(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    tensor = _quantized(kind, dtype)
    inventory = _saved(tmp_path, tensor)
    weight = only(inventory)
    assert weight.layer_name == LAYER and weight.dtype is dtype
    assert torch.equal(weight.rows(0, ROWS), tensor.dequantize())
    assert weight.stored_dtype.startswith(f"torchao {type(tensor).__name__} (")
    assert reasons(inventory)["_weight_scale"] == f"scales of {LAYER}"


@pytest.mark.parametrize("swizzled", [False, True])
@pytest.mark.parametrize("element", [torch.float8_e4m3fn, torch.float4_e2m1fn_x2])
def test_microscaling(tmp_path: Path, element: torch.dtype, swizzled: bool) -> None:
    mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
    tensor = mx.MXTensor.to_mx(noise(ROWS, COLUMNS).bfloat16(), element, 32, is_swizzled_scales=swizzled)
    assert torch.equal(only(_saved(tmp_path, tensor)).rows(0, ROWS), tensor.dequantize())


@pytest.mark.parametrize("swizzled", [False, True])
@pytest.mark.parametrize("whole", [None, torch.tensor(0.37)])
def test_nvfp4(tmp_path: Path, swizzled: bool, whole: Tensor | None) -> None:
    nvfp4 = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    tensor = nvfp4.NVFP4Tensor.to_nvfp4(
        noise(ROWS, COLUMNS).bfloat16(), per_tensor_scale=whole, is_swizzled_scales=swizzled
    )
    assert torch.equal(only(_saved(tmp_path, tensor)).rows(0, ROWS), tensor.dequantize())


def _by_hand(folder: Path, kind: str, parts: dict[str, Tensor], **attributes: Any) -> Any:
    """Return the matrix of a class that torchao makes on accelerators only."""
    names = {f"{LAYER}._weight_{part}": tensor for part, tensor in parts.items()}
    said = {"_type": kind, "_data": attributes, "_tensor_data_names": list(parts)}
    metadata = {f"{LAYER}.weight": json.dumps(said), "tensor_names": json.dumps([f"{LAYER}.weight"])}
    return of_file(folder, names, {}, metadata)


def test_int4_in_plain_packing(tmp_path: Path) -> None:
    """Signed codes, the even column in the low bits; the zero point is added after the scale, as mslk has it."""
    codes = torch.randint(-8, 8, (16, 64))
    scale, zero = torch.rand(2, 16).bfloat16(), torch.randn(2, 16).bfloat16()
    packed = ((codes[:, 1::2] & 15) << 4 | (codes[:, ::2] & 15)).to(torch.uint8).view(torch.int8)
    parts = {"qdata": packed, "scale": scale, "zero_point": zero}
    weight = only(_by_hand(tmp_path, "Int4Tensor", parts, block_size=[1, 32], shape=[16, 64]))
    groups = torch.arange(64) // 32
    assert torch.equal(weight.rows(0, 16), codes * scale.float().T[:, groups] + zero.float().T[:, groups])
    assert weight.stored_dtype == "torchao Int4Tensor (int4, group 32)"


@pytest.mark.parametrize(
    ("kind", "more", "reason"),
    [
        ("Int4TilePackedTo4dTensor", {}, "torchao Int4TilePackedTo4dTensor codes, which"),
        ("Int8Tensor", {"act_pre_scale": torch.ones(32)}, "Int8Tensor codes with a scale of the inputs"),
        ("Int8Tensor", {}, "torchao Int8Tensor codes, which"),  # without a block size
    ],
)
def test_other_classes_are_refused_by_name(tmp_path: Path, kind: str, more: dict[str, Tensor], reason: str) -> None:
    parts = {"qdata": torch.ones(32, 32).to(torch.int8), "scale": torch.ones(32, 1), **more}
    inventory = _by_hand(tmp_path, kind, parts)
    (weight,) = inventory.weights
    assert weight.layer_name == LAYER and reason in weight.unsupported
    assert all(why.endswith(f"of {LAYER}") for why in reasons(inventory).values())


def test_parts_that_are_missing_are_named(tmp_path: Path) -> None:
    names = {f"{LAYER}._weight_qdata": torch.ones(32, 32).to(torch.int8)}
    said = {"_type": "Int8Tensor", "_data": {"block_size": [1, 32]}, "_tensor_data_names": ["qdata", "scale"]}
    (weight,) = of_file(tmp_path, names, {}, {f"{LAYER}.weight": json.dumps(said)}).weights
    assert "Int8Tensor codes whose scale is not in the files read" in weight.unsupported


@pytest.mark.parametrize("text", ["", "{", "[]", '{"_type": 3}', "[" * 9999])
def test_a_header_that_says_nothing(tmp_path: Path, text: str) -> None:
    names = {f"{LAYER}._weight_qdata": torch.ones(32, 32).to(torch.int8), f"{LAYER}._weight_scale": torch.ones(32)}
    (weight,) = of_file(tmp_path, names, {}, {f"{LAYER}.weight": text}).weights
    assert weight.layer_name == LAYER and "whose class the header of the file does not say" in weight.unsupported
