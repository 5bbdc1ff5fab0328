"""A live model of transformers lists the rows of the folder that it saves, and the names of its own beside them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.module_weights import module_inventory
from alpha_callbacks.weights.transformers_names import rules_of

transformers = pytest.importorskip("transformers")

TEXT: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 32,
    "num_key_value_heads": 2, "head_dim": 6,
}  # fmt: skip
EXPERTS: dict[str, Any] = TEXT | {"moe_intermediate_size": 20, "num_experts_per_tok": 2}
VISION: dict[str, Any] = {
    "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip
LATENT: dict[str, Any] = EXPERTS | {
    "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "kv_lora_rank": 8,
    "q_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 6, "num_key_value_heads": 4,
}  # fmt: skip
MODELS: dict[str, tuple[str, dict[str, Any]]] = {  # class -> config, a name of a row
    "MixtralForCausalLM": ("model.layers.1.block_sparse_moe.experts.2.w3", TEXT | {"num_local_experts": 3}),
    "Qwen3MoeForCausalLM": ("model.layers.1.mlp.experts.2.up_proj", EXPERTS | {"num_experts": 4}),
    "DeepseekV3ForCausalLM": ("model.layers.1.mlp.experts.2.down_proj", LATENT),
    "GptOssForCausalLM": ("model.layers.1.mlp.experts.2.up_proj", TEXT | {"num_local_experts": 3}),
    "GPTNeoXForCausalLM": ("embed_out", TEXT),
    "ViTForImageClassification": ("vit.encoder.layer.0.attention.attention.query", VISION),
    "Gemma3ForConditionalGeneration": (
        "language_model.model.layers.1.self_attn.q_proj",
        {"text_config": TEXT, "vision_config": VISION, "mm_tokens_per_image": 4},
    ),
}  # fmt: skip
OPTIONS = AnalysisOptions()


def build(name: str) -> Any:
    kind = getattr(transformers, name)
    return kind(kind.config_class(**MODELS[name][1])).eval()


@pytest.mark.parametrize("name", MODELS)
def test_names_and_values_are_those_of_the_saved_folder(name: str, tmp_path: Path) -> None:
    model = build(name)
    model.save_pretrained(tmp_path)
    live = {w.layer_name: w for w in module_inventory(model, OPTIONS).weights}
    saved = {w.layer_name: w for w in open_checkpoint(tmp_path).inventory(OPTIONS).weights}
    assert live.keys() == saved.keys() and MODELS[name][0] in live
    again = module_inventory(type(model).from_pretrained(tmp_path), OPTIONS).weights  # tied heads, too, which it lacks
    assert [weight.layer_name for weight in again] == list(live)
    for layer, weight in live.items():
        assert (weight.rows(0, weight.out_features) == saved[layer].rows(0, weight.out_features)).all()
        assert weight.category == saved[layer].category


WRAPPERS: dict[str, Callable[[nn.Module], Any]] = {
    "compiled": lambda model: nn.ModuleDict({"_orig_mod": model}),  # as torch.compile names it
    "parallel": nn.DataParallel,
    "compiled inside parallel": lambda model: nn.DataParallel(nn.ModuleDict({"_orig_mod": model})),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("name", ["MixtralForCausalLM", "GPTNeoXForCausalLM"])
def test_wrappers_change_neither_names_nor_those_in_the_source(name: str, wrapper: str) -> None:
    """Names of experts come from the rules of saving, not from the path that the wrapper is in."""
    model = build(name)
    plain, wrapped = (module_inventory(each, OPTIONS).weights for each in (model, WRAPPERS[wrapper](model)))
    assert [(w.layer_name, w.source_name) for w in wrapped] == [(w.layer_name, w.source_name) for w in plain]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_of_shared_tables_the_one_in_the_files_is_shown_in_wrappers_too(wrapper: str) -> None:
    config = transformers.T5Config(d_model=24, d_kv=6, d_ff=40, num_layers=1, num_heads=4, vocab_size=32)
    model, options = transformers.T5EncoderModel(config), AnalysisOptions(include_embeddings=True)
    plain, wrapped = (module_inventory(each, options).weights for each in (model, WRAPPERS[wrapper](model)))
    assert [w.layer_name for w in wrapped] == [w.layer_name for w in plain]
    assert plain[0].tied_to


def test_either_name_is_filtered_by() -> None:
    model = build("MixtralForCausalLM")
    for include in (r"layers\.0\.block_sparse_moe\.experts\.1\.w1", r"layers\.0\.mlp\.experts\.1\.gate_up_proj\.gate"):
        (weight,) = module_inventory(model, AnalysisOptions(include=include)).weights
        assert weight.layer_name == "model.layers.0.block_sparse_moe.experts.1.w1"
        assert weight.source_name == "model.layers.0.mlp.experts.1.gate_up_proj.gate"
    left = module_inventory(model, AnalysisOptions(include="experts", exclude="gate_up_proj")).weights
    assert {weight.layer_name[-2:] for weight in left} == {"w2"}


def test_models_inside_others() -> None:
    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.head = build("MixtralForCausalLM"), nn.Linear(24, 24)

    found = {weight.layer_name for weight in module_inventory(Holder(), OPTIONS).weights}
    assert {"net.model.layers.0.block_sparse_moe.experts.0.w1", "head"} <= found


def test_other_modules_have_no_rules() -> None:
    assert rules_of([("", nn.Linear(2, 2))]) == {}
