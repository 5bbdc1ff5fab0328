"""Every tensor name that the package gguf defines, with its category."""

import re

import pytest

from alpha_callbacks.weights.categorize import categorize

gguf = pytest.importorskip("gguf")

# Category -> last parts of names; blocks of the text, vision and audio towers alike. What is missing has to be `OTHER`.
WANTED = {
    "attn_q": "attn_q self_attn_q attn_q_a attn_q_b time_mix_receptance attn.q query",
    "attn_k": "attn_k self_attn_k attn_k_b time_mix_key attn.k",
    "attn_v": "attn_v self_attn_v attn_v_b time_mix_value attn.v",
    "attn_o": "attn_output vis_attn_output attn_o attn_out self_attn_out attn.out time_mix_output",
    "attn_qkv": "attn_qkv vis_attn_qkv attn.qkv",
    "attn_kv": "attn_kv_a_mqa attn_kv_b",
    "attn_gate": "attn_gate time_mix_gate",
    "attn_indexer": "indexer.attn_k indexer.attn_q_b indexer.k_norm indexer.proj",
    "cross_attn_q": "cross_attn_q",
    "cross_attn_k": "cross_attn_k",
    "cross_attn_v": "cross_attn_v",
    "cross_attn_o": "cross_attn_o cross_attn_out",
    "mlp_gate": "ffn_gate ffn_gate_1 vis_gate",
    "mlp_up": "ffn_up ffn_up_1 vis_up fc1 lin1 channel_mix_key",
    "mlp_down": "ffn_down ffn_down_1 vis_down fc2 lin2 channel_mix_value",
    "moe_router": "ffn_gate_inp ffn_gate_inp_shexp",
    "moe_expert_gate": "ffn_gate_exps ffn_gate_chexps",
    "moe_expert_up": "ffn_up_exps ffn_up_chexps",
    "moe_expert_down": "ffn_down_exps ffn_down_chexps",
    "moe_shared_gate": "ffn_gate_shexp",
    "moe_shared_up": "ffn_up_shexp",
    "moe_shared_down": "ffn_down_shexp",
    "ssm_in": "ssm_in",
    "ssm_x": "ssm_x",
    "ssm_dt": "ssm_dt",
    "ssm_gate": "ssm_alpha ssm_ba ssm_beta",
    "ssm_out": "ssm_out",
    "conv_in": "shortconv.in_proj",
    "conv_out": "shortconv.out_proj",
    "head": "cls cls.output cls.norm",
    "moe_expert_gate_up": "ffn_gate_up_exps",
    "embedding": "token_embd per_layer_token_embd token_types position_embd pos_embd pos_embd_k embedding embed_tokens "
    "attn_rel_b cross_attn_rel_b attn_rel_pos_emb pos_h pos_w",
    "lm_head": "output shared_head_head",
    "conv": "ssm_conv1d ssm_conv1d_q ssm_conv1d_k ssm_conv1d_v conv conv_dw conv_pw1 conv_pw2",
}
# Neither: vectors and norms (never a row), state space, low-rank parts, projectors, poolers, convolutions above 2-D.
OTHER = re.compile(
    r"norm|_ln|ln[12_]|scale|lerp|bias|rope|sinks|rot_embd|probs_b|gamma|time_mix|channel_mix|ssm_|altup|laurel|"
    r"shortconv|indexer\.proj|latent|inp_gate|attn_gate|per_layer_model_proj|eh_proj|conv|posnet|^cls|^dense_|^mm\.|"
    r"resampler|^v\.(class|patch|token|boi|eoi|image|view|sam|msfa)|^a\.|\.ls[12]$|\.proj$|\.ffn$|\.bn$"
)


@pytest.mark.parametrize("name", sorted(set(gguf.TENSOR_NAMES.values())))
def test_category(name: str) -> None:
    parts = {part: category for category, listed in WANTED.items() for part in listed.split()}
    path = re.sub(r"\.\{bid\}$", "", name).split(".")
    known = parts.get(".".join(path[-2:])) or parts.get(path[-1])
    if path[0] == "mm" and known != "embedding":
        known = "projector"
    elif OTHER.search(name) and known is None:
        known = "other"
    assert categorize(name.replace("{bid}", "7")) == known
