from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.unpack_bits import unpack_fp4
from tests.weights.stored_quantization.sources import SOURCES, Source, assert_decoded, of_files, only, reasons

EXPERTS = "model.layers.0.mlp.experts"
E8M0 = torch.float8_e8m0fnu


def _bytes(*shape: int, low: int = 0, high: int = 256, seed: int = 0) -> Tensor:
    return torch.randint(low, high, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def _e4m3(*shape: int) -> Tensor:
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(1)) * 4 + 0.1).to(torch.float8_e4m3fn)


def _by_group(packed: Tensor, scale: Tensor, size: int) -> Tensor:
    return unpack_fp4(packed) * scale.repeat_interleave(size, -1)


def _power(exponents: Tensor) -> Tensor:
    return torch.exp2(exponents.view(torch.uint8).float() - 127)


@pytest.mark.parametrize("source", SOURCES)
def test_gpt_oss_is_what_transformers_reads(tmp_path: Path, source: Source) -> None:
    mxfp4 = pytest.importorskip("transformers.integrations.mxfp4")
    up, down = _bytes(2, 128, 3, 16), _bytes(2, 96, 2, 16, seed=1)
    up_scales, down_scales = _bytes(2, 128, 3, low=110, high=130), _bytes(2, 96, 2, low=110, high=130)
    tensors = {
        f"{EXPERTS}.gate_up_proj_blocks": up,
        f"{EXPERTS}.gate_up_proj_scales": up_scales,
        f"{EXPERTS}.gate_up_proj_bias": torch.zeros(2, 128),
        f"{EXPERTS}.down_proj_blocks": down,
        f"{EXPERTS}.down_proj_scales": down_scales,
    }
    config = {"model_type": "gpt_oss", "intermediate_size": 64, "hidden_size": 96}
    inventory = source(tmp_path, tensors, {**config, "quantization_config": {"quant_method": "mxfp4"}})
    theirs = mxfp4.convert_moe_packed_tensors(up, up_scales, dtype=torch.float32)  # (experts, in, out)
    lower = mxfp4.convert_moe_packed_tensors(down, down_scales, dtype=torch.float32)
    expected = {}
    for index in range(2):
        expected[f"{EXPERTS}.{index}.gate_proj"] = theirs[index].T[0::2]
        expected[f"{EXPERTS}.{index}.up_proj"] = theirs[index].T[1::2]
        expected[f"{EXPERTS}.{index}.down_proj"] = lower[index].T
    found = {weight.layer_name: weight for weight in inventory.weights}
    assert found.keys() == expected.keys()
    for name, weight in found.items():
        assert torch.equal(weight.rows(0, weight.out_features), expected[name])
        assert weight.stored_dtype == "mxfp4 (scale per group of 32)"
    assert reasons(inventory)[f"{EXPERTS}.gate_up_proj_scales"] == f"scales of {EXPERTS}.gate_up_proj"
    assert reasons(inventory)[f"{EXPERTS}.gate_up_proj_bias"] == "biases of several matrices"


PACKED, POWERS = _bytes(96, 160), _bytes(96, 10, low=110, high=130)
MATRICES: dict[str, tuple[Tensor, dict[str, Tensor], dict[str, Any], Tensor]] = {
    "DeepSeek-V4": (PACKED.view(torch.int8), {"scale": POWERS.view(E8M0)}, {}, _by_group(PACKED, _power(POWERS), 32)),
    "DeepSeek-V4, float scales": (
        PACKED.view(torch.int8),
        {"scale": _power(POWERS)},
        {"expert_dtype": "fp4", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}},
        _by_group(PACKED, _power(POWERS), 32),
    ),
    "DeepSeek-V4, groups of 128": (
        PACKED[:, :128].contiguous().view(torch.int8),
        {"scale": POWERS[:, :2].contiguous().view(E8M0)},
        {"expert_dtype": "fp4"},
        _by_group(PACKED[:, :128], _power(POWERS[:, :2].contiguous()), 128),
    ),
    "Quark": (
        PACKED,
        {"weight_scale": POWERS},
        {"quantization_config": {"quant_method": "quark"}},
        _by_group(PACKED, _power(POWERS), 32),
    ),
    "ModelOpt NVFP4": (
        PACKED,
        {"weight_scale": _e4m3(96, 20), "weight_scale_2": torch.tensor(0.37), "input_scale": torch.tensor(2.0)},
        {"quantization_config": {"quant_method": "modelopt", "quant_algo": "NVFP4"}},
        _by_group(PACKED, _e4m3(96, 20).float() * 0.37, 16),
    ),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", MATRICES)
