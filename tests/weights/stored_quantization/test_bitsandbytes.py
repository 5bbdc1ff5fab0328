import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.conftest import noise
from tests.weights.stored_quantization.matrices import LAYER, of_file, only, reasons

functional = pytest.importorskip("bitsandbytes.functional")

ROWS, COLUMNS = 48, 72  # a row ends within a block of 64


def _stored(kind: str, dtype: torch.dtype, **options: Any) -> tuple[dict[str, Tensor], Tensor]:
    """Return the tensors that bitsandbytes saves, and the matrix that it decodes."""
    codes, state = functional.quantize_4bit(noise(ROWS, COLUMNS).to(dtype), blocksize=64, quant_type=kind, **options)
    parts = state.as_dict(packed=True)
    tensors = {f"{LAYER}.weight": codes, **{f"{LAYER}.weight.{name}": part for name, part in parts.items()}}
    return tensors, functional.dequantize_4bit(codes, state)


@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_bitsandbytes_decodes_the_same(tmp_path: Path, kind: str, double: bool, dtype: torch.dtype) -> None:
    tensors, theirs = _stored(kind, dtype, compress_statistics=double)
    inventory = of_file(tmp_path, tensors, {})
    weight = only(inventory)
    assert torch.equal(weight.rows(0, ROWS), theirs)
    assert weight.stored_dtype == f"bitsandbytes {kind}, block 64{', double quantization' if double else ''}"
    assert reasons(inventory)["absmax"] == f"scales of {LAYER}"


@pytest.mark.parametrize("storage", [torch.bfloat16, torch.float32])
def test_codes_may_be_stored_in_the_type_of_the_model(tmp_path: Path, storage: torch.dtype) -> None:
    """FSDP shards parameters of one type only, so QLoRA's codes are written as if they were bfloat16."""
    tensors, theirs = _stored("nf4", torch.bfloat16, quant_storage=storage)
    assert tensors[f"{LAYER}.weight"].dtype is storage
    assert torch.equal(only(of_file(tmp_path, tensors, {})).rows(0, ROWS), theirs)


@pytest.mark.parametrize(
    "damage",
    [
        lambda said: {**said, "shape": [ROWS, COLUMNS + 8]},
        lambda said: {**said, "blocksize": 0},
        lambda said: {**said, "dtype": "float8"},
        lambda said: [],
    ],
)
def test_a_state_that_does_not_fit_is_refused(tmp_path: Path, damage: Any) -> None:
    tensors, _ = _stored("nf4", torch.bfloat16)
    name = f"{LAYER}.weight.quant_state.bitsandbytes__nf4"
    text = json.dumps(damage(json.loads(bytes(tensors[name].tolist()))))
    tensors[name] = torch.tensor(list(text.encode()), dtype=torch.uint8)
    (weight,) = of_file(tmp_path, tensors, {}).weights
    assert weight.layer_name == LAYER and weight.unsupported


def test_int8_is_decoded_by_row(tmp_path: Path) -> None:
    codes, magnitudes, _ = functional.int8_vectorwise_quant(noise(ROWS, COLUMNS).half())
    tensors = {f"{LAYER}.weight": codes, f"{LAYER}.SCB": magnitudes, f"{LAYER}.weight_format": torch.tensor(0).byte()}
    weight = only(of_file(tmp_path, tensors, {}))
    theirs = functional.int8_vectorwise_dequant(codes, magnitudes)
    assert torch.allclose(weight.rows(0, ROWS), theirs, rtol=3e-7, atol=0)  # they multiply by a rounded 1 / 127
    assert torch.equal(weight.rows(0, ROWS), codes.float() * magnitudes[:, None] / 127)
    assert weight.stored_dtype == "bitsandbytes int8, row"


def test_tiled_int8_is_refused(tmp_path: Path) -> None:
    tensors = {f"{LAYER}.weight": torch.ones(8, 8).to(torch.int8), f"{LAYER}.SCB": torch.ones(8)}
    tensors[f"{LAYER}.weight_format"] = torch.tensor(2, dtype=torch.uint8)
    (weight,) = of_file(tmp_path, tensors, {}).weights
    assert weight.unsupported


def test_two_states_of_one_matrix_are_refused(tmp_path: Path) -> None:
    tensors, _ = _stored("nf4", torch.bfloat16)
    other, _ = _stored("fp4", torch.bfloat16)
    name = f"{LAYER}.weight.quant_state.bitsandbytes__fp4"
    (weight,) = of_file(tmp_path, {**tensors, name: other[name]}, {}).weights
    assert weight.layer_name == LAYER and weight.unsupported


def test_int8_with_another_scale_is_refused(tmp_path: Path) -> None:
    tensors = {f"{LAYER}.weight": torch.ones(8, 8).to(torch.int8), f"{LAYER}.SCB": torch.ones(8)}
    (weight,) = of_file(tmp_path, {**tensors, f"{LAYER}.weight_scale": torch.ones(8, 1)}, {}).weights
    assert "SCB, weight_scale beside them" in weight.unsupported
