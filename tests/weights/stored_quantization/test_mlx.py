from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.weights.stored_quantization.matrices import LAYER, of_file, only, reasons, words

ROWS, COLUMNS, GROUP = 24, 128, 32


def _stored(bits: int, *, offsets: str = "biases") -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(bits)
    codes = torch.randint(0, 2**bits, (ROWS, COLUMNS))
    scales, biases = torch.rand(ROWS, COLUMNS // GROUP).half(), torch.randn(ROWS, COLUMNS // GROUP).half()
    expected = torch.empty(ROWS, COLUMNS)
    for j in range(COLUMNS):
        expected[:, j] = codes[:, j] * scales[:, j // GROUP].float() + biases[:, j // GROUP].float()
    names = {"weight": words(codes, bits).view(torch.uint32), "scales": scales, offsets: biases}
    return {f"{LAYER}.{name}": tensor for name, tensor in names.items()}, expected


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_affine_codes_are_decoded(tmp_path: Path, bits: int) -> None:
    tensors, expected = _stored(bits)
    inventory = of_file(tmp_path, tensors, {"quantization": {"group_size": GROUP, "bits": bits}})
    weight = only(inventory)
    assert torch.equal(weight.rows(0, ROWS), expected)
    assert (weight.layer_name, weight.stored_dtype) == (LAYER, f"MLX {bits}-bit, group 32")
    assert reasons(inventory) == {"scales": f"scales of {LAYER}", "biases": f"offsets of {LAYER}"}


@pytest.mark.parametrize(
    "config",
    [
        {"quantization": {"group_size": 64, "bits": 4, LAYER: {"group_size": GROUP, "bits": 6}}},
        {"text_config": {"quantization": {"group_size": GROUP, "bits": 6}}},
        {"quantization_config": {"group_size": GROUP, "bits": 6, "mode": "affine"}},
    ],
)
def test_the_config_may_say_it_for_a_layer(tmp_path: Path, config: dict[str, Any]) -> None:
    tensors, expected = _stored(6)
    assert torch.equal(only(of_file(tmp_path, tensors, config)).rows(0, ROWS), expected)


def test_metal_quantization_of_transformers(tmp_path: Path) -> None:
    tensors, expected = _stored(4, offsets="qbiases")
    config = {"quantization_config": {"quant_method": "metal", "bits": 4, "group_size": GROUP}}
    assert torch.equal(only(of_file(tmp_path, tensors, config)).rows(0, ROWS), expected)


def test_stacked_experts_are_one_matrix_each(tmp_path: Path) -> None:
    tensors, expected = _stored(4)
    name = "model.layers.0.mlp.switch_mlp.up_proj"
    stacked = {name + n.removeprefix(LAYER): torch.stack([t, t.roll(1, 0)]) for n, t in tensors.items()}
    config = {"quantization": {"group_size": GROUP, "bits": 4}, "hidden_size": COLUMNS}
    first, second = of_file(tmp_path, stacked, config).weights
    assert torch.equal(first.rows(0, ROWS), expected) and torch.equal(second.rows(0, ROWS), expected.roll(1, 0))
    assert [w.layer_name for w in (first, second)] == [f"model.layers.0.mlp.switch_mlp.{i}.up_proj" for i in (0, 1)]


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


@pytest.mark.parametrize(("mode", "bits", "group"), [("mxfp4", 4, 32), ("nvfp4", 4, 16), ("mxfp8", 8, 32)])
def test_float_modes_are_decoded(tmp_path: Path, mode: str, bits: int, group: int) -> None:
    torch.manual_seed(0)
    codes = torch.randint(0, 2**bits, (ROWS, COLUMNS))
    if mode == "mxfp8":
        codes = torch.where(codes % 128 == 127, codes - 1, codes)  # no NaN
    values = FP4[codes] if bits == 4 else codes.to(torch.uint8).view(torch.float8_e4m3fn).float()
    scales = torch.randint(120, 130, (ROWS, COLUMNS // group), dtype=torch.uint8) - (64 if mode == "nvfp4" else 0)
    factors = scales.view(torch.float8_e4m3fn).float() if mode == "nvfp4" else 2.0 ** (scales.float() - 127)
    expected = torch.stack([values[:, j] * factors[:, j // group] for j in range(COLUMNS)], dim=1)
    tensors = {f"{LAYER}.weight": words(codes, bits).view(torch.uint32), f"{LAYER}.scales": scales}
    config = {"quantization": {"group_size": group, "bits": bits, "mode": mode}}
    weight = only(of_file(tmp_path, tensors, config))
    assert torch.equal(weight.rows(0, ROWS), expected)
    assert weight.stored_dtype == f"MLX {mode}, group {group}"


@pytest.mark.parametrize("config", [{}, {"quantization": {"group_size": GROUP, "bits": 8}}])
def test_codes_in_doubt_are_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    tensors, _ = _stored(4)
    (weight,) = of_file(tmp_path, tensors, config).weights
    assert "uint32 codes" in weight.unsupported


def test_codes_of_a_layer_that_is_said_to_have_none_are_refused(tmp_path: Path) -> None:
    tensors, _ = _stored(4)
    config = {"quantization": {"group_size": GROUP, "bits": 4, LAYER: False}}
    (weight,) = of_file(tmp_path, tensors, config).weights
    assert "uint32 codes" in weight.unsupported
