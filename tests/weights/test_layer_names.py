import pytest

from alpha_callbacks.weights.categories import CATEGORIES
from alpha_callbacks.weights.layer_names import (
    block_index,
    categorize,
    clean_name,
    module_order,
    short_name,
)
from alpha_callbacks.weights.stored_tensor import layer_name_of


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("model.layers.0.self_attn.q_proj", "attn_q"),
        ("model.layers.0.self_attn.qkv_proj", "attn_qkv"),  # ends in "v_proj" but is none
        ("model.layers.0.mlp.gate_up_proj", "mlp_gate_up"),  # ends in "up_proj" but is none
        ("model.layers.0.mlp.gate_proj", "mlp_gate"),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa", "attn_qkv"),
        ("model.layers.0.self_attn.o_proj", "attn_o"),
        ("model.layers.0.self_attn.out_proj", "attn_o"),
        ("transformer.h.0.attn.c_attn", "attn_qkv"),
        ("transformer.h.0.attn.c_proj", "attn_o"),
        ("transformer.h.0.mlp.c_fc", "mlp_up"),
        ("transformer.h.0.mlp.c_proj", "mlp_down"),
        ("gpt_neox.layers.0.attention.query_key_value", "attn_qkv"),
        ("gpt_neox.layers.0.attention.dense", "attn_o"),
        ("gpt_neox.layers.0.mlp.dense_4h_to_h", "mlp_down"),
        ("bert.encoder.layer.0.attention.self.query", "attn_q"),
        ("bert.encoder.layer.0.attention.output.dense", "attn_o"),
        ("bert.encoder.layer.0.intermediate.dense", "mlp_up"),
        ("bert.encoder.layer.0.output.dense", "mlp_down"),
        ("bert.pooler.dense", "other"),
        ("layers.0.feed_forward.w1", "mlp_gate"),
        ("layers.0.feed_forward.w2", "mlp_down"),
        ("layers.0.feed_forward.w3", "mlp_up"),
        ("layers.0.attention.wo", "attn_o"),
        ("model.layers.0.block_sparse_moe.gate", "moe_router"),
        ("model.layers.0.block_sparse_moe.experts.3.w1", "moe_expert_gate"),
        ("model.layers.0.block_sparse_moe.experts.3.w2", "moe_expert_down"),
        ("model.layers.0.mlp.gate", "moe_router"),
        ("model.layers.0.mlp.shared_expert_gate", "moe_router"),
        ("model.layers.0.mlp.shared_expert.up_proj", "moe_expert_up"),
        ("model.layers.0.mlp.experts.17.gate_up_proj", "moe_expert_gate_up"),
        ("model.layers.0.mlp.experts.17.down_proj", "moe_expert_down"),
        ("model.layers.0.mlp.router", "moe_router"),
        ("model.embed_tokens", "embedding"),
        ("transformer.wpe", "embedding"),
        ("lm_head", "lm_head"),
        ("embed_out", "lm_head"),
        ("blk.7.attn_q", "attn_q"),
        ("blk.7.attn_output", "attn_o"),
        ("blk.7.ffn_down", "mlp_down"),
        ("blk.7.ffn_gate_inp", "moe_router"),
        ("token_embd", "embedding"),
        ("output", "lm_head"),
        ("my.net.fancy", "other"),
        ("text_model.embeddings.token_embedding", "embedding"),
        ("encoder.block.0.layer.0.SelfAttention.o", "attn_o"),
        ("encoder.block.0.layer.1.DenseReluDense.wi_0", "mlp_gate"),
        ("encoder.block.0.layer.1.DenseReluDense.wo", "mlp_down"),
        ("layers.0.attn.Wo", "attn_o"),
        ("layers.0.mlp.Wo", "mlp_down"),
        ("backbone.layers.0.mixer.in_proj", "other"),
        ("model.layers.0.block_sparse_moe.input_linear", "moe_expert_gate_up"),
        ("deberta.encoder.layer.0.attention.self.query_proj", "attn_q"),
        ("transformer_blocks.0.attn.add_k_proj", "attn_k"),
        ("transformer_blocks.0.attn.to_add_out", "attn_o"),
        ("encoder.layers.0.self_attn.linear_out", "attn_o"),
        ("encoder.layers.0.linear_out", "other"),
        ("encoder.layers.0.feed_forward.intermediate_dense", "mlp_up"),
        ("encoder.layers.0.feed_forward.output_dense", "mlp_down"),
        ("encoder.stages.0.layers.1.pwconv2", "mlp_down"),
        ("model.visual.blocks.0.mlp.linear_fc1", "mlp_up"),
        ("model.visual.merger.linear_fc1", "other"),
        ("multi_modal_projector.linear_1", "other"),
        ("cls.predictions.decoder", "lm_head"),
        ("model.decoder", "other"),
        ("model.layers.0.mlp.router.gate", "moe_router"),
        ("model.layers.0.block_sparse_moe.router.layer", "moe_router"),
        ("model.layers.0.self_attn.gate_proj", "other"),
        ("vision.patch_embed.proj", "other"),
    ],
)
def test_categories(name: str, category: str) -> None:
    assert category in CATEGORIES
    assert categorize(name) == category


def test_convolutions() -> None:
    assert categorize("features.0", ndim=4) == "conv"


@pytest.mark.parametrize(
    ("name", "block", "short"),
    [
        ("model.layers.17.self_attn.q_proj", 17, "self_attn.q_proj"),
        ("transformer.h.3.mlp.c_fc", 3, "mlp.c_fc"),
        ("encoder.layer.0.output.dense", 0, "output.dense"),
        ("blk.29.ffn_up", 29, "ffn_up"),
        ("lm_head", None, "lm_head"),
        ("layers", None, "layers"),
    ],
)
def test_blocks(name: str, block: int | None, short: str) -> None:
    assert block_index(name) == block
    assert short_name(name) == short


@pytest.mark.parametrize(
    ("parameter", "layer"),
    [
        ("model.layers.0.fc1.weight", "model.layers.0.fc1"),
        ("_orig_mod.layers.0._checkpoint_wrapped_module.fc1.weight", "layers.0.fc1"),
        ("layers.0._orig_mod.fc1.weight", "layers.0.fc1"),
        ("_fsdp_wrapped_module.layers.0._fsdp_wrapped_module.fc1.weight", "layers.0.fc1"),
        ("model.q_proj.base_layer.weight", "model.q_proj"),
        ("_forward_module.model.fc1.weight", "model.fc1"),
        ("model._orig_mod._fpw_module.fc1.weight", "model.fc1"),
        ("module", "module"),
        ("attention.in_proj_weight", "attention.in_proj_weight"),
    ],
)
def test_layer_names(parameter: str, layer: str) -> None:
    assert layer_name_of(parameter) == layer
    assert clean_name(clean_name(parameter)) == clean_name(parameter)


def test_blocks_are_ordered_as_numbers() -> None:
    names = ["lm_head", "model.layers.10.mlp.up_proj", "model.layers.9.mlp.up_proj", "model.embed_tokens"]
    assert sorted(names, key=module_order) == [names[3], names[2], names[1], names[0]]
