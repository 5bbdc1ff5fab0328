import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import alpha_callbacks
from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.errors import PlanError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Choice, Plan
from alpha_callbacks.planning.write_model import write_model
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.weights.module_weights import module_inventory
from tests.support.plan_examples import plan_of
from tests.support.tiny_gguf import write_tiny_gguf

pytest.importorskip("compressed_tensors")
transformers = pytest.importorskip("transformers")

TINY = Path(alpha_callbacks.__file__).parent / "assets" / "tiny_llama"
IDS = torch.arange(3, 60).reshape(3, 19)
MIX = ("int4", "int8", "fp8", "mxfp4", "nvfp4", "mxfp8", "mxfp6", "bf16", "int3", "fp8:tensor", "int2", "int6:g64")
MIX += ("int8:tensor", "fp8:g32", "int4:channel")
DOWN = "model.layers.1.mlp.down_proj"  # of all, it has columns in multiples of 128


def mixed_plan(path: Path = TINY, formats: tuple[str, ...] = MIX) -> Plan:
    layers = layers_of(open_checkpoint(path).inventory(AnalysisOptions()).weights)
    names = [get_precision(formats[i % len(formats)]).name for i in range(len(layers))]
    choices = tuple(replace(layer, precision=name) for layer, name in zip(layers, names, strict=True))
    return Plan(tuple(replace(c, precision="fp8_e4m3_block128") if c.layer_name == DOWN else c for c in choices))


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(IDS).logits
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return a mixed plan, its folder, the model in memory before it was saved, and the one that is read, run once."""
    out, kept = tmp_path_factory.mktemp("written") / "model", []
    original = transformers.PreTrainedModel.save_pretrained

    def save(self: Any, *args: Any, **kwargs: Any) -> None:
        kept.append(copy.deepcopy(self))
        original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformers.PreTrainedModel, "save_pretrained", save)
        notes = write_model(TINY, mixed_plan(), out, "compressed-tensors")
    from compressed_tensors.compressors import decompress_module

    for module in kept[0].modules():
        decompress_module(module)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
    return {
        "plan": mixed_plan(),
        "out": out,
        "memory": kept[0],
        "loaded": loaded,
        "notes": notes,
        "logits": logits(loaded),
    }


def weights_of(path: Path = TINY) -> dict[str, Tensor]:
    weights = open_checkpoint(path).inventory(AnalysisOptions()).weights
    return {weight.layer_name: weight.rows(0, weight.out_features).float() for weight in weights}


def test_logits_are_those_of_the_model_before_it_was_saved(written: dict[str, Any]) -> None:
    difference = (written["logits"] - logits(written["memory"])).abs().max()
    assert float(difference) == 0.0 and float(written["logits"].abs().max()) > 1


# precision -> largest relative distance |read - ours| / |ours|. Scales and products are rounded to bf16 (0.002 to
# 0.004), which moves some weights over a tie to the next code; that is far for few bits, but the error stays the same.
DISTANCE = {
    "mxfp4": 0, "mxfp6_e2m3": 0, "mxfp8_e4m3": 0, "bf16": 0,  # powers of two: exact
    "nvfp4": 0.008, "int8": 0.008, "int8_tensor": 0.01, "int6_g64": 0.015, "int4_g32": 0.04, "int4_channel": 0.04,
    "int3_g32": 0.09, "int2_g32": 0.15, "fp8_e4m3": 0.015, "fp8_e4m3_tensor": 0.015, "fp8_e4m3_g32": 0.015,
    "fp8_e4m3_block128": 0.015,
}  # fmt: skip


def test_what_is_read_is_what_was_measured(written: dict[str, Any]) -> None:
    weights, seen = weights_of(), set()
    for choice in written["plan"].choices:
        weight = weights[choice.layer_name]
        read = written["loaded"].get_submodule(choice.layer_name).weight.detach().float()
        ours = choice.format.round_trip(weight, float(weight.abs().max())).float()
        distance = float((read - ours).norm() / ours.norm())
        assert distance <= DISTANCE[choice.precision], choice
        error, expected = float((read - weight).norm() / weight.norm()), float((ours - weight).norm() / weight.norm())
        assert error == pytest.approx(expected, rel=0.03, abs=1e-4), choice  # int8: 0.0069 for 0.0067
        seen.add(choice.precision)
    assert seen == set(DISTANCE)


def test_a_scan_reads_the_matrices_that_the_model_loads(written: dict[str, Any]) -> None:
    weights = open_checkpoint(written["out"]).inventory(AnalysisOptions()).weights
    assert [weight.layer_name for weight in weights] == list(weights_of())
    for weight in weights:
        expected = written["loaded"].get_submodule(weight.layer_name).weight
        assert torch.equal(weight.rows(0, weight.out_features), expected), weight.layer_name


def test_modules_that_are_still_compressed_are_read_alike(written: dict[str, Any]) -> None:
    live = module_inventory(transformers.AutoModelForCausalLM.from_pretrained(written["out"]), AnalysisOptions())
    assert sum("compressed-tensors" in weight.stored_dtype for weight in live.weights) == sum(
        c.format.encoding is not None for c in written["plan"].choices
    )
    for weight in live.weights:
        expected = written["loaded"].get_submodule(weight.layer_name).weight
        assert torch.equal(weight.rows(0, weight.out_features), expected), weight.layer_name


@pytest.mark.parametrize(("precision", "size", "steps", "low"), [("int8", 0, 127.5, -128), ("int4_g32", 32, 7.5, -8)])
def test_integers_are_best_under_the_rounded_scale(
    written: dict[str, Any], precision: str, size: int, steps: float, low: int
) -> None:
    # By hand: the scale in bf16, the quotient by it in fp32, the product in bf16.
    weights = weights_of()
    choices = [choice for choice in written["plan"].choices if choice.precision == precision]
    assert choices
    for choice in choices:
        weight = weights[choice.layer_name]
        blocks = weight.reshape(len(weight), -1, size or weight.shape[1])
        scale = (blocks.abs().amax(-1, keepdim=True) / steps).bfloat16()
        codes = (blocks / scale.float()).round().clamp(low, -low - 1)
        expected = (codes.bfloat16() * scale).reshape(weight.shape)
        assert torch.equal(written["loaded"].get_submodule(choice.layer_name).weight, expected)


def test_a_head_that_the_config_ties_is_refused_although_it_is_stored(tmp_path: Path) -> None:
    tied = tmp_path / "tied"
    shutil.copytree(TINY, tied)
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    tensors = load_file(tied / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tied / "model.safetensors", metadata={"format": "pt"})
    weights = open_checkpoint(TINY).inventory(AnalysisOptions()).weights
    plan = Plan(tuple(Choice(w.layer_name, w.category, w.out_features, w.in_features, "int8") for w in weights))
    with pytest.raises(PlanError, match="lm_head: shares its weight with the embedding"):
        write_model(tied, plan, tmp_path / "out", "compressed-tensors")
    assert not (tmp_path / "out").exists()


def test_others_may_read_the_folder(written: dict[str, Any]) -> None:
    assert {oct(file.stat().st_mode & 0o777) for file in written["out"].iterdir()} == {"0o644"}


def test_the_folder_is_a_whole_model(written: dict[str, Any]) -> None:
    out = written["out"]
    assert {file.name for file in out.iterdir()} == {
        "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
    }  # fmt: skip
    config = json.loads((out / "config.json").read_text())["quantization_config"]
    assert config["quantization_status"] == "compressed" and config["format"] == "mixed-precision"
    wide = {choice.layer_name for choice in written["plan"].choices if not choice.low_bit}
    assert set(config["ignore"]) == wide
    targets = [name for group in config["config_groups"].values() for name in group["targets"]]
    assert len(targets) == len(set(targets)) and not set(targets) & wide
    assert (out / "tokenizer.json").read_bytes() == (TINY / "tokenizer.json").read_bytes()
    assert out.stat().st_mode & 0o777 == 0o755 and [path.name for path in out.parent.iterdir()] == ["model"]


def test_notes(written: dict[str, Any]) -> None:
    assert written["notes"] == (
        "Scales are rounded to bfloat16, the model's dtype; the weights were measured with fp32 scales.",
    )


def save_tiny(folder: Path, **changes: Any) -> Path:
    """Save a Llama with one block, in a dtype of its own."""
    dtype = changes.pop("dtype", torch.float32)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 1, "vocab_size": 64}
    config = transformers.LlamaConfig(num_attention_heads=2, num_key_value_heads=2, **{**sizes, **changes})
    torch.manual_seed(0)
    transformers.LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    return folder


def test_fp32_weights_are_quantized_before_the_rest_is_cast(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "fp32")
    notes = write_model(source, mixed_plan(source, ("mxfp8", "bf16")), tmp_path / "out", "compressed-tensors")
    assert notes[1] == "Layers that are not quantized were cast from float32 to bfloat16."
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    logits(loaded)
    assert loaded.dtype is torch.bfloat16
    weights = weights_of(source)
    for choice in mixed_plan(source, ("mxfp8", "bf16")).choices:
        weight = weights[choice.layer_name]
        expected = choice.format.round_trip(weight, float(weight.abs().max())).float()
        assert torch.equal(loaded.get_submodule(choice.layer_name).weight.float(), expected)


def test_scales_in_fp32_are_not_called_rounded(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "fp32")
    notes = write_model(source, mixed_plan(source, ("int8:g32", "fp32")), tmp_path / "out", "compressed-tensors")
    assert notes == ()


def test_what_stays_wider_than_planned_is_said(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "bf16", dtype=torch.bfloat16)
    notes = write_model(source, mixed_plan(source, ("mxfp8", "fp32")), tmp_path / "out", "compressed-tensors")
    assert notes[1] == "Layers that are not quantized stay in bfloat16, as the checkpoint stores them."


def test_encoders(tmp_path: Path) -> None:
    config = transformers.BertConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, vocab_size=32
    )
    transformers.BertModel(config).save_pretrained(tmp_path / "bert")
    plan = mixed_plan(tmp_path / "bert", ("int8", "fp32"))
    write_model(tmp_path / "bert", plan, tmp_path / "out", "compressed-tensors")
    loaded = transformers.AutoModel.from_pretrained(tmp_path / "out")
    assert loaded(torch.arange(8)[None]).last_hidden_state.isfinite().all()
    assert loaded.get_submodule(plan.choices[0].layer_name).weight_scale.shape == (64, 1)


def test_experts_that_transformers_stacks_are_refused(tmp_path: Path) -> None:
    config = transformers.MixtralConfig(
        hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
        vocab_size=64, num_local_experts=2,
    )  # fmt: skip
    transformers.MixtralForCausalLM(config).to(torch.bfloat16).save_pretrained(tmp_path / "moe")
    layers = mixed_plan(tmp_path / "moe", ("bf16",)).choices
    attention = tuple(replace(c, precision="mxfp4") if c.category.startswith("attn") else c for c in layers)
    with pytest.raises(
        PlanError, match=r"expected a model without stacked experts, got .*experts\.0\.w1.* Use --format torchao"
    ):
        write_model(tmp_path / "moe", Plan(attention), tmp_path / "out", "compressed-tensors")


def test_a_row_of_zeros(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "m", dtype=torch.bfloat16)
    model = transformers.AutoModelForCausalLM.from_pretrained(source)
    for weight in model.parameters():
        weight.data[0] = 0
    model.model.layers[0].mlp.up_proj.weight.data.zero_()
    model.save_pretrained(tmp_path / "zeros")
    for precision in ("int4", "mxfp8", "nvfp4", "fp8"):
        out = tmp_path / precision
        write_model(tmp_path / "zeros", mixed_plan(tmp_path / "zeros", (precision,)), out, "compressed-tensors")
        loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
        assert logits(loaded).isfinite().all()
        assert loaded.model.layers[0].mlp.up_proj.weight.abs().max() == 0


def test_a_plan_of_another_model_is_refused(tmp_path: Path) -> None:
    plan = mixed_plan()
    first, *rest = plan.choices
    for choice, message in (
        (
            replace(first, layer_name="model.layers.7.fc"),
            r"model\.layers\.7\.fc: expected a module of the model, found none",
        ),
        (replace(first, out_features=96), r"q_proj: expected shape \(96, 192\) as in the plan, got \(192, 192\)"),
        (
            replace(first, layer_name="model.layers.0.mlp"),
            r"model\.layers\.0\.mlp: expected a module of the model, found none of this name",
        ),
    ):
        with pytest.raises(PlanError, match=message):
            write_model(TINY, Plan((choice, *rest)), tmp_path / "out", "compressed-tensors")
        assert list(tmp_path.iterdir()) == []


def test_zero_points_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        PlanError, match=r"cannot hold int4_g32_asym .* no zero points, because transformers cannot load them"
    ):
        write_model(TINY, mixed_plan(formats=("int4:asym",)), tmp_path / "out", "compressed-tensors")


def test_scales_that_the_dtype_cannot_hold_are_refused(tmp_path: Path) -> None:
    source = save_tiny(tmp_path / "m", initializer_range=1e-6, dtype=torch.float16)
    with pytest.raises(PlanError, match=r"expected scales that torch\.float16 holds, got one that is off by \d+%"):
        write_model(source, mixed_plan(source, ("int8",)), tmp_path / "out", "compressed-tensors")
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_quantized_already_is_refused(written: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"expected a model that is not quantized. Dequantize it first"):
        write_model(written["out"], mixed_plan(), tmp_path / "out", "compressed-tensors")


def test_a_folder_without_all_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    source = save_tiny(tmp_path / "m")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.0.mlp.up_proj.weight"]
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        PlanError, match=r"expected all weights of LlamaForCausalLM, got none for .*up_proj\.weight \(1\)"
    ):
        write_model(source, plan_of({"lm_head": "int8"}), tmp_path / "out", "compressed-tensors")


def test_no_model_at_all_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    with pytest.raises(PlanError, match=r"expected a model that transformers loads, got"):
        write_model(tmp_path / "m", plan_of({"lm_head": "int8"}), tmp_path / "out", "compressed-tensors")


def test_a_gguf_file(tmp_path: Path) -> None:
    """What is not quantized is the tiny Llama bit for bit, under transformers' names and in its order of rows."""
    pytest.importorskip("gguf")
    plan = plan_of({"model.layers.0.mlp.up_proj": "int8"}, rows=512, columns=192)
    wide = replace(plan.choices[0], layer_name="model.layers.1.mlp.up_proj", precision="bf16")
    source = write_tiny_gguf(tmp_path / "tiny.gguf")
    write_model(source, Plan((*plan.choices, wide)), tmp_path / "out", "compressed-tensors")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    logits(loaded)  # which unpacks the weights
    for name, weight in weights_of().items():
        read = loaded.get_submodule(name).weight.float()
        if name == plan.choices[0].layer_name:
            assert 0 < float((read - weight).norm() / weight.norm()) < 0.02
        else:
            assert torch.equal(read, weight), name
    text = "The capital of France is"
    ids = [transformers.AutoTokenizer.from_pretrained(folder)(text).input_ids for folder in (tmp_path / "out", TINY)]
    assert ids[0] == ids[1]


@pytest.mark.evidence  # reading the tokens of so large a vocabulary takes transformers most of a minute
@pytest.mark.real
def test_a_gguf_file_of_a_model_that_knows_something(smollm2: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    config = {"hidden": 576, "ffn": 1536}
    plan = plan_of({"model.layers.0.mlp.up_proj": "int8"}, rows=config["ffn"], columns=config["hidden"])
    wide = replace(plan.choices[0], layer_name="model.layers.1.mlp.up_proj", precision="bf16")
    write_model(smollm2, Plan((*plan.choices, wide)), tmp_path / "out", "compressed-tensors")
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        assert tokenizer.decode(loaded(ids).logits[0, -1].argmax()) == " Paris"
