import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.inventory import Inventory
from alpha_callbacks.weights.module_weights import module_inventory
from tests.conftest import noise

OPTIONS = AnalysisOptions(precisions=("fp32",))
FP8 = torch.float8_e4m3fn
SHAPE = (300, 200)
BLOCKS: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
BY_ROW: dict[str, Any] = {"quant_method": "compressed-tensors", "format": "float-quantized"}


def _codes(*shape: int, seed: int = 0) -> Tensor:
    return (noise(*shape, seed=seed) * 100).to(FP8)


def _blocks(scale: Tensor, rows: int, columns: int, shape: tuple[int, int]) -> Tensor:
    """Return one scale per weight, the plain way."""
    full = torch.empty(shape)
    for i in range(shape[0]):
        for j in range(shape[1]):
            full[i, j] = scale[i // rows, j // columns].float()
    return full


def _layouts() -> dict[str, tuple[dict[str, Any], str, Tensor, Tensor]]:
    """Return label -> (quantization_config, name of the scale, scale, one scale per weight)."""
    torch.manual_seed(0)
    square, narrow = torch.rand(3, 2) + 0.1, (torch.rand(5, 4) + 0.1).bfloat16()
    rows, whole = torch.rand(300, 1) + 0.1, torch.tensor(0.37)
    other = {"quant_method": "fp8", "weight_block_size": [64, 50]}
    return {
        "128x128 block": (BLOCKS, "weight_scale_inv", square, _blocks(square, 128, 128, SHAPE)),
        "64x50 block": (other, "weight_scale_inv", narrow, _blocks(narrow, 64, 50, SHAPE)),
        "row": (BY_ROW, "weight_scale", rows, rows.expand(SHAPE)),
        "row as a vector": ({"quant_method": "fbgemm_fp8"}, "weight_scale", rows[:, 0].clone(), rows.expand(SHAPE)),
        "tensor": (BY_ROW, "weight_scale", whole.reshape(1), whole.expand(SHAPE)),
        "tensor without dimensions": (BY_ROW, "weight_scale", whole, whole.expand(SHAPE)),
    }


STORED = _layouts()


def _checkpoint(folder: Path, tensors: dict[str, Tensor], quantization: dict[str, Any] | None, **more: Any) -> Path:
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    config = more if quantization is None else {**more, "quantization_config": quantization}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


class _Configured(nn.Module):
    """A live model whose parameters are given tensors, with a config as transformers has it."""

    def __init__(self, tensors: dict[str, Tensor], quantization: dict[str, Any] | None) -> None:
        super().__init__()
        self.config = type("Config", (), {"to_dict": lambda _: {"quantization_config": quantization}})()
        for name, tensor in tensors.items():
            path, _, last = name.rpartition(".")
            if path not in dict(self.named_children()):
                self.add_module(path, nn.Module())
            self.get_submodule(path).register_parameter(last, nn.Parameter(tensor, requires_grad=False))


Source = Callable[[Path, dict[str, Tensor], dict[str, Any] | None], Inventory]


def _of_files(folder: Path, tensors: dict[str, Tensor], quantization: dict[str, Any] | None) -> Inventory:
    return open_checkpoint(_checkpoint(folder, tensors, quantization)).inventory(OPTIONS)


def _of_torch_files(folder: Path, tensors: dict[str, Tensor], quantization: dict[str, Any] | None) -> Inventory:
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "config.json").write_text(json.dumps({"quantization_config": quantization}))
    return open_checkpoint(folder).inventory(OPTIONS)


def _of_module(folder: Path, tensors: dict[str, Tensor], quantization: dict[str, Any] | None) -> Inventory:
    return module_inventory(_Configured(tensors, quantization), OPTIONS)


SOURCES = (_of_files, _of_torch_files, _of_module)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", STORED)
def test_decoded_rows_are_codes_times_scales(tmp_path: Path, source: Source, label: str) -> None:
    quantization, name, scale, per_weight = STORED[label]
    codes = _codes(*SHAPE)
    tensors = {"fc.weight": codes, f"fc.{name}": scale, "fc.bias": torch.ones(300), "fc.input_scale": torch.ones(1)}
    inventory = source(tmp_path, tensors, quantization)
    (weight,) = inventory.weights
    expected = codes.float() * per_weight
    for start, stop in ((0, 300), (0, 1), (100, 200), (127, 129), (299, 300), (130, 130)):
        assert torch.equal(weight.rows(start, stop), expected[start:stop])
    assert (weight.dtype, weight.unsupported) == (torch.float32, "")
    assert weight.stored_dtype == f"float8_e4m3fn (scale per {label.split(' as ')[0].split(' without')[0]})"
    assert {s.name: s.reason for s in inventory.skipped}[f"fc.{name}"] == "scales of fc"
    (row,) = analyze_weight(weight, OPTIONS)
    evals = torch.linalg.svdvals(expected.double()) ** 2
    assert row.status == "ok"
    assert row.alpha == pytest.approx(1 + 20 / float(torch.log(evals[:20] / evals[20]).sum()), rel=1e-9)


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = torch.ones(3, 2)
    folder = _checkpoint(tmp_path, {"fc.weight": _codes(*SHAPE), "fc.weight_scale_inv": scale}, BLOCKS)
    from alpha_callbacks.checkpoints import safetensors_reader

    read, asked = safetensors_reader._read, []

    def watched(file: Path, stamp: Any, entry: Any, start: int, stop: int) -> Tensor:
        asked.append((entry.name, start, stop))
        return read(file, stamp, entry, start, stop)

    monkeypatch.setattr(safetensors_reader, "_read", watched)
    (weight,) = open_checkpoint(folder).inventory(OPTIONS).weights
    weight.rows(130, 140)
    assert sorted(asked) == [("fc.weight", 130, 140), ("fc.weight_scale_inv", 1, 2)]


