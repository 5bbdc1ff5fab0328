"""Names of one matrix that different libraries give."""

import pytest

from alpha_callbacks.weights.canonical_names import canonical_name, pairing_key

SAME = [
    ("model.layers.0.mlp.experts.3.gate_up_proj.up", "model.layers.0.mlp.experts.3.up_proj"),
    ("model.layers.0.mlp.experts.3.gate_proj", "model.layers.0.block_sparse_moe.experts.3.w1"),
    ("model.layers.0.mlp.gate", "model.layers.0.block_sparse_moe.gate"),
    ("model.layers.0.mlp.experts.3.down_proj", "blk.0.3.ffn_down_exps"),
    ("language_model.model.layers.0.self_attn.q_proj", "model.language_model.layers.0.self_attn.q_proj"),
    ("_forward_module.model.layers.0.mlp.up_proj", "module.model.layers.0.mlp.up_proj"),
    ("0.model.encoder.layer.0.output.dense", "encoder.layer.0.output.dense"),
    ("embed_out", "lm_head"),
    ("language_model.lm_head", "output"),
    ("blk.11.attn_output", "model.layers.11.self_attn.o_proj"),
    ("blk.11.attn_output (update)", "model.layers.11.self_attn.o_proj (update)"),
]
OTHER = [
    ("model.vision_tower.layers.0.self_attn.q_proj", "model.language_model.layers.0.self_attn.q_proj"),
    ("model.layers.0.mlp.shared_expert.up_proj", "model.layers.0.mlp.experts.0.up_proj"),
    ("model.layers.0.mlp.up_proj", "model.layers.0.mlp.up_proj (update)"),
    ("model.layers.1.mlp.up_proj", "model.layers.11.mlp.up_proj"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_matrix(one: str, other: str) -> None:
    assert pairing_key(one) == pairing_key(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_another_matrix(one: str, other: str) -> None:
    assert pairing_key(one) != pairing_key(other)


def test_only_experts_have_their_projection_apart() -> None:
    for name in ("model.layers.0.mlp.gate_up_proj.gate", "model.layers.0.block_sparse_moe.experts.3.w1"):
        assert canonical_name(name) == name
