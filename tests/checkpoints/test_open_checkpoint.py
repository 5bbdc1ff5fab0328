"""Every way a checkpoint can be damaged is named before any weight is read."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.checkpoints.fingerprint import fingerprint
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import CheckpointError
from alpha_callbacks.options import AnalysisOptions
from tests.conftest import noise

OPTIONS = AnalysisOptions(precisions=("fp32",))
Maker = Callable[..., Path]


def block(i: int, size: int = 24) -> dict[str, torch.Tensor]:
    return {
        f"model.layers.{i}.mlp.down_proj.weight": noise(size, 2 * size, seed=i),
        f"model.layers.{i}.self_attn.q_proj.weight": noise(size, size, seed=i + 50),
        f"model.layers.{i}.input_layernorm.weight": torch.ones(size),
    }


def layer_names(folder: Path) -> list[str]:
    return [weight.layer_name for weight in open_checkpoint(folder).inventory(OPTIONS).weights]


def test_order_is_that_of_the_model_not_of_the_shards(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint(block(10) | {"lm_head.weight": noise(30, 24)}, block(2))
    assert [name.removeprefix("model.layers.") for name in layer_names(folder)] == [
        "2.self_attn.q_proj",
        "2.mlp.down_proj",
        "10.self_attn.q_proj",
        "10.mlp.down_proj",
        "lm_head",
    ]


def test_rows_are_read_as_stored(tiny_checkpoint: Maker) -> None:
    tensors = block(0)
    (q, _) = open_checkpoint(tiny_checkpoint(tensors)).inventory(OPTIONS).weights
    torch.testing.assert_close(q.rows(3, 7), tensors["model.layers.0.self_attn.q_proj.weight"][3:7])


def test_one_file_is_a_checkpoint(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint(block(0))
    assert len(layer_names(folder / "model-00001-of-00001.safetensors")) == 2


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone: expected a checkpoint file or folder, found nothing"):
        open_checkpoint(tmp_path / "gone")
    with pytest.raises(CheckpointError, match="expected a file of weights"):
        open_checkpoint(tmp_path)


def test_missing_shard(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint(block(0), block(1))
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.safetensors: expected this shard"):
        open_checkpoint(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(CheckpointError, match="expected 2 shards, found 1"):
        open_checkpoint(folder)


def test_truncated_shard(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint(block(0), block(1))
    file = folder / "model-00002-of-00002.safetensors"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002.safetensors: expected a whole safetensors file"):
        open_checkpoint(folder)


@pytest.mark.parametrize("content", [b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!", b"\xff" * 64])
def test_corrupt_header(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.safetensors: expected a whole safetensors file"):
        open_checkpoint(tmp_path)


def test_header_with_a_wrong_size(tmp_path: Path) -> None:
    header = json.dumps({"a.weight": {"dtype": "F32", "shape": [4, 4], "data_offsets": [0, 32]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(32))
    with pytest.raises(CheckpointError, match="expected a whole safetensors file"):
        open_checkpoint(tmp_path)


def test_unknown_dtype_is_an_error_before_the_run(tmp_path: Path) -> None:
    header = json.dumps({"a.weight": {"dtype": "F12", "shape": [4, 4], "data_offsets": [0, 64]}}).encode()
    (tmp_path / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(64))
    with pytest.raises(CheckpointError, match=r"model.safetensors: expected a whole safetensors file"):
        open_checkpoint(tmp_path)


def test_same_name_in_two_shards(tiny_checkpoint: Maker) -> None:
    with pytest.raises(
        CheckpointError, match=r"expected each tensor once, got 'model.layers.0.*in model-00001-of-00002"
    ):
        open_checkpoint(tiny_checkpoint(block(0) | {"only.here.weight": noise(4, 4)}, block(0)))


def test_index_that_promises_too_much(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint(block(0))
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["model.layers.7.mlp.up_proj.weight"] = "model-00001-of-00001.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=r"expected 'model.layers.7.mlp.up_proj.weight' in model-00001"):
        open_checkpoint(folder)


def test_same_layer_under_two_names(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint({"a.weight": noise(9, 9), "_orig_mod.a.weight": noise(9, 9)})
    inventory = open_checkpoint(folder).inventory(AnalysisOptions())
    assert sorted(weight.layer_name for weight in inventory.weights) == ["_orig_mod.a", "a"]
    assert "under their own path" in inventory.notes[0]


@pytest.mark.parametrize(
    ("index", "message"),
    [
        ("not json", "expected JSON with a weight_map"),
        ("{}", "expected JSON with a weight_map"),
        ('{"weight_map": {"a": "x.safetensors", "a": "y.safetensors"}}', "the key 'a' twice"),
        ('{"weight_map": {"a": "../../etc/passwd"}}', "leaves the folder"),
        ('{"weight_map": {"a": "/etc/passwd"}}', "leaves the folder"),
        ('{"weight_map": {"a": ".."}}', "leaves the folder"),
        ('{"weight_map": ["a"]}', "expected JSON with a weight_map"),
    ],
)
def test_bad_index(tmp_path: Path, index: str, message: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(tmp_path)


def test_several_unrelated_files(tmp_path: Path) -> None:
    save_file(block(0), tmp_path / "a.safetensors")
    save_file(block(1), tmp_path / "b.safetensors")
    with pytest.raises(CheckpointError, match="expected one checkpoint, found several"):
        open_checkpoint(tmp_path)
    assert len(layer_names(tmp_path / "a.safetensors")) == 2


def test_bad_config(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint(block(0))
    (folder / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config.json: expected JSON"):
        open_checkpoint(folder)


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "model.weights").write_bytes(b"\x00\x01\x02")
    with pytest.raises(CheckpointError, match=r"expected one of .safetensors.*got '.weights'"):
        open_checkpoint(tmp_path / "model.weights")


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state, "epoch": 3}])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "last.ckpt", "model.pt"])
def test_torch_files(tmp_path: Path, name: str, wrap: Callable[[dict[str, torch.Tensor]], object]) -> None:
    torch.save(wrap(block(0)), tmp_path / name)
    torch.save({"lr": 1}, tmp_path / "training_args.bin")
    assert len(layer_names(tmp_path)) == 2
    assert len(layer_names(tmp_path / name)) == 2


def test_torch_files_of_the_old_format(tmp_path: Path) -> None:
    torch.save(block(0), tmp_path / "model.pt", _use_new_zipfile_serialization=False)
    assert len(layer_names(tmp_path)) == 2


def test_torch_files_know_ties(tmp_path: Path) -> None:
    table = noise(40, 24)
    torch.save({"model.embed_tokens.weight": table, "lm_head.weight": table}, tmp_path / "pytorch_model.bin")
    inventory = open_checkpoint(tmp_path).inventory(OPTIONS)
    assert [(w.layer_name, w.tied_to) for w in inventory.weights] == [("lm_head", "model.embed_tokens")]


@pytest.mark.parametrize("content", [b"", b"garbage" * 30])
def test_damaged_torch_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model.pt: expected"):
        open_checkpoint(tmp_path)


def test_torch_file_without_tensors(tmp_path: Path) -> None:
    torch.save({"epoch": 1}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="expected a dict of tensors, got .* its entries are epoch"):
        open_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"a.weight": torch.zeros(4, 4, dtype=torch.uint8), "a.weight.absmax": torch.ones(4)}, "codes"),
        ({"a.qweight": torch.zeros(4, 4, dtype=torch.int32)}, "codes, which are not weights"),
        (
            {"a.weight": torch.zeros(4, 4).to(torch.float8_e4m3fn), "a.weight_scale_inv": torch.ones(3, 3)},
            "weight_scale_inv",
        ),
        ({"a.weight": torch.zeros(4, 4, dtype=torch.int8), "a.SCB": torch.ones(5)}, "SCB"),
    ],
)
def test_quantized_storage_is_unsupported_never_decomposed(
    tiny_checkpoint: Maker, tensors: dict[str, torch.Tensor], reason: str
) -> None:
    (weight,) = open_checkpoint(tiny_checkpoint(tensors)).inventory(OPTIONS).weights
    (row,) = analyze_weight(weight, OPTIONS)
    assert row.status == "unsupported"
    assert reason in row.reason


def test_plain_fp8_weights_are_numbers(tiny_checkpoint: Maker) -> None:
    w = noise(40, 30).to(torch.float8_e4m3fn)
    (weight,) = open_checkpoint(tiny_checkpoint({"a.weight": w})).inventory(OPTIONS).weights
    rows = analyze_weight(weight, AnalysisOptions(precisions=("fp32", "fp16", "bf16")))
    assert [(r.status, r.method) for r in rows] == [("ok", "lossless")] * 3
    evals = torch.linalg.svdvals(w.double()) ** 2
    assert rows[0].alpha == pytest.approx(1 + 10 / float(torch.log(evals[:10] / evals[10]).sum()), rel=1e-10)


def test_packed_experts_are_one_unsupported_row(tiny_checkpoint: Maker) -> None:
    codes = torch.zeros(2, 8, 2, 12, dtype=torch.uint8)  # no layout has groups of 24
    name = "model.layers.0.mlp.experts.gate_up_proj"
    folder = tiny_checkpoint({f"{name}_blocks": codes, f"{name}_scales": codes[..., 0].clone()})
    inventory = open_checkpoint(folder).inventory(OPTIONS)
    assert [(w.layer_name, bool(w.unsupported)) for w in inventory.weights] == [(name, True)]
    assert "codes, scales or indices" in inventory.skipped[0].reason


def test_experts_in_three_dimensions_are_no_convolution(tiny_checkpoint: Maker) -> None:
    config: dict[str, object] = {"hidden_size": 12, "intermediate_size": 10}
    tensors = {
        "model.layers.0.block_sparse_moe.input_linear.weight": torch.randn(3, 20, 12),
        "model.layers.0.block_sparse_moe.output_linear.weight": torch.randn(3, 12, 10),
    }
    weights = open_checkpoint(tiny_checkpoint(tensors, config=config)).inventory(OPTIONS).weights
    assert {(w.category, w.out_features, w.in_features) for w in weights} == {
        ("moe_expert_gate", 10, 12),
        ("moe_expert_up", 10, 12),
        ("moe_expert_down", 12, 10),
    }
    assert len(weights) == 9


@pytest.mark.parametrize("model_type", ["codegen", "moshi", "some_new_model"])
def test_unknown_layouts_of_fused_attention_are_left_whole(tiny_checkpoint: Maker, model_type: str) -> None:
    config: dict[str, object] = {"model_type": model_type, "hidden_size": 24, "num_attention_heads": 4}
    folder = tiny_checkpoint({"h.0.attn.qkv_proj.weight": noise(72, 24)}, config=config)
    assert [(w.category, w.out_features) for w in open_checkpoint(folder).inventory(OPTIONS).weights] == [
        ("attn_qkv", 72)
    ]


CAUSAL: dict[str, object] = {"architectures": ["LlamaForCausalLM"]}


def test_a_tied_head_is_a_row_only_where_it_is_tied(tiny_checkpoint: Maker) -> None:
    table = {"model.embed_tokens.weight": noise(40, 24)}

    def heads(config: dict[str, object], name: str, *shards: dict[str, torch.Tensor], file: str = "") -> list[str]:
        return [n for n in layer_names(tiny_checkpoint(*shards, config=config, name=name) / file) if n == "lm_head"]

    assert heads(CAUSAL, "a", block(0) | table) == ["lm_head"]
    assert heads(CAUSAL | {"tie_word_embeddings": False}, "b", block(0) | table) == []
    assert heads({"architectures": ["LlamaModel"]}, "c", block(0) | table) == []
    assert heads(CAUSAL, "d", block(0) | table, block(1), file="model-00001-of-00002.safetensors") == ["lm_head"]
    one_of_two = tiny_checkpoint(block(0) | table, block(1), config=CAUSAL, name="e")
    (one_of_two / "model-00002-of-00002.safetensors").unlink()  # it may hold the head
    assert "lm_head" not in layer_names(one_of_two / "model-00001-of-00002.safetensors")


def test_matrices_that_no_rule_knows_are_marked(tiny_checkpoint: Maker, tmp_path: Path) -> None:
    from alpha_callbacks.tables.results_csv import COVERAGE, write_coverage
    from alpha_callbacks.tables.results_folder import ResultsFolder

    folder = tiny_checkpoint(block(0) | {"model.layers.0.mystery": noise(9, 9)})
    write_coverage(open_checkpoint(folder).inventory(OPTIONS), tmp_path / COVERAGE)
    coverage = ResultsFolder(tmp_path).coverage
    assert coverage and coverage.counts == {"analysed": 2, "skipped": 1, "unknown": 1}


def test_fingerprint_sees_one_small_matrix_in_a_large_file(tmp_path: Path) -> None:
    tensors = {f"layers.{i}.fc1.weight": noise(1024, 1024, seed=i) for i in range(10)} | {"small.weight": noise(64, 64)}
    save_file(tensors, tmp_path / "model.safetensors")
    before = fingerprint(open_checkpoint(tmp_path))
    save_file(tensors | {"small.weight": noise(64, 64, seed=9)}, tmp_path / "model.safetensors")
    assert fingerprint(open_checkpoint(tmp_path)) != before


def test_sparse_tensors_are_unsupported(tmp_path: Path) -> None:
    torch.save({"a.weight": noise(8, 8), "b.weight": noise(8, 8).to_sparse()}, tmp_path / "model.pt")
    weights = open_checkpoint(tmp_path).inventory(OPTIONS).weights
    assert [(w.layer_name, bool(w.unsupported)) for w in weights] == [("a", False), ("b", True)]


def test_lora_factors_are_no_weights(tiny_checkpoint: Maker) -> None:
    folder = tiny_checkpoint({"a.base_layer.weight": noise(9, 9), "a.lora_A.weight": noise(2, 9)})
    inventory = open_checkpoint(folder).inventory(OPTIONS)
    assert [w.layer_name for w in inventory.weights] == ["a"]
    assert "adapter" in inventory.skipped[0].reason


def test_fingerprint_sees_a_change_of_four_megabytes_in_a_large_file(tmp_path: Path) -> None:
    tensors = {f"layers.{i}.fc1.weight": noise(1024, 1024, seed=i) for i in range(70)}  # 4 MiB each
    save_file(tensors, tmp_path / "model.safetensors")
    before = fingerprint(open_checkpoint(tmp_path))
    tensors["layers.37.fc1.weight"] *= 1.01
    save_file(tensors, tmp_path / "model.safetensors")
    assert fingerprint(open_checkpoint(tmp_path)) != before


def test_fingerprint_sees_a_change_of_one_weight_matrix(tiny_checkpoint: Maker) -> None:
    one, two = block(0), block(0)
    two["model.layers.0.mlp.down_proj.weight"] = two["model.layers.0.mlp.down_proj.weight"] * 1.01
    a = fingerprint(open_checkpoint(tiny_checkpoint(one, name="a")))
    b = fingerprint(open_checkpoint(tiny_checkpoint(two, name="b")))
    same = fingerprint(open_checkpoint(tiny_checkpoint(one, name="c")))
    assert a == same != b


@pytest.mark.parametrize("content", [b"", b"abc", b"\x80\x02.", b"\x80\x04]q\x00", b"PK\x03\x04 no zip"])
def test_a_damaged_torch_file_is_one_clear_error(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "x.pt"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"x\.pt: expected .*, (got|but) .+") as caught:
        open_checkpoint(file)
    assert "\n" not in str(caught.value)