def test_pairs_of_fp4(tmp_path: Path, source: Source, label: str) -> None:
    codes, beside, config, expected = MATRICES[label]
    name = "layers.0.ffn.experts.3.w1"
    tensors = {f"{name}.weight": codes, **{f"{name}.{last}": tensor for last, tensor in beside.items()}}
    inventory = source(tmp_path, tensors, config)
    assert_decoded(inventory, {name: expected})
    assert all(" of layers.0" in why or "no spectrum" in why for why in reasons(inventory).values())


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("each", [False, True])
def test_stacked_nvfp4_in_both_orientations(tmp_path: Path, down: bool, each: bool) -> None:
    packed, scale = _bytes(2, 160, 96), _e4m3(2, 160, 12)  # (experts, out, in)
    second = torch.tensor([0.3, 0.4]) if each else torch.tensor(0.3)
    name = f"{EXPERTS}.gate_up_proj"
    tensors = {
        name: packed.transpose(1, 2).contiguous() if down else packed,  # Llama 4: groups run down the columns
        f"{name}_weight_scale": scale.transpose(1, 2).contiguous() if down else scale,
        f"{name}_weight_scale_2": second,
        f"{name}_input_scale": torch.ones(1),
    }
    inventory = of_files(tmp_path, tensors, {"moe_intermediate_size": 80})
    expected = {}
    for index in range(2):
        matrix = _by_group(packed[index], scale[index].float() * second.expand(2)[index], 16)
        expected[f"{EXPERTS}.{index}.gate_proj"] = matrix[:80]
        expected[f"{EXPERTS}.{index}.up_proj"] = matrix[80:]
    assert_decoded(inventory, expected)


@pytest.mark.parametrize("source", SOURCES)
def test_stacked_pairs_of_transformers(tmp_path: Path, source: Source) -> None:
    packed, powers, name = _bytes(2, 64, 48), _bytes(2, 64, 3, low=110, high=130), f"{EXPERTS}.down_proj"
    tensors = {name: packed.view(torch.int8), f"{name}_scale_inv": powers.view(E8M0)}
    inventory = source(tmp_path, tensors, {"quantization_config": {"quant_method": "fp8"}, "expert_dtype": "fp4"})
    expected = {f"{EXPERTS}.{i}.down_proj": _by_group(packed[i], _power(powers[i]), 32) for i in range(2)}
    assert_decoded(inventory, expected)


REFUSED: dict[str, dict[str, Tensor]] = {
    "smoothed": {"weight_scale": _e4m3(96, 20), "weight_scale_2": torch.ones(()), "pre_quant_scale": torch.ones(320)},
    "in a kernel's order": {"weight_scale": _e4m3(128, 20), "weight_scale_2": torch.ones(())},
    "one level": {"weight_scale": _e4m3(96, 20)},
    "INT4 of ModelOpt": {"weight_scale": torch.ones(192, 2)},
    "integers of MX": {"weight_scale": _bytes(96, 5)},
}


@pytest.mark.parametrize("label", REFUSED)
def test_what_is_not_understood_is_refused(tmp_path: Path, label: str) -> None:
    tensors = {"fc.weight": PACKED, **{f"fc.{last}": tensor for last, tensor in REFUSED[label].items()}}
    inventory = of_files(tmp_path, tensors, {"model_type": "llama"})
    for last in REFUSED[label]:
        assert last in only(inventory).unsupported
        assert reasons(inventory)[f"fc.{last}"] == "scales of fc"


def test_bare_files_may_be_in_the_order_of_a_kernel(tmp_path: Path) -> None:
    tensors = {"fc.weight": PACKED, "fc.weight_scale": _e4m3(96, 20), "fc.weight_scale_2": torch.ones(())}
    assert "uint8 codes with weight_scale" in only(of_files(tmp_path, tensors, {})).unsupported


@pytest.mark.parametrize("method", ["quark", "gptq", "awq", "fp8", "torchao", "compressed-tensors"])
def test_matrices_without_elements_end_no_scan(tmp_path: Path, method: str) -> None:
    nothing = torch.zeros(8, 0, dtype=torch.uint8)
    tensors = {"a.weight": nothing, "a.weight_scale": nothing, "b.qweight": nothing.int(), "b.qzeros": nothing.int()}
    tensors |= {"b.scales": nothing.half(), "c.weight_packed": nothing, "c.weight_scale": nothing}
    weights = of_files(tmp_path, tensors, {"quantization_config": {"quant_method": method}}).weights
    assert {weight.layer_name for weight in weights} == {"a", "b", "c"} and all(w.unsupported for w in weights)
