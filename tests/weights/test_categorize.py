import re

import pytest

from alpha_callbacks.weights.categories import CATEGORIES
from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.modalities import category_in, group_of, modality_of
from tests.conftest import REPOSITORY


@pytest.mark.parametrize(
    ("name", "category"),
    [
        ("model.layers.0.self_attn.q_proj", "attn_q"),
        ("model.layers.0.self_attn.qkv_proj", "attn_qkv"),  # ends in "v_proj" but is none
        ("model.layers.0.mlp.gate_up_proj", "mlp_gate_up"),  # ends in "up_proj" but is none
        ("model.layers.0.mlp.gate_proj", "mlp_gate"),
        ("model.layers.0.self_attn.kv_a_proj_with_mqa", "attn_kv"),
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
        ("bert.pooler.dense", "pooler"),
        ("layers.0.feed_forward.w1", "mlp_gate"),
        ("layers.0.feed_forward.w2", "mlp_down"),
        ("layers.0.feed_forward.w3", "mlp_up"),
        ("layers.0.attention.wo", "attn_o"),
        ("model.layers.0.block_sparse_moe.gate", "moe_router"),
        ("model.layers.0.block_sparse_moe.experts.3.w1", "moe_expert_gate"),
        ("model.layers.0.block_sparse_moe.experts.3.w2", "moe_expert_down"),
        ("model.layers.0.mlp.gate", "moe_router"),
        ("model.layers.0.mlp.shared_expert_gate", "moe_router"),
        ("model.layers.0.mlp.shared_expert.up_proj", "moe_shared_up"),
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
        ("backbone.layers.0.mixer.in_proj", "ssm_in"),
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
        ("model.visual.merger.linear_fc1", "projector"),
        ("multi_modal_projector.linear_1", "projector"),
        ("cls.predictions.decoder", "lm_head"),
        ("model.decoder", "other"),
        ("model.layers.0.mlp.router.gate", "moe_router"),
        ("model.layers.0.block_sparse_moe.router.layer", "moe_router"),
        ("model.layers.0.self_attn.gate_proj", "attn_gate"),
        ("vision.patch_embed.proj", "input_proj"),
        ("model.layers.0.mlp.shared_experts.down_proj", "moe_shared_down"),
        ("model.layers.0.shared_mlp.input_linear", "moe_shared_gate_up"),
        ("model.layers.0.mlp.gate.wg", "moe_router"),
        ("model.layers.0.zaya_block.gate.router_mlp.out_proj", "moe_router"),
        ("decoder.block.0.layer.1.EncDecAttention.k", "cross_attn_k"),
        ("model.decoder.layers.0.encoder_attn.q_proj", "cross_attn_q"),
        ("transformer.h.0.crossattention.c_proj", "cross_attn_o"),
        ("qformer.encoder.layer.0.crossattention.output.dense", "cross_attn_o"),
        ("lxmert.encoder.x_layers.0.lang_self_att.output.dense", "attn_o"),
        ("lxmert.encoder.x_layers.0.visn_output.dense", "mlp_down"),
        ("semantic.layers.0.mlp.in_proj", "mlp_up"),  # of Bark, not of attention
        ("semantic.layers.0.mlp.out_proj", "mlp_down"),
        ("semantic.layers.0.attn.att_proj", "attn_qkv"),
        ("model.layers.0.linear_attn.in_proj_qkvz", "ssm_in"),
        ("model.layers.0.linear_attn.in_proj_ba", "ssm_gate"),
        ("model.layers.0.linear_attn.out_proj", "ssm_out"),
        ("backbone.layers.3.mixer.q_proj", "attn_q"),  # Nemotron-H calls every kind of layer mixer
        ("backbone.layers.1.mixer.up_proj", "mlp_up"),
        ("backbone.layers.0.mixer.dt_proj", "ssm_dt"),
        ("model.layers.0.conv.in_proj", "conv_in"),
        ("model.layers.0.temporal_block.linear_y", "ssm_in"),
        ("model.layers.0.self_attn.kv_b_proj", "attn_kv"),
        ("model.layers.0.self_attn.indexer.wq_b", "attn_indexer"),
        ("model.layers.0.self_attn.compressor.gate_proj", "other"),
        ("encoder.layers.0.self_attn.linear_pos", "attn_position"),
        ("model.decoder.layers.0.encoder_attn.sampling_offsets", "attn_sampling"),
        ("vision_tower.encoder.layers.0.self_attn.q_proj.linear", "attn_q"),
        ("classifier.out_proj", "head"),
        ("classifier", "head"),
        ("fc", "head"),
        ("model.fc", "other"),
        ("lm_head.dense", "head"),
        ("lm_head.decoder", "lm_head"),
        ("pred_layer.proj", "lm_head"),
        ("model.layers.61.shared_head.head", "lm_head"),
        ("v_head.summary", "head"),
        ("mask_decoder.iou_prediction_head.proj_in", "head"),
        ("model.decoder.bbox_embed.0.layers.1", "head"),
        ("model.enc_out_class_embed.3", "head"),
        ("model.decoder.query_pos_head.layers.0", "other"),  # positions, not a task
        ("vision_model.head.mlp.fc1", "mlp_up"),
        ("vision_model.head.q_proj", "attn_q"),
        ("visual.merger.gate_proj", "projector"),
        ("visual.merger.mlp.0", "projector"),
        ("mm.2", "projector"),
        ("h.0.ffn.0", "mlp_up"),
        ("h.0.ffn.2", "mlp_down"),
        ("transformer_blocks.0.ff.net.2", "mlp_down"),
        ("transformer_blocks.0.ff.net.0.proj", "other"),  # half of it is a gate in some models, and nothing tells
        ("layers.0.linear1", "mlp_up"),  # nn.TransformerEncoderLayer
        ("linear1", "other"),
        ("model.layers.0.attn.wq_b", "attn_q"),  # DeepSeek's own names
        ("model.layers.0.attn.compressor.wkv", "other"),
        ("layers.0.attention.wkv_a_with_mqa", "attn_kv"),  # Mistral's own
        ("transf_decoder.layers.0.second_sub_layer.query_net", "cross_attn_q"),  # NeMo's
        ("conformer.0.lconv1d.linear_start", "conv_in"),
        ("transformer_blocks.0.norm1.linear", "modulation"),
        ("layers.0.feed_forward.gate_up_proj_adapter_list.0.0", "adapter"),
    ],
)
def test_categories(name: str, category: str) -> None:
    assert category in CATEGORIES
    assert categorize(name) == category


