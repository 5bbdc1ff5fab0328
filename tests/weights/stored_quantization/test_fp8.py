import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.evaluation.writable_weights import matrices
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.stored_quantization.unpack_stored import unpack_stored
from tests.conftest import noise
from tests.weights.stored_quantization.sources import (
    OPTIONS,
    SOURCES,
    ModelOf,
    Source,
    assert_decoded,
    of_files,
    only,
    reasons,
    write_folder,
)

FP8 = torch.float8_e4m3fn
SHAPE = (300, 200)
BLOCKS: dict[str, Any] = {"quant_method": "fp8", "weight_block_size": [128, 128]}
BY_ROW: dict[str, Any] = {"quant_method": "compressed-tensors", "format": "float-quantized"}


def _codes(*shape: int, seed: int = 0) -> Tensor:
    return (noise(*shape, seed=seed) * 100).to(FP8)


def _blocks(scale: Tensor, rows: int, columns: int, shape: tuple[int, int]) -> Tensor:
    """Return one scale per weight, the plain way."""
    given = scale.float().tolist()
    return torch.tensor([[given[i // rows][j // columns] for j in range(shape[1])] for i in range(shape[0])])


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


def _about(quantization: dict[str, Any] | None) -> dict[str, Any]:
    return {} if quantization is None else {"quantization_config": quantization}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", STORED)
def test_decoded_rows_are_codes_times_scales(tmp_path: Path, source: Source, label: str) -> None:
    quantization, name, scale, per_weight = STORED[label]
    codes = _codes(*SHAPE)
    tensors = {"fc.weight": codes, f"fc.{name}": scale, "fc.bias": torch.ones(300), "fc.input_scale": torch.ones(1)}
    inventory = source(tmp_path, tensors, _about(quantization))
    (weight,) = inventory.weights
    expected = codes.float() * per_weight
    for start, stop in ((0, 300), (0, 1), (100, 200), (127, 129), (299, 300), (130, 130)):
        assert torch.equal(weight.rows(start, stop), expected[start:stop])
    assert (weight.dtype, weight.unsupported) == (torch.float32, "")
    where = f"scale per {label.split(' as ')[0].split(' without')[0]}"
    assert weight.stored_dtype in (f"float8_e4m3fn ({where})", f"float8_e4m3fn (compressed-tensors, {where})")
    assert {s.name: s.reason for s in inventory.skipped}[f"fc.{name}"] == "scales of fc"
    (row,) = analyze_weight(weight, OPTIONS)
    evals = torch.linalg.svdvals(expected.double()) ** 2
    assert row.status == "ok"
    assert row.alpha == pytest.approx(1 + 20 / float(torch.log(evals[:20] / evals[20]).sum()), rel=1e-9)


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scale = torch.ones(3, 2)
    tensors = {"fc.weight": _codes(*SHAPE), "fc.weight_scale_inv": scale}
    folder = write_folder(tmp_path, tensors, _about(BLOCKS))
    from alpha_callbacks.checkpoints import safetensors_reader

    read, asked = safetensors_reader._read, []

    def watched(shard: Any, entry: Any, start: int, stop: int) -> Tensor:
        asked.append((entry.name, start, stop))
        return read(shard, entry, start, stop)

    monkeypatch.setattr(safetensors_reader, "_read", watched)
    (weight,) = open_checkpoint(folder).inventory(OPTIONS).weights
    weight.rows(130, 140)
    assert sorted(asked) == [("fc.weight", 130, 140), ("fc.weight_scale_inv", 1, 2)]


def test_columns_of_the_codes_are_no_columns_of_the_matrix(tmp_path: Path) -> None:
    tensors = {"fc.weight": _codes(*SHAPE), "fc.weight_scale_inv": torch.ones(3, 2)}
    checkpoint = open_checkpoint(write_folder(tmp_path, tensors, _about(BLOCKS)))
    assert all(tensor.columns is not None for tensor in checkpoint.tensors)
    matrix = next(t for t in unpack_stored(checkpoint.tensors, checkpoint.config) if t.name == "fc.weight")
    assert matrix.dtype is torch.float32 and matrix.columns is None


def test_transformers_decodes_the_same() -> None:
    finegrained = pytest.importorskip("transformers.integrations.finegrained_fp8")
    if not hasattr(finegrained, "_dequantize_fp8_weight"):
        pytest.skip("this transformers has no such function")
    scale, codes = torch.rand(2, 3) + 0.1, _codes(256, 384)
    tensors = {"fc.weight": codes, "fc.weight_scale_inv": scale}
    weight = only(module_inventory(ModelOf(tensors, _about(BLOCKS)), OPTIONS))
    theirs = finegrained._dequantize_fp8_weight(codes, scale, [128, 128], torch.float32)
    assert torch.equal(weight.rows(0, 256), theirs)


DOUBTFUL: dict[str, tuple[dict[str, Tensor], dict[str, Any] | None, str]] = {
    "blocks of no size": ({"fc.weight_scale_inv": torch.ones(3, 3)}, None, "weight_scale_inv beside"),
    "a scale per column": ({"fc.weight_scale": torch.ones(1, 200)}, None, "weight_scale beside"),
    "q, k and v": ({"fc.weight_scale": torch.ones(3)}, None, "weight_scale beside"),
    "two scales": ({"fc.weight_scale": torch.ones(1), "fc.scale": torch.ones(1)}, None, "beside"),
    "ComfyUI, rotated": (
        {
            "fc.weight_scale": torch.ones(1),
            "fc.comfy_quant": torch.tensor(list(b'{"format": "float8_e4m3fn", "rot": true}'), dtype=torch.uint8),
        },
        None,
        "beside",
    ),
    "smoothed": ({"fc.weight_scale": torch.ones(1), "fc.pre_quant_scale": torch.ones(200)}, None, "pre_quant_scale"),
    "another shape": ({"fc.weight_scale_inv": torch.ones(2, 3)}, BLOCKS, "weight_scale_inv beside"),
    "another method": ({"fc.weight_scale": torch.ones(1)}, {"quant_method": "new"}, "weight_scale beside"),
    "scale of another type": ({"fc.weight_scale": torch.ones(300, 1).to(FP8)}, None, "weight_scale beside"),
    "integer scale": ({"fc.weight_scale": torch.ones(300, 1, dtype=torch.uint8)}, None, "weight_scale beside"),
    "scale in a file that was not given": ({}, BLOCKS, "scales are not in the files read"),
}


@pytest.mark.parametrize("label", DOUBTFUL)
def test_what_is_not_understood_is_refused(tmp_path: Path, label: str) -> None:
    companions, quantization, reason = DOUBTFUL[label]
    inventory = of_files(tmp_path, {"fc.weight": _codes(*SHAPE), **companions}, _about(quantization))
    (weight,) = inventory.weights
    (row,) = analyze_weight(weight, OPTIONS)
    assert row.status == "unsupported"
    assert reason in row.reason and row.reason.startswith("quantized: float8_e4m3fn codes")


def test_a_tied_head_is_decoded_too(tmp_path: Path) -> None:
    codes, scale = _codes(64, 32), torch.rand(64, 1) + 0.1
    tensors = {"model.embed_tokens.weight": codes, "model.embed_tokens.weight_scale": scale}
    config = {**_about(BY_ROW), "architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    head = only(of_files(tmp_path, tensors, config))
    assert head.layer_name == "lm_head" and torch.equal(head.rows(0, 64), codes.float() * scale)


def test_decoded_weights_of_a_live_model_cannot_be_written() -> None:
    model = ModelOf({"fc.weight": _codes(64, 32), "fc.weight_scale": torch.ones(64, 1)}, _about(BY_ROW))
    assert len(module_inventory(model, OPTIONS).weights) == 1 and matrices(model) == {}


def test_block_sizes_that_are_no_numbers_are_not_understood(tmp_path: Path) -> None:
    tensors = {"fc.weight": _codes(4, 4), "fc.weight_scale_inv": torch.ones(4, 4)}
    weight = only(of_files(tmp_path, tensors, _about({"quant_method": "fp8", "weight_block_size": [True, True]})))
    assert "codes with weight_scale_inv" in weight.unsupported


# A scale by any of its names, with what the model says of itself: which numbers it stands for.
ROW = torch.rand(300, 1, generator=torch.Generator().manual_seed(1)) + 0.1
GRID = ROW[:6].reshape(3, 2)
PER_WEIGHT = _blocks(GRID, 128, 128, SHAPE)
EXPONENTS = torch.randint(120, 130, (3, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
POWERS = _blocks((EXPONENTS.double() - 127).exp2(), 128, 128, SHAPE)
HALF = torch.tensor([0.3]).half()
NAMES: dict[str, tuple[str, Tensor, dict[str, Any] | None, Tensor]] = {
    "DeepSeek-V3, no config": ("weight_scale_inv", GRID, None, PER_WEIGHT),
    "DeepSeek-V4": ("scale", EXPONENTS.view(torch.float8_e8m0fnu), BLOCKS, POWERS),
    "Mistral": ("qscale_weight", ROW.bfloat16(), None, ROW.bfloat16().float().expand(SHAPE)),
    "ComfyUI": ("scale_weight", torch.tensor(0.3), None, torch.tensor(0.3).expand(SHAPE)),
    "ModelOpt": ("weight_scale", HALF, {"quant_method": "modelopt"}, HALF.float().expand(SHAPE)),
    "ModelOpt's blocks": ("weight_scale", GRID.reshape(3, 1, 2, 1), None, PER_WEIGHT),
    "Quark": ("weight_scale", ROW[:, 0].clone(), {"quant_method": "quark"}, ROW.expand(SHAPE)),
    "per row beside blocks": ("weight_scale", ROW, BLOCKS, ROW.expand(SHAPE)),
    "groups": ("weight_scale", ROW.repeat(1, 7), None, ROW.expand(SHAPE)),
}


@pytest.mark.parametrize("label", NAMES)
def test_a_scale_has_many_names(tmp_path: Path, label: str) -> None:
    name, scale, quantization, per_weight = NAMES[label]
    tensors = {"fc.weight": _codes(*SHAPE), f"fc.{name}": scale, "fc.qscale_act": torch.ones(1)}
    inventory = of_files(tmp_path, tensors, _about(quantization))
    assert_decoded(inventory, {"fc": tensors["fc.weight"].float() * per_weight})
    assert reasons(inventory)[f"fc.{name}"] == "scales of fc"


@pytest.mark.parametrize("dtype", [torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz, torch.int8])
@pytest.mark.parametrize("source", SOURCES)
def test_codes_have_several_types(tmp_path: Path, source: Source, dtype: torch.dtype) -> None:
    codes = (noise(*SHAPE) * 30).to(dtype)
    assert_decoded(source(tmp_path, {"fc.weight": codes, "fc.weight_scale": ROW}, {}), {"fc": codes.float() * ROW})


def test_modelopt_says_its_method_in_a_file_of_its_own(tmp_path: Path) -> None:
    codes = _codes(64, 32)
    folder = write_folder(tmp_path, {"fc.weight": codes}, {})
    (folder / "hf_quant_config.json").write_text('{"quantization": {"quant_algo": "FP8"}}')
    assert "not in the files read" in only(open_checkpoint(folder).inventory(OPTIONS)).unsupported


GATE_UP = "model.layers.0.mlp.experts.gate_up_proj"
EXPERTS: dict[str, tuple[str, Tensor, dict[str, Any], tuple[int, int]]] = {
    "transformers": ("_scale_inv", torch.rand(2, 4, 2) + 0.1, BLOCKS, (128, 128)),
    "a tensor each": ("_weight_scale", torch.rand(2) + 0.1, {"quant_method": "modelopt"}, (512, 256)),
    "one for all": ("_weight_scale", torch.rand(1) + 0.1, {"quant_method": "modelopt"}, (512, 256)),
    "gate and up each": (
        "_scale_inv",
        torch.rand(2, 2, 1) + 0.1,
        {**BLOCKS, "weight_block_size": [512, 512]},
        (256, 256),
    ),
    "fbgemm": ("_scale", torch.rand(2, 1, 256) + 0.1, {"quant_method": "fbgemm_fp8"}, (512, 1)),
    "rows": ("_weight_scale", torch.rand(2, 512, 1) + 0.1, {}, (1, 256)),
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("label", EXPERTS)
def test_experts_in_three_dimensions(tmp_path: Path, source: Source, label: str) -> None:
    name, scale, quantization, (rows, columns) = EXPERTS[label]
    codes = _codes(1024, 256).reshape(2, 512, 256)
    tensors = {GATE_UP: codes, f"{GATE_UP}{name}": scale, f"{GATE_UP}_bias": torch.ones(2, 512)}
    inventory = source(tmp_path, tensors, {**_about(quantization), "moe_intermediate_size": 256})
    expected = {}
    for index in range(2):
        one = scale.expand(2, *scale.shape[1:])[index].reshape(-(-512 // rows), -(-256 // columns))
        matrix = codes[index].float() * _blocks(one, rows, columns, (512, 256))
        prefix = f"model.layers.0.mlp.experts.{index}"
        expected |= {f"{prefix}.gate_proj": matrix[:256], f"{prefix}.up_proj": matrix[256:]}
    assert_decoded(inventory, expected)
    assert reasons(inventory)[f"{GATE_UP}{name}"] == f"scales of {GATE_UP}"


def test_a_block_that_would_reach_from_gate_into_up_is_refused(tmp_path: Path) -> None:
    tensors = {GATE_UP: _codes(2 * 192, 64).reshape(2, 192, 64), f"{GATE_UP}_scale_inv": torch.ones(2, 2, 1)}
    inventory = of_files(tmp_path, tensors, _about(BLOCKS))
    assert only(inventory).unsupported.startswith("quantized: float8_e4m3fn codes with gate_up_proj_scale_inv beside")
    assert reasons(inventory)[f"{GATE_UP}_scale_inv"] == f"scales of {GATE_UP}"


def test_a_scale_that_is_no_number_becomes_a_status(tmp_path: Path) -> None:
    tensors = {"fc.weight": _codes(64, 32), "fc.weight_scale": torch.full((64, 1), torch.nan)}
    (row,) = analyze_weight(only(of_files(tmp_path, tensors, {})), OPTIONS)
    assert row.status == "non_finite"


@pytest.mark.parametrize(("said", "read"), [({"format": "float8_e4m3fn"}, True), ({"format": "int8_rotated"}, False)])
def test_what_comfyui_says_in_the_texts_of_a_file_is_heeded(tmp_path: Path, said: dict[str, str], read: bool) -> None:
    text = json.dumps({"format_version": "1.0", "layers": {"fc": said}})
    tensors = {"fc.weight": _codes(64, 32), "fc.weight_scale": torch.tensor(0.5)}
    save_file(tensors, tmp_path / "model.safetensors", metadata={"_quantization_metadata": text})
    assert bool(only(open_checkpoint(tmp_path).inventory(OPTIONS)).unsupported) is not read


def test_texts_that_are_nested_without_end_refuse_the_layer(tmp_path: Path) -> None:
    tensors = {"fc.weight": _codes(*SHAPE), "fc.weight_scale": torch.ones(1)}
    deep = {"_quantization_metadata": '{"a":' * 30_000}
    save_file(tensors, tmp_path / "model.safetensors", metadata=deep)
    assert "weight_scale beside them" in only(open_checkpoint(tmp_path).inventory(OPTIONS)).unsupported
    tensors["fc.comfy_quant"] = torch.full((60_000,), ord("["), dtype=torch.uint8)
    save_file(tensors, tmp_path / "model.safetensors")
    assert "comfy_quant" in only(open_checkpoint(tmp_path).inventory(OPTIONS)).unsupported
