"""A reference written out here; hqq 0.2.8 itself gives the same bits for 8, 4 and 3 bits along both axes."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.weights.stored_quantization.matrices import LAYER, of_file, only, reasons

ROWS, COLUMNS, GROUP = 40, 48, 16
PER_ITEM = {8: 1, 4: 2, 3: 10, 2: 4, 1: 8}


def _stored(bits: int, axis: int, dtype: torch.dtype = torch.float32) -> tuple[dict[str, Tensor], Tensor]:
    torch.manual_seed(bits)
    groups = ROWS * COLUMNS // GROUP
    shape = (groups, GROUP) if axis == 1 else (GROUP, groups)
    codes = torch.randint(0, 2**bits, shape)
    along = (groups, 1) if axis == 1 else (1, groups)
    scale, zero = (torch.rand(along) + 0.5).to(dtype), torch.rand(along).to(dtype)
    count = -(-shape[0] // PER_ITEM[bits])
    packed = torch.zeros(count, shape[1], dtype=torch.int32 if bits == 3 else torch.uint8)
    for i, row in enumerate(codes):  # the first rows in the highest bits
        packed[i % count] |= row.to(packed.dtype) << bits * (PER_ITEM[bits] - 1 - i // count)
    settings = {"nbits": bits, "group_size": GROUP, "axis": axis, "view_as_float": 0, "quant_scale": 0}
    tensors = {name: torch.tensor(value, dtype=torch.int32) for name, value in settings.items()}
    tensors |= {"W_q": packed, "scale": scale, "zero": zero, "shape": torch.tensor([ROWS, COLUMNS])}
    tensors["compute_dtype"] = torch.tensor(list(str(dtype).encode()), dtype=torch.uint8)
    expected = ((codes.to(dtype) - zero) * scale).reshape(ROWS, COLUMNS)
    return {f"{LAYER}.{name}": tensor for name, tensor in tensors.items()}, expected


@pytest.mark.parametrize("bits", [8, 4, 3, 2, 1])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_weights_are_decoded(tmp_path: Path, bits: int, axis: int, dtype: torch.dtype) -> None:
    tensors, expected = _stored(bits, axis, dtype)
    inventory = of_file(tmp_path, tensors, {})
    weight = only(inventory)
    assert torch.equal(weight.rows(0, ROWS), expected)
    assert weight.stored_dtype == f"HQQ {bits}-bit, group 16{'' if axis else ' along the outputs'}"
    assert reasons(inventory)["zero"] == f"zero points of {LAYER}"


@pytest.mark.parametrize("name", ["view_as_float", "quant_scale"])
def test_forms_that_are_not_read_are_refused(tmp_path: Path, name: str) -> None:
    tensors, _ = _stored(4, 1)
    tensors[f"{LAYER}.{name}"] = torch.tensor(1, dtype=torch.int32)
    (weight,) = of_file(tmp_path, tensors, {}).weights
    assert weight.layer_name == LAYER and "HQQ codes" in weight.unsupported


def test_a_quantized_head_is_the_head(tmp_path: Path) -> None:
    tensors, expected = _stored(4, 1)
    named = {name.replace(LAYER, "lm_head"): tensor for name, tensor in tensors.items()}
    named["model.embed_tokens.weight"] = torch.rand(ROWS, COLUMNS)
    weight = only(of_file(tmp_path, named, {"architectures": ["LlamaForCausalLM"]}))
    assert weight.layer_name == "lm_head" and torch.equal(weight.rows(0, ROWS), expected)
