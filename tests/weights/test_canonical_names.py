"""Names of one matrix that different libraries give."""

import pytest

from alpha_callbacks.weights.canonical_names import _OF_GGUF, canonical_name, pairing_key, path_of_gguf

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
    ("blk.11.attn_qkv.k", "model.layers.11.self_attn.qkv_proj.k"),
    ("blk.3.12.ffn_gate_up_exps.gate", "model.layers.3.mlp.experts.12.gate_proj"),
    ("blk.3.ffn_up_shexp", "model.layers.3.mlp.shared_experts.up_proj"),
    ("blk.3.attn_kv_a_mqa", "model.layers.3.self_attn.kv_a_proj_with_mqa"),
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


def test_the_words_of_gguf_are_those_of_its_own_table() -> None:
    gguf = pytest.importorskip("gguf")
    maps = [gguf.get_tensor_name_map(architecture, 3) for architecture in gguf.MODEL_ARCH]
    for word in _OF_GGUF:
        path = path_of_gguf(f"blk.2.7.{word}" if word.endswith("exps") else f"blk.2.{word}")
        stacked = path.replace(".experts.7.", ".experts.")
        assert any(known.get_name(stacked) == f"blk.2.{word}" for known in maps), (word, path)
    for name in ("model.layers.2.attn_q", "blk.2.attn_rot_embd", "blk.x.attn_q", "model.output"):
        assert path_of_gguf(name) == ""
    assert (path_of_gguf("output"), path_of_gguf("token_embd")) == ("lm_head", "model.embed_tokens")
