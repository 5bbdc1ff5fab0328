"""References written out here; optimum-quanto 0.2.7 itself gave the same bits for qint8 and qfloat8."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.weights.stored_quantization.matrices import LAYER, of_file, only, reasons

ROWS, COLUMNS, GROUP = 24, 64, 32
GROUPS = ROWS * COLUMNS // GROUP


def _packed(codes: Tensor, bits: int) -> Tensor:
    """Pack rows: those of the first part of the matrix in the lowest bits."""
    per_byte = 8 // bits
    count = -(-len(codes) // per_byte)
    packed = torch.zeros(count, codes.shape[1], dtype=torch.uint8)
    for i, row in enumerate(codes):
        packed[i % count] |= row.to(torch.uint8) << bits * (i // count)
    return packed


@pytest.mark.parametrize("codes", [torch.int8, torch.float8_e4m3fn])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_eight_bits(tmp_path: Path, codes: torch.dtype, dtype: torch.dtype) -> None:
    data = torch.randint(-100, 100, (ROWS, COLUMNS)).to(codes)
    scale = (torch.rand(ROWS, 1) + 0.5).to(dtype)
    tensors = {f"{LAYER}.weight._data": data, f"{LAYER}.weight._scale": scale, f"{LAYER}.input_scale": torch.ones(1)}
    inventory = of_file(tmp_path, tensors, {})
    weight = only(inventory)
    assert torch.equal(weight.rows(0, ROWS), scale * data.to(dtype)) and weight.dtype is dtype
    assert reasons(inventory)["_scale"] == f"scales of {LAYER}"


@pytest.mark.parametrize("bits", [4, 2])
@pytest.mark.parametrize("integer", [False, True])
def test_groups(tmp_path: Path, bits: int, integer: bool) -> None:
    torch.manual_seed(bits)
    codes, scale = torch.randint(0, 2**bits, (GROUPS, GROUP)), torch.rand(GROUPS, 1) + 0.5
    shift = torch.randint(0, 2**bits, (GROUPS, 1)) if integer else torch.rand(GROUPS, 1)
    expected = torch.empty(GROUPS, GROUP)
    for i in range(GROUPS):
        expected[i] = scale[i] * (codes[i] - shift[i]) if integer else scale[i] * codes[i] - shift[i]
    tensors = {
        f"{LAYER}.weight._data._data": _packed(codes, bits),
        f"{LAYER}.weight._scale": scale,
        f"{LAYER}.weight._shift": shift.to(torch.int8) if integer else shift,
    }
    weight = only(of_file(tmp_path, tensors, {"hidden_size": COLUMNS}))
    assert torch.equal(weight.rows(0, ROWS), expected.reshape(ROWS, COLUMNS))
    assert weight.stored_dtype == f"quanto {bits}-bit, group 32"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        (LAYER, {}),
        ("model.layers.0.self_attn.q_b_proj", {"hidden_size": 64}),
        ("model.layers.0.mixer.x", {"hidden_size": 64}),
        ("vision.layers.0.mlp.gate_proj", {"hidden_size": 64}),
    ],
)
def test_groups_of_a_matrix_whose_shape_nobody_says(tmp_path: Path, name: str, config: dict[str, Any]) -> None:
    tensors = {
        f"{name}.weight._data._data": torch.zeros(GROUPS // 2, GROUP, dtype=torch.uint8),
        f"{name}.weight._scale": torch.ones(GROUPS, 1),
        f"{name}.weight._shift": torch.ones(GROUPS, 1),
    }
    (weight,) = of_file(tmp_path, tensors, config).weights
    assert weight.layer_name == name and "neither the files nor their config say the shape" in weight.unsupported


def test_a_head_behind_a_projection_has_the_width_of_that(tmp_path: Path) -> None:
    """OPT-350m: 1024 inside, 512 before its head."""
    tensors = {
        "lm_head.weight._data._data": torch.zeros(GROUPS // 2, GROUP, dtype=torch.uint8),
        "lm_head.weight._scale": torch.ones(GROUPS, 1),
        "lm_head.weight._shift": torch.ones(GROUPS, 1),
    }
    (weight,) = of_file(tmp_path, tensors, {"hidden_size": 2 * COLUMNS, "word_embed_proj_dim": COLUMNS}).weights
    assert (weight.out_features, weight.in_features) == (ROWS, COLUMNS)


def test_two_groups_do_not_tell_their_bits(tmp_path: Path) -> None:
    tensors = {
        f"{LAYER}.weight._data._data": torch.zeros(1, COLUMNS, dtype=torch.uint8),
        f"{LAYER}.weight._scale": torch.ones(2, 1),
        f"{LAYER}.weight._shift": torch.ones(2, 1),
    }
    (weight,) = of_file(tmp_path, tensors, {"hidden_size": COLUMNS}).weights
    assert "optimum-quanto codes" in weight.unsupported