def test_transformers_decodes_the_same() -> None:
    finegrained = pytest.importorskip("transformers.integrations.finegrained_fp8")
    if not hasattr(finegrained, "_dequantize_fp8_weight"):
        pytest.skip("this transformers has no such function")
    scale, codes = torch.rand(2, 3) + 0.1, _codes(256, 384)
    (weight,) = module_inventory(
        _Configured({"fc.weight": codes, "fc.weight_scale_inv": scale}, BLOCKS), OPTIONS
    ).weights
    theirs = finegrained._dequantize_fp8_weight(codes, scale, [128, 128], torch.float32)
    assert torch.equal(weight.rows(0, 256), theirs)


DOUBTFUL: dict[str, tuple[dict[str, Tensor], dict[str, Any] | None, str]] = {
    "no config": ({"fc.weight_scale_inv": torch.ones(3, 2)}, None, "weight_scale_inv beside"),
    "no block size": ({"fc.weight_scale_inv": torch.ones(3, 2)}, {"quant_method": "fp8"}, "weight_scale_inv beside"),
    "another shape": ({"fc.weight_scale_inv": torch.ones(2, 3)}, BLOCKS, "weight_scale_inv beside"),
    "scale per group": ({"fc.weight_scale": torch.ones(300, 4)}, BY_ROW, "weight_scale beside"),
    "another method": ({"fc.weight_scale": torch.ones(1)}, {"quant_method": "new"}, "weight_scale beside"),
    "a zero point": ({"fc.weight_scale": torch.ones(1), "fc.weight_zero_point": torch.ones(1)}, BY_ROW, "weight_scale"),
    "scale of another type": ({"fc.weight_scale": torch.ones(300, 1).to(FP8)}, BY_ROW, "weight_scale beside"),
    "integer scale": ({"fc.weight_scale": torch.ones(300, 1, dtype=torch.uint8)}, BY_ROW, "weight_scale beside"),
    "Mistral": ({"fc.qscale_weight": torch.ones(300, 1)}, None, "qscale_weight beside"),
    "ComfyUI": ({"fc.scale_weight": torch.tensor(1.0)}, None, "scale_weight beside"),
    "scale in a file that was not given": ({}, BLOCKS, "scales are not in the files read"),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", DOUBTFUL)
def test_what_is_not_understood_is_refused(tmp_path: Path, source: Source, label: str) -> None:
    companions, quantization, reason = DOUBTFUL[label]
    inventory = source(tmp_path, {"fc.weight": _codes(*SHAPE), **companions}, quantization)
    (weight,) = inventory.weights
    (row,) = analyze_weight(weight, OPTIONS)
    assert row.status == "unsupported"
    assert reason in row.reason and row.reason.startswith("quantized: float8_e4m3fn codes")


def test_scales_of_stacked_experts_are_no_rows(tmp_path: Path) -> None:
    name = "model.layers.0.mlp.experts.gate_up_proj"
    tensors = {
        name: _codes(256, 64).reshape(2, 128, 64),
        f"{name}_scale_inv": torch.ones(2, 16, 16),
        f"{name}_bias": torch.ones(2, 128),
    }
    inventory = _of_files(tmp_path, tensors, BLOCKS)
    assert [(w.layer_name, bool(w.unsupported)) for w in inventory.weights] == [(name, True)]
    reasons = {s.name: s.reason for s in inventory.skipped}
    assert reasons[f"{name}_scale_inv"] == f"stored beside the float8_e4m3fn codes of {name}, not a weight"


def test_scales_of_refused_codes_have_a_true_reason(tmp_path: Path) -> None:
    tensors = {"fc.weight": torch.ones(64, 64, dtype=torch.int8), "fc.weight_scale": torch.ones(64, 2)}
    inventory = _of_files(tmp_path, tensors, {"quant_method": "compressed-tensors"})
    assert [s.reason for s in inventory.skipped] == ["scales of fc"]


def test_a_tied_head_is_decoded_too(tmp_path: Path) -> None:
    codes, scale = _codes(64, 32), torch.rand(64, 1) + 0.1
    tensors = {"model.embed_tokens.weight": codes, "model.embed_tokens.weight_scale": scale}
    folder = _checkpoint(tmp_path, tensors, BY_ROW, architectures=["LlamaForCausalLM"], model_type="llama")
    (head,) = open_checkpoint(folder).inventory(OPTIONS).weights
    assert head.layer_name == "lm_head" and torch.equal(head.rows(0, 64), codes.float() * scale)


def test_decoded_weights_of_a_live_model_cannot_be_written() -> None:
    model = _Configured({"fc.weight": _codes(64, 32), "fc.weight_scale": torch.ones(64, 1)}, BY_ROW)
    assert len(module_inventory(model, OPTIONS).weights) == 1 and matrices(model) == {}


def test_block_sizes_that_are_no_numbers_are_not_understood(tmp_path: Path) -> None:
    tensors = {"fc.weight": _codes(4, 4), "fc.weight_scale_inv": torch.ones(4, 4)}
    (weight,) = _of_files(tmp_path, tensors, {"quant_method": "fp8", "weight_block_size": [True, True]}).weights
    assert "codes with weight_scale_inv" in weight.unsupported