def test_convolutions() -> None:
    assert categorize("features.0", ndim=4) == "conv"


@pytest.mark.parametrize(
    ("name", "modality"),
    [
        ("model.vision_tower.encoder.layers.0.self_attn.q_proj", "vision"),
        ("model.visual.blocks.0.attn.qkv", "vision"),
        ("model.audio_tower.layers.0.fc1", "audio"),
        ("v.blk.0.attn_q", "vision"),
        ("v", ""),  # of an attention of one's own: q, k, v
        ("a", ""),
        ("model.language_model.layers.0.self_attn.v", ""),  # the tower of a GGUF file comes first
        ("language_model.layers.0.cross_attn.k_proj", ""),
        ("multi_modal_projector.linear_1", ""),
        ("transformer_blocks.0.attn.add_q_proj", "text"),
        ("transformer_blocks.0.attn.to_q", ""),
        ("double_blocks.0.txt_mlp.0", "text"),
    ],
)
def test_modality_by_name(name: str, modality: str) -> None:
    assert modality_of(name, {}) == modality
    assert category_in(group_of("attn_q", modality)) == ("attn_q", modality)


@pytest.mark.parametrize(
    ("config", "modality"),
    [
        ({"num_mel_bins": 80}, "audio"),  # Whisper
        ({"model_type": "moonshine"}, "audio"),
        ({"encoder": {"model_type": "vit", "patch_size": 16}}, "vision"),  # TrOCR
        ({"encoder": {"model_type": "bert"}}, ""),
        ({"d_model": 512}, ""),  # T5
    ],
)
def test_modality_of_an_encoder(config: dict[str, object], modality: str) -> None:
    config = {"is_encoder_decoder": True, **config}
    assert modality_of("model.encoder.layers.0.fc1", config) == modality
    assert modality_of("model.decoder.layers.0.encoder_attn.q_proj", config) == ""


def test_every_category_is_documented() -> None:
    page = (REPOSITORY / "docs/what_can_be_scanned.md").read_text(encoding="utf-8")
    table = page.partition("## Categories")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(CATEGORIES)
