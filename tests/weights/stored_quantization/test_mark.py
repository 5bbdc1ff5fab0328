from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from tests.weights.stored_quantization.sources import OPTIONS, SOURCES, Source, of_files, only, reasons

FP8 = (torch.rand(64, 32) * 100).to(torch.float8_e4m3fn)
STACK = FP8.repeat(2, 1).reshape(2, 64, 32)
EXPERTS = "model.layers.0.mlp.experts.gate_up_proj"


@pytest.mark.parametrize("source", SOURCES)
def test_few_bits_that_nothing_speaks_against_are_weights(tmp_path: Path, source: Source) -> None:
    tensors = {"fc.weight": FP8, "fc.bias": torch.ones(64), "norm.query_norm.scale": torch.ones(8)}
    assert only(source(tmp_path, tensors, {})).unsupported == ""


DOUBTFUL: dict[str, tuple[dict[str, Tensor], dict[str, Any], str]] = {
    "a companion that no library has": ({"fc.weight": FP8, "fc.gain": torch.ones(64)}, {}, "with gain beside"),
    "a companion of the parent": ({"a.fc.weight": FP8, "a.fc_scale": torch.ones(1)}, {}, "with a.fc_scale beside"),
    "a config without scales": (
        {"fc.weight": FP8},
        {"quantization_config": {"quant_method": "new"}},
        "not in the files",
    ),
    "scales of other layers": (
        {"fc.weight": FP8, "fc2.weight": FP8.clone(), "fc2.weight_scale": torch.ones(1)},
        {},
        "scales are not in the files",
    ),
    "experts beside a foreign scale": (
        {EXPERTS: STACK, "model.layers.0.mlp.experts.w13_scales": torch.ones(2)},
        {},
        "w13_scales",
    ),
    "bytes beside a scale": (
        {EXPERTS: STACK.view(torch.uint8), f"{EXPERTS}_scale": torch.ones(2, 64, 1)},
        {},
        "_scale",
    ),
    "wider floats": ({"fc.weight": FP8.bfloat16(), "fc.scale_weight": torch.ones(1)}, {}, "may have to be applied"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", DOUBTFUL)
def test_what_may_be_codes_is_never_analysed(tmp_path: Path, source: Source, label: str) -> None:
    tensors, config, reason = DOUBTFUL[label]
    inventory = source(tmp_path, tensors, config)
    first = inventory.weights[0]
    assert reason in first.unsupported
    rows = {weight.layer_name for weight in inventory.weights}
    assert not any("scale" in row or "gain" in row for row in rows)


def test_scales_in_a_file_that_was_not_opened(tmp_path: Path) -> None:
    save_file({"fc.weight": FP8}, tmp_path / "model-00001-of-00002.safetensors")
    alone = open_checkpoint(tmp_path / "model-00001-of-00002.safetensors").inventory(OPTIONS)
    assert "may be in files that were not read" in only(alone).unsupported


@pytest.mark.parametrize("status", ["frozen", "calibration"])
def test_weights_that_are_only_observed_are_weights(tmp_path: Path, status: str) -> None:
    config = {"quantization_config": {"quant_method": "compressed-tensors", "quantization_status": status}}
    tensors = {"fc.weight": FP8.bfloat16(), "fc.weight_scale": torch.ones(64, 1)}
    inventory = of_files(tmp_path, tensors, config)
    assert only(inventory).unsupported == ""
    assert reasons(inventory) == {"fc.weight_scale": "scales of fc"}


def test_companions_of_refused_codes_have_a_true_reason(tmp_path: Path) -> None:
    tensors = {
        "fc.qweight": torch.ones(8, 64, dtype=torch.int32),
        "fc.scales": torch.ones(2, 64),
        "fc.zeros": torch.ones(2, 64),
        "fc.perm": torch.ones(64, dtype=torch.int16),
        "fc.codebook": torch.ones(2, 3, 4),
        "fc.other": torch.ones(2, 3),
    }
    found = reasons(of_files(tmp_path, tensors, {"quantization_config": {"quant_method": "new"}}))
    assert found["fc.scales"] == "scales of fc"
    assert found["fc.zeros"] == "zero points of fc"
    assert found["fc.perm"] == "indices of fc"
    assert found["fc.codebook"] == "levels of fc"
    assert found["fc.other"] == "stored beside the int32 codes of fc, not a weight"


@pytest.mark.parametrize("other", ["pre_quant_scale", "weight_scale_2", "scale2"])
def test_no_layout_decodes_beside_a_scale_that_it_does_not_know(tmp_path: Path, other: str) -> None:
    def integers(*shape: int) -> Tensor:
        return torch.ones(shape, dtype=torch.int32)

    row = {"weight._data": torch.ones(8, 8).to(torch.int8), "weight._scale": torch.ones(8, 1)}
    packed = {"qweight": integers(4, 32), "qzeros": integers(1, 4), "scales": torch.ones(1, 32).half()}
    hqq = {"W_q": torch.ones(8, 8).to(torch.uint8), "scale": torch.ones(8, 1), "zero": torch.ones(8, 1)}
    hqq |= {"nbits": torch.tensor(8), "axis": torch.tensor(1), "shape": torch.tensor([8, 8])}
    mlx = {"weight": integers(8, 4).view(torch.uint32), "scales": torch.ones(8, 1), "biases": torch.ones(8, 1)}
    cases: list[tuple[dict[str, Any], dict[str, Tensor]]] = [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, packed),
        ({"quantization_config": {"quant_method": "hqq"}}, hqq),
        ({"quantization_config": {"quant_method": "quanto"}}, row),
        ({"quantization": {"bits": 4, "group_size": 32}}, mlx),
    ]
    for i, (config, tensors) in enumerate(cases):
        stored = {f"fc.{name}": tensor for name, tensor in tensors.items()}
        for more, refused in (({}, False), ({f"fc.{other}": torch.ones(8, 1)}, True)):
            (folder := tmp_path / f"{i}{refused}").mkdir()
            weight = only(of_files(folder, {**stored, **more}, config))
            assert bool(weight.unsupported) == refused, (i, refused, weight.unsupported)
