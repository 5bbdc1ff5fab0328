from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from alpha_integrations import ggml_rounding

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.evaluation.input_moments import input_squares
from alpha_callbacks.evaluation.language_model import load_language_model
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.write_model import Rounding, write_model
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.layer_names import block_index
from tests.conftest import REPOSITORY
from tests.support.gguf_files import write_gguf
from tests.support.plan_examples import plan_of
from tests.support.tiny_gguf import write_tiny_gguf

gguf = pytest.importorskip("gguf")

KINDS = gguf.GGMLQuantizationType
NAMES = ("token_embd", "blk.0.attn_q", "blk.0.ffn_up", "blk.1.attn_q", "blk.1.ffn_up")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_embedding_length(64)
    writer.add_token_list(["a", "b", "é"])
    writer.add_token_scores([0.5, -1.0, 2.0])
    writer.add_bool("some.flag", True)
    writer.add_array("some.counts", [1, 2, 3])
    writer.add_string("general.file_type.note", "kept")
    random = np.random.default_rng(0)
    for name in NAMES:
        kind = KINDS.Q8_0 if name == "blk.1.ffn_up" else KINDS.F32
        weight = random.standard_normal((96, 64)).astype(np.float32)
        writer.add_tensor(f"{name}.weight", gguf.quants.quantize(weight, kind), raw_dtype=kind)
    writer.add_tensor("output_norm.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def plan(**precisions: str) -> Plan:
    return plan_of({name.replace("__", "."): precision for name, precision in precisions.items()}, rows=96)


def tensors(path: Path) -> dict[str, Any]:
    return {str(tensor.name).removesuffix(".weight"): tensor for tensor in gguf.GGUFReader(str(path)).tensors}


def values(tensor: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(gguf.dequantize(tensor.data, tensor.tensor_type), dtype=np.float32))


PLAN = {
    "blk__0__attn_q": "gguf:q4_0",
    "blk__0__ffn_up": "bf16",
    "blk__1__attn_q": "gguf:mxfp4",
    "blk__1__ffn_up": "fp16",
}


def test_the_plan_is_in_the_file(source: Path, tmp_path: Path) -> None:
    write_model(source, plan(**PLAN), tmp_path / "out", "gguf")
    before, after = tensors(source), tensors(tmp_path / "out" / "model.gguf")
    assert {name: tensor.tensor_type.name for name, tensor in after.items()} == {
        "token_embd": "F32", "blk.0.attn_q": "Q4_0", "blk.0.ffn_up": "BF16", "blk.1.attn_q": "MXFP4",
        "blk.1.ffn_up": "F16", "output_norm": "F32",
    }  # fmt: skip
    for choice in plan(**PLAN).choices:
        weight = values(before[choice.layer_name])
        expected = choice.format.round_trip(weight, float(weight.abs().max())).float()
        assert torch.equal(values(after[choice.layer_name]), expected)
    for name in ("token_embd", "output_norm"):
        assert before[name].data.tobytes() == after[name].data.tobytes()


def test_types_of_ggml_itself(source: Path, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    write_model(source, plan(blk__0__ffn_up="gguf:iq4_nl"), tmp_path / "out", "gguf")
    before, after = tensors(source)["blk.0.ffn_up"], tensors(tmp_path / "out" / "model.gguf")["blk.0.ffn_up"]
    weight = values(before)
    assert after.tensor_type is KINDS.IQ4_NL
    assert torch.equal(values(after), get_precision("gguf:iq4_nl").round_trip(weight, 1.0))


def test_weights_that_ggml_cannot_be_given(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("xllamacpp")
    monkeypatch.setattr(ggml_rounding, "_LARGEST", 0.5)
    with pytest.raises(PlanError, match=r"blk\.0\.ffn_up\.weight: expected finite weights below 1e10 for IQ4_NL"):
        write_model(source, plan(blk__0__ffn_up="gguf:iq4_nl"), tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["gguf:q8_0", "gguf:q4_0", "gguf:iq4_nl", "fp16"])
def test_weights_that_become_infinite(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("xllamacpp")
    source = tmp_path / "large.gguf"
    writer = gguf.GGUFWriter(source, "llama")
    writer.add_tensor("blk.0.ffn_up.weight", np.full((96, 64), 1e9, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PlanError, match=r"blk\.0\.ffn_up\.weight: expected weights that \w+ holds, .* up to 1e\+09"):
        write_model(source, plan(blk__0__ffn_up=kind), tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


def test_an_importance_matrix(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("xllamacpp")
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    kinds = {"blk.0.attn_q": "gguf_iq4_nl", "blk.0.ffn_down": "gguf_q4_0", "blk.1.attn_v": "bf16"}
    layers = layers_of(open_checkpoint(source).inventory(AnalysisOptions()).weights)
    mixed = Plan(tuple(replace(c, precision=kinds.get(c.layer_name, "fp32")) for c in layers))
    way = Rounding("imatrix", REPOSITORY / "LICENSE", 128)
    notes = write_model(source, mixed, tmp_path / "out", "gguf", rounding=way)
    assert notes[0].startswith("2 tensors are rounded by the mean squares of their inputs on 128 tokens of ")
    loaded = load_language_model(source, dtype="fp32")
    named = {"blk.0.attn_q": "model.layers.0.self_attn.q_proj", "blk.0.ffn_down": "model.layers.0.mlp.down_proj"}
    linear = {name: loaded.model.get_submodule(path) for name, path in named.items()}
    squares = input_squares(loaded.model, linear, loaded.windows(way.calibration, tokens=128))
    before, after = tensors(source), tensors(tmp_path / "out" / "model.gguf")
    for name, counts in squares.items():
        kind = KINDS[kinds[name].removeprefix("gguf_").upper()]
        weight = gguf.dequantize(before[name].data, before[name].tensor_type)
        by_inputs = ggml_rounding.rounded(weight, kind, counts.numpy())
        assert after[name].tensor_type is kind and np.array_equal(after[name].data, by_inputs)
        assert not np.array_equal(by_inputs, ggml_rounding.rounded(weight, kind))
    assert after["blk.1.attn_v"].tensor_type is KINDS.BF16
    with pytest.raises(PlanError, match="gguf: expected another --rounding than gptq: it has nearest and imatrix"):
        write_model(source, mixed, tmp_path / "more", "gguf", rounding=replace(way, method="gptq"))


def test_what_has_its_type_already_is_copied(source: Path, tmp_path: Path) -> None:
    write_model(source, plan(blk__1__ffn_up="gguf:q8_0"), tmp_path / "out", "gguf")
    before, after = tensors(source)["blk.1.ffn_up"], tensors(tmp_path / "out" / "model.gguf")["blk.1.ffn_up"]
    assert before.data.tobytes() == after.data.tobytes()


def test_fields_are_copied(source: Path, tmp_path: Path) -> None:
    write_model(source, plan(**PLAN), tmp_path / "out", "gguf")
    fields = gguf.GGUFReader(str(tmp_path / "out" / "model.gguf")).fields
    found = {name: field.contents() for name, field in fields.items() if not name.startswith("GGUF.")}
    assert found == {
        "general.architecture": "llama", "llama.embedding_length": 64, "tokenizer.ggml.tokens": ["a", "b", "é"],
        "tokenizer.ggml.scores": [0.5, -1.0, 2.0], "some.flag": True, "some.counts": [1, 2, 3],
        "general.file_type.note": "kept",
        "general.file_type": 1024, "general.quantization_version": gguf.GGML_QUANT_VERSION,
    }  # fmt: skip


def test_a_head_that_is_the_embedding(source: Path, tmp_path: Path) -> None:
    made = plan(output="bf16", blk__0__ffn_up="gguf:q8_0")
    head = replace(made.choices[0], tied_to="token_embd")
    write_model(source, Plan((head, made.choices[1])), tmp_path / "out", "gguf")
    after = tensors(tmp_path / "out" / "model.gguf")
    assert after["token_embd"].tensor_type is KINDS.BF16 and "output" not in after


def test_notes(source: Path, tmp_path: Path) -> None:
    notes = write_model(source, plan(blk__1__ffn_up="fp16", blk__0__ffn_up="mxfp4:floor"), tmp_path / "a", "gguf")
    assert (
        notes[0].startswith("The source held Q8_0: that quantization error stays") and "ties towards zero" in notes[1]
    )
    assert write_model(source, plan(blk__0__ffn_up="gguf:q8_0"), tmp_path / "b", "gguf") == ()


def test_mxfp4_differs_from_the_floor_rule_in_ties_only(source: Path, tmp_path: Path) -> None:
    write_model(source, plan(blk__0__ffn_up="mxfp4:floor"), tmp_path / "out", "gguf")
    weight = values(tensors(source)["blk.0.ffn_up"])
    ours = get_precision("mxfp4:floor").round_trip(weight, float(weight.abs().max())).float()
    assert torch.equal(values(tensors(tmp_path / "out" / "model.gguf")["blk.0.ffn_up"]), ours)  # fp32 noise has no ties


def test_a_folder_with_one_file(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(
        PlanError,
        match=r"folder: expected a \.gguf file, got none\. .*convert_hf_to_gguf\.py .*folder .*scan model\.gguf",
    ):
        write_model(folder, plan(**PLAN), tmp_path / "out", "gguf")
    source.rename(folder / "m.gguf")
    write_model(folder, plan(**PLAN), tmp_path / "out", "gguf")
    (folder / "n.gguf").touch()
    with pytest.raises(PlanError, match=r"folder: expected one \.gguf file, got 2"):
        write_model(folder, plan(**PLAN), tmp_path / "more", "gguf")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (plan(blk__7__ffn_up="gguf:q8_0"), r"blk\.7\.ffn_up\.weight: expected a tensor of the file, found none"),
        (plan_of({"blk.0.ffn_up": "bf16"}, columns=128), r"blk\.0\.ffn_up\.weight: expected 128 columns .*, got 64"),
        (plan(blk__0__ffn_up="int8"), r"gguf: cannot hold int8"),
    ],
)
def test_refusals(wrong: Plan, message: str, source: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=message):
        write_model(source, wrong, tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


def test_weights_too_small_for_their_scales_are_counted(source: Path, tmp_path: Path) -> None:
    reader = tensors(source)
    small = tmp_path / "small.gguf"
    writer = gguf.GGUFWriter(small, "llama")
    writer.add_embedding_length(64)
    for name, tensor in reader.items():
        weight = values(tensor).numpy()
        if name == "blk.0.attn_q":
            weight[3, :32] *= 1e-9  # a block: its scale is below what fp16 holds
            weight[4, 5] = 0
            weight[3, 7] = 0
        if name == "blk.0.ffn_up":
            weight[0, 0], weight[0, 1] = 1e-9, 0.0
        writer.add_tensor(f"{name}.weight", weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    (note,) = write_model(small, plan(blk__0__attn_q="gguf_q4_0", blk__0__ffn_up="fp16"), tmp_path / "out", "gguf")
    assert note.startswith("32 weights of 2 tensors are so small that they became 0 in the file")
    after = {name: values(tensor) for name, tensor in tensors(tmp_path / "out" / "model.gguf").items()}
    assert not after["blk.0.attn_q"][3, :32].any() and after["blk.0.ffn_up"][0, 0] == 0


def test_a_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(PlanError, match=r"m\.gguf: expected a whole GGUF file"):
        write_model(tmp_path / "m.gguf", plan(**PLAN), tmp_path / "out", "gguf")


def test_numbers_with_the_highest_byte_first(tmp_path: Path) -> None:
    source = write_gguf(tmp_path / "m.gguf", {"blk.0.ffn_up.weight": np.ones((96, 64), np.float32)}, big_endian=True)
    with pytest.raises(PlanError, match=r"m\.gguf: expected the lowest byte first, got the highest first"):
        write_model(source, plan(blk__0__ffn_up="gguf_q8_0"), tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


def test_a_file_that_ends_early(source: Path, tmp_path: Path) -> None:
    source.write_bytes(source.read_bytes()[:-100])
    with pytest.raises(PlanError, match=r"expected a whole GGUF file, got \d+ of 256 bytes of output_norm\.weight"):
        write_model(source, plan(**PLAN), tmp_path / "out", "gguf")


def test_one_of_several_files_is_no_model(tmp_path: Path) -> None:
    part = tmp_path / "model-00001-of-00002.gguf"
    writer = gguf.GGUFWriter(part, "llama")
    for key, value in (("split.no", 0), ("split.count", 2)):
        writer.add_uint16(key, value)
    writer.add_tensor("blk.0.ffn_up.weight", np.ones((96, 64), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(PlanError, match="expected a whole model, got one of the 2 files that it was split into"):
        write_model(part, plan(blk__0__ffn_up="gguf_q8_0"), tmp_path / "out", "gguf")
    assert not (tmp_path / "out").exists()


@pytest.mark.real
def test_llama_cpp_runs_a_mix(smollm2: Path, tmp_path: Path) -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    weights = open_checkpoint(smollm2).inventory(AnalysisOptions()).weights
    mix = dict(enumerate(("gguf_q8_0", "gguf_q5_0", "gguf_q4_0", "mxfp4_floor", "bf16", "gguf_mxfp4", "fp16")))
    wide = dict(enumerate(("gguf_q4_k", "gguf_q6_k", "gguf_iq4_xs", "gguf_q3_k", "gguf_q5_k", "gguf_q2_k")))

    def planned(layer: Choice) -> str:  # of the first blocks, since encoding takes time; 256 divides 1536, not 576
        kinds = wide if layer.category == "mlp_down" else mix
        return "bf16" if layer.tied_to else kinds.get(block_index(layer.layer_name) or 0, "bf16")

    choices = [replace(layer, precision=planned(layer)) for layer in layers_of(weights)]
    write_model(smollm2, Plan(tuple(choices)), tmp_path / "out", "gguf")
    file = tmp_path / "out" / "model.gguf"
    after = {weight.layer_name: weight for weight in open_checkpoint(file).inventory(AnalysisOptions()).weights}
    kinds = {"gguf_mxfp4": "MXFP4", "mxfp4_floor": "MXFP4", "bf16": "BF16", "fp16": "F16"}
    for choice, weight in zip(choices, weights, strict=True):
        tensor = after[choice.layer_name]
        assert tensor.stored_dtype == kinds.get(choice.precision, choice.precision.removeprefix("gguf_").upper())
        if choice.layer_name.endswith("attn_k") and choice.precision != "mxfp4_floor":
            source, rows = (each.rows(0, weight.out_features) for each in (weight, tensor))
            assert torch.equal(rows, choice.format.round_trip(source, float(source.abs().max())).float())
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.n_ctx, parameters.n_parallel, parameters.warmup, parameters.cpuparams.n_threads = 64, 1, False, 1
    server = xllamacpp.Server(parameters)
    answer = server.handle_completions({"prompt": "The capital of France is", "max_tokens": 3, "temperature": 0})
    assert answer["choices"][0]["text"].strip().startswith("Paris")
