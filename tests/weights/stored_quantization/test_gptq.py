from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.errors import CheckpointError
from tests.weights.stored_quantization.matrices import LAYER, of_file, of_module, only, reasons, words

ROWS, COLUMNS = 64, 96


def _stored(
    bits: int, group: int, *, version: int = 1, order: bool = False, middle: bool = False
) -> tuple[dict[str, Tensor], Tensor]:
    """Return the tensors of a layer, and its matrix weight by weight."""
    torch.manual_seed(bits)
    groups = -(-COLUMNS // group)
    codes = torch.randint(0, 2**bits, (ROWS, COLUMNS))
    zeros = torch.randint(1, 2**bits, (groups, ROWS))
    if middle:
        zeros[:] = 2 ** (bits - 1)
    scales = (torch.rand(groups, ROWS) + 0.5).half()
    of_column = torch.arange(COLUMNS) // group
    if order:
        of_column = of_column[torch.randperm(COLUMNS)]
    expected = torch.empty(ROWS, COLUMNS)
    for j in range(COLUMNS):
        g = int(of_column[j])
        expected[:, j] = scales[g].float() * (codes[:, j] - zeros[g])
    tensors = {
        f"{LAYER}.qweight": words(codes, bits).T.contiguous(),
        f"{LAYER}.qzeros": words(zeros - int(version == 1), bits),
        f"{LAYER}.scales": scales,
        f"{LAYER}.bias": torch.ones(ROWS),
    }
    if order:
        tensors[f"{LAYER}.g_idx"] = of_column.int()
    return tensors, expected


def _config(bits: int, group: int, **more: Any) -> dict[str, Any]:
    return {"quantization_config": {"quant_method": "gptq", "bits": bits, "group_size": group, **more}}


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("order", [False, True])
def test_weights_are_decoded(tmp_path: Path, bits: int, order: bool) -> None:
    tensors, expected = _stored(bits, 32, order=order)
    inventory = of_file(tmp_path, tensors, _config(bits, 32))
    weight = only(inventory)
    assert torch.equal(weight.rows(0, ROWS), expected)
    assert (weight.layer_name, weight.out_features, weight.in_features) == (LAYER, ROWS, COLUMNS)
    assert weight.stored_dtype == f"GPTQ {bits}-bit, {'act-order groups' if order else 'group 32'}"
    assert reasons(inventory)["qzeros"] == f"zero points of {LAYER}" and reasons(inventory)["bias"].startswith("1-D")
    assert torch.equal(only(of_module(tensors, _config(bits, 32))).rows(0, ROWS), expected)


@pytest.mark.parametrize(
    ("group", "asked"),
    [(COLUMNS, -1), (40, 40), (32, 128)],
    ids=["one group per row", "a last group that is not full", "another size than the config has for all"],
)
def test_groups_of_any_size(tmp_path: Path, group: int, asked: int) -> None:
    tensors, expected = _stored(4, group)
    assert torch.equal(only(of_file(tmp_path, tensors, _config(4, asked))).rows(0, ROWS), expected)


@pytest.mark.parametrize("key", ["checkpoint_format", "format"])
def test_zero_points_of_the_second_version_are_stored_as_they_are(tmp_path: Path, key: str) -> None:
    tensors, expected = _stored(4, 32, version=2)
    assert torch.equal(only(of_file(tmp_path, tensors, _config(4, 32, **{key: "gptq_v2"}))).rows(0, ROWS), expected)


@pytest.mark.parametrize("said", ["gptq", "gptq_v2"])
@pytest.mark.parametrize("version", [1, 2])
def test_a_symmetric_scheme_is_told_from_its_values(tmp_path: Path, version: int, said: str) -> None:
    """Releases exist whose zero points are of the second version while their config says the first."""
    tensors, expected = _stored(4, 32, version=version, middle=True)
    config = _config(4, 32, checkpoint_format=said, sym=True)
    assert torch.equal(only(of_file(tmp_path, tensors, config)).rows(0, ROWS), expected)


@pytest.mark.parametrize("key", ["packing_format", "backend"])
def test_auto_round_packs_as_gptq(tmp_path: Path, key: str) -> None:
    tensors, expected = _stored(4, 32)
    config = {"quantization_config": {"quant_method": "auto-round", "bits": 4, key: "auto_round:auto_gptq"}}
    assert torch.equal(only(of_file(tmp_path, tensors, config)).rows(0, ROWS), expected)


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({}, "int32 codes with"),
        (_config(4, 32, is_marlin_format=True), "GPTQ for Marlin"),
        (_config(4, 32, checkpoint_format="bitblas"), "bitblas"),
        ({"quantization_config": {"quant_method": "awq"}}, "AWQ"),
    ],
)
def test_codes_in_doubt_are_refused_by_name(tmp_path: Path, config: dict[str, Any], named: str) -> None:
    tensors, _ = _stored(4, 32)
    inventory = of_file(tmp_path, tensors, config)
    (weight,) = inventory.weights
    assert weight.layer_name == LAYER and named in weight.unsupported
    assert reasons(inventory)["scales"].endswith(f"of {LAYER}")


def test_shapes_that_do_not_agree_are_refused(tmp_path: Path) -> None:
    tensors, _ = _stored(4, 32)
    tensors[f"{LAYER}.g_idx"] = torch.zeros(COLUMNS + 8, dtype=torch.int32)
    (weight,) = of_file(tmp_path, tensors, _config(4, 32)).weights
    assert "GPTQ codes" in weight.unsupported


def test_an_index_beyond_the_groups_is_an_error(tmp_path: Path) -> None:
    tensors, _ = _stored(4, 32, order=True)
    tensors[f"{LAYER}.g_idx"][5] = 3
    (weight,) = of_file(tmp_path, tensors, _config(4, 32)).weights
    with pytest.raises(CheckpointError, match=r"g_idx: expected indices of 3 groups, got 0 to 3"):
        weight.rows(0, 4)


def test_only_the_columns_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from alpha_callbacks.checkpoints import safetensors_reader

    read, asked = safetensors_reader._read_columns, []

    def watched(shard: Any, entry: Any, start: int, stop: int) -> Tensor:
        asked.append((entry.name.rpartition(".")[2], start, stop))
        return read(shard, entry, start, stop)

    monkeypatch.setattr(safetensors_reader, "_read_columns", watched)
    tensors, _ = _stored(4, 32)
    (weight,) = of_file(tmp_path, tensors, _config(4, 32)).weights
    weight.rows(8, 12)
    assert asked == [("qweight", 8, 12), ("scales", 8, 12)]


def test_the_config_of_the_quantizer_counts_where_config_json_says_nothing(tmp_path: Path) -> None:
    tensors, expected = _stored(4, 32)
    (tmp_path / "quantize_config.json").write_text('{"bits": 4, "group_size": 32, "desc_act": false}')
    assert torch.equal(only(of_file(tmp_path, tensors, {"model_type": "llama"})).rows(0, ROWS), expected)


def test_a_quantized_head_is_the_head(tmp_path: Path) -> None:
    """No embedding takes its place, as it would where a model has no head of its own."""
    tensors, expected = _stored(4, 32)
    named = {name.replace(LAYER, "lm_head"): tensor for name, tensor in tensors.items()}
    named["model.embed_tokens.weight"] = torch.rand(ROWS, COLUMNS)
    config = {**_config(4, 32), "architectures": ["LlamaForCausalLM"]}
    weight = only(of_file(tmp_path, named, config))
    assert weight.layer_name == "lm_head" and torch.equal(weight.rows(0, ROWS), expected)
