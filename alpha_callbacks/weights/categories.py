"""The words of layer names, as data: what a path says about the matrix at its end.

The last segment names the matrix; what it means depends on the nearest segment before it that names a part of a model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

CATEGORIES = (
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_o",
    "attn_qkv",
    "attn_kv",
    "attn_gate",
    "attn_position",
    "attn_sampling",
    "attn_indexer",
    "cross_attn_q",
    "cross_attn_k",
    "cross_attn_v",
    "cross_attn_o",
    "cross_attn_qkv",
    "cross_attn_kv",
    "mlp_gate",
    "mlp_up",
    "mlp_down",
    "mlp_gate_up",
    "moe_router",
    "moe_expert_gate",
    "moe_expert_up",
    "moe_expert_down",
    "moe_expert_gate_up",
    "moe_shared_gate",
    "moe_shared_up",
    "moe_shared_down",
    "moe_shared_gate_up",
    "ssm_in",
    "ssm_x",
    "ssm_dt",
    "ssm_gate",
    "ssm_out",
    "conv_in",
    "conv_out",
    "modulation",
    "adapter",
    "input_proj",
    "projector",
    "pooler",
    "head",
    "embedding",
    "lm_head",
    "conv",
    "other",
)

# Of these a model has several that do not correspond to each other, so they say nothing of which layer is which.
VAGUE = frozenset(("attn_position", "modulation", "adapter", "input_proj", "projector", "head", "other"))

# Whole segments, as the model families spell them (Llama, GPT-2, NeoX, BERT, Falcon, DeepSeek, Mixtral, GGUF, ...).
BY_CATEGORY: Mapping[str, tuple[str, ...]] = {
    "attn_q": ("q_proj", "wq", "query", "attn_q", "q_lin", "to_q", "q_a_proj", "q_b_proj", "attn_q_a", "attn_q_b", "q",
        "self_attn_q", "time_mix_receptance", "query_proj", "linear_q", "q_head", "projection_query", "add_q_proj",
        "Wq", "project_q", "queries", "query_global", "layout_query", "to_query", "wq_a", "wq_b",
        "wq_du", "query_net",
    ),
    "attn_k": (
        "k_proj", "wk", "key", "attn_k", "k_lin", "to_k", "k", "attn_k_b", "self_attn_k", "time_mix_key", "key_proj",
        "linear_k", "k_head", "projection_key", "add_k_proj", "Wk", "project_k", "key_global", "layout_key", "to_key",
        "wk_dv", "key_net",
    ),
    "attn_v": (
        "v_proj", "wv", "value", "attn_v", "v_lin", "to_v", "v", "attn_v_b", "self_attn_v", "time_mix_value",
        "value_proj", "linear_v", "v_head", "projection_value", "add_v_proj", "Wv", "project_v", "value_global",
        "layout_value", "wv_dv", "value_net",
    ),
    "attn_o": (
        "o_proj", "out_proj", "wo", "Wo", "attn_output", "out_lin", "to_out", "o", "attn_o", "attn_out",
        "self_attn_out", "vis_attn_output", "time_mix_output", "to_add_out", "o_a_proj", "o_b_proj", "attention_out",
        "wo_a", "wo_b", "wo_ud", "out_projection",
    ),
    "attn_qkv": (
        "qkv_proj", "c_attn", "query_key_value", "Wqkv", "wqkv", "in_proj", "attn_qkv", "qkv", "W_pack",
        "vis_attn_qkv", "att_proj", "queries_keys_values",
    ),
    "attn_kv": (
        "kv_a_proj_with_mqa", "kv_b_proj", "attn_kv_a_mqa", "attn_kv_b", "kv_proj", "to_kv", "keys_values", "wkv",
        "wkv_b", "wkv_a_with_mqa",
    ),
    "attn_gate": ("attn_gate", "time_mix_gate"),
    "cross_attn_q": ("cross_attn_q",),
    "cross_attn_k": ("cross_attn_k",),
    "cross_attn_v": ("cross_attn_v",),
    "cross_attn_o": ("cross_attn_o", "cross_attn_out"),
    "mlp_gate": ("gate_proj", "w1", "ffn_gate", "wi_0", "ffn_gate_1", "vis_gate"),
    "mlp_up": (
        "up_proj", "w3", "ffn_up", "c_fc", "fc1", "dense_h_to_4h", "fc_in", "wi", "wi_1", "lin1", "ffn_up_1", "vis_up",
        "channel_mix_key", "intermediate_dense", "pwconv1", "pointwise_conv1", "proj_mlp",
        "dense_in",
    ),
    "mlp_down": (
        "down_proj", "w2", "ffn_down", "fc2", "dense_4h_to_h", "fc_out", "lin2", "output_linear", "ffn_down_1",
        "vis_down", "channel_mix_value", "pwconv2", "pointwise_conv2", "ffn_output", "dense_out", "w2_weight",
    ),
    "mlp_gate_up": ("gate_up_proj", "gate_and_up_proj", "dense_h_to_4h_swiglu", "Wi"),
    "moe_router": ("router", "ffn_gate_inp", "shared_expert_gate", "ffn_gate_inp_shexp"),
    "moe_expert_gate": ("ffn_gate_exps", "ffn_gate_chexps"),
    "moe_expert_up": ("ffn_up_exps", "ffn_up_chexps"),
    "moe_expert_down": ("ffn_down_exps", "ffn_down_chexps"),
    "moe_expert_gate_up": ("ffn_gate_up_exps",),
    "moe_shared_gate": ("ffn_gate_shexp",),
    "moe_shared_up": ("ffn_up_shexp",),
    "moe_shared_down": ("ffn_down_shexp",),
    "ssm_in": ("ssm_in",),
    "ssm_x": ("ssm_x",),
    "ssm_dt": ("ssm_dt",),
    "ssm_gate": ("ssm_alpha", "ssm_beta", "ssm_ba", "ssm_beta_alpha"),
    "ssm_out": ("ssm_out",),
    "input_proj": (
        "patch_embedding", "patch_projection", "context_embedder", "x_embedder", "embedding_hidden_mapping_in",
        "embeddings_project",
    ),
    "head": ("score", "qa_outputs", "vocab_transform", "embedding_proj_layer", "custom_text_proj"),
    "embedding": (
        "embed_tokens", "wte", "wpe", "word_embeddings", "position_embeddings", "token_type_embeddings", "token_embd",
        "tok_embeddings", "embed_in", "embed_positions", "embedding", "embeddings", "embed", "emb", "shared",
        "position_embd", "relative_attention_bias", "token_embedding", "position_embedding", "word_embedding",
        "per_layer_token_embd", "token_types", "pos_embd", "pos_embd_k", "pos_h", "pos_w", "attn_rel_b",
        "cross_attn_rel_b", "attn_rel_pos_emb",
    ),
    "lm_head": (
        "lm_head", "embed_out", "output_projection", "shared_head_head", "vocab_projector", "generator_lm_head",
        "lm_loss", "lm_heads", "unembed",
    ),
    "conv": ("conv", "ssm_conv1d", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v", "conv_dw", "conv_pw1", "conv_pw2"),
}  # fmt: skip


@dataclass(frozen=True)
class Context:
    """A part of a model, as a segment of a path names it.

    Attributes:
        segment: the whole segment, as a regular expression.
        words: what the last segment means inside it, where that is not what it means anywhere.
        kinds: beginnings of the categories that a word of `BY_CATEGORY` may have inside it.
        rest: category of all others.
    """

    segment: str
    words: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[str, ...] = ()
    rest: str = "other"


def _words(category: str, *words: str) -> dict[str, str]:
    return dict.fromkeys(words, category)


_IN_ATTENTION = {
    **_words(
        "attn_o", "linear_out", "output_proj", "post_proj", "projection", "projection_layer", "post", "c_proj", "dense",
        "output", "proj", "out", "output_projection", "final", "out_vision_proj", "out_text_proj",
    ),
    **_words("attn_q", "q_attn", "vision_proj"),  # the last of two that look at each other (Grounding DINO)
    **_words("attn_k", "text_proj"),
    **_words("attn_v", "values_vision_proj", "values_text_proj"),
    **_words("attn_gate", "gate_proj", "g_proj", "g_a_proj", "g_b_proj", "output_gate", "q_gate_proj", "gate_attn"),
    **_words(
        "attn_position", "linear_pos", "relative_k_proj", "pos_proj", "pos_key_proj", "pos_query_proj", "pos_q_proj",
        "r_proj", "wr_du", "relative_pos_embeddings", "gru_rel_pos_linear",
    ),
    **_words("attn_sampling", "sampling_offsets", "attention_weights"),
    **_words("ssm_gate", "b_proj", "f_proj", "f_a_proj", "f_b_proj"),  # linear attention
}  # fmt: skip
_IN_MLP = {
    **_words("mlp_gate", "gate", "w_0"),
    **_words(
        "mlp_up", "proj_in", "linear_fc1", "linear1", "linear_1", "ffw_layer_1", "intermediate", "in_proj", "linear_in",
        "layer_1", "linear_up", "w_1", "dense1", "up", "proj_up",
    ),
    **_words(
        "mlp_down", "proj_out", "linear_fc2", "linear2", "linear_2", "ffw_layer_2", "output_dense", "out_proj",
        "linear_out", "layer_2", "linear_down", "w_out", "dense2", "down", "proj_down", "c_proj", "dense",
        "output", "wo", "Wo", "proj", "out",
    ),
    **_words("mlp_gate_up", "input_linear", "proj_up_gate"),
}  # fmt: skip
_IN_STATE_SPACE = {
    **_words("ssm_in", "in_proj", "in_proj_qkvz", "in_proj_qkv", "in_proj_z", "linear_x", "linear_y"),
    **_words("ssm_x", "x_proj"),
    **_words("ssm_dt", "dt_proj"),
    **_words("ssm_gate", "in_proj_ba", "in_proj_b", "in_proj_a", "igate_preact", "fgate_preact"),
    **_words("attn_gate", "ogate_preact"),
    **_words("ssm_out", "out_proj", "linear_out"),
}
_IN_HEAD = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_o"}  # pooled by attention

# Of the segments of a path the last that fits decides, and for it the first line.
CONTEXTS = (
    Context("indexer", rest="attn_indexer"),
    Context("compressor|gateway|hc_head"),
    Context("router(_mlp)?", rest="moe_router"),
    Context(
        "mamba2?|mixer|ssm|linear_attn|mlstm_layer|temporal_block",
        _IN_STATE_SPACE, ("attn_", "mlp_", "moe_", "ssm_", "conv"),
    ),
    Context(
        "conv|shortconv|short_conv|lconv1d",
        {"in_proj": "conv_in", "out_proj": "conv_out", "linear_start": "conv_in", "linear_end": "conv_out"}, ("conv",),
    ),
    Context(
        r"(\w+_)?(cross)?(attn|attention|att)\d?|SelfAttention|EncDecAttention",
        _IN_ATTENTION, ("attn_", "cross_", "embedding", "conv", "moe_"),
    ),
    Context(
        r"(\w+_)?(mlp|ffn|ff|feed_forward)\d?|ff_context|feedforward|ffw_layer_(start|end)|DenseReluDense|"
        r"(local_|shared_)?experts?|block_sparse_moe|moe",
        _IN_MLP, ("mlp_", "moe_", "embedding", "conv"),
    ),
    Context("net", kinds=("",)),  # of diffusers, whose net.0.proj is in some models half a gate
    Context(r"(\w+_)?inter(mediate)?(_query)?", {"dense": "mlp_up"}, ("mlp_", "conv")),
    Context("output_query", {"dense": "mlp_down"}, ("mlp_", "conv")),
    Context(r"feature_projection|(\w+_)?patch_embed(ding|dings|der)?|subsampl\w+|input_ff_layer", rest="input_proj"),
    Context(
        r"(\w+_)?(projector|merger|mergers|merger_list|connector|modality_projection)|patch_merger|mm|"
        r"(image_to_text|visual|text|audio|language)_projection",
        kinds=("embedding",), rest="projector",
    ),
    Context(r"(\w+_)?pooler", rest="pooler"),
    Context(r"\w+_adapter_list|adapter_modules|adapter_layer", rest="adapter"),
    Context("global_pointer|dot_product_scoring", rest="head"),
    Context(
        "lm_head|predictions|pred_layer|shared_head", _words("lm_head", "decoder", "proj", "head", "out_proj"),
        rest="head",
    ),
    Context(
        r"(\w+_)?(?<!pos_)(?<!point_)(?<!points_)head|cls|(\w+_)?(classifier|predictions|(class|bbox|mask)_embed(der)?)|\w+_predictor|"
        r"output_hypernetworks_mlps",
        _IN_HEAD, ("conv",), "head",
    ),
    Context(r"norm\w*|(\w+_)?norm|adaLN_modulation|img_mod|txt_mod", rest="modulation"),
)  # fmt: skip

CROSS_ATTENTION = (
    r"(\w+_)?cross_?attn|(\w+_)?cross_?attention|encoder_attn|EncDecAttention|multi_head_cross_attn|visual_attention|"
    r"second_sub_layer"
)
SHARED_EXPERTS = "shared_experts?|shared_mlp"
EXPERTS = "experts?|block_sparse_moe|local_experts"

# In all of transformers 5.23 an nn.Embedding and nothing else has these names. Elsewhere they may mean anything.
TABLES_OF_TRANSFORMERS = frozenset((
    "xpath_tag_sub_embeddings", "xpath_subs_sub_embeddings", "point_embed", "pos_embed", "input_embeds_layers",
    "input_embeds_layer", "no_mask_embed", "not_a_point_embed", "iou_token", "mask_tokens", "denoising_class_embed",
    "obj_score_token", "position_embeds_layer", "rel_pos_emb", "x_position_embeddings", "y_position_embeddings",
    "h_position_embeddings", "w_position_embeddings", "embed_tokens_per_layer", "position_embedding_table",
    "query_position_embeddings", "embed_audio_tokens", "level_embed", "distance_embedding", "label_embed",
    "cls_embed", "query_embed", "presence_token", "char_position_embeddings", "text_token_embedding",
    "text_position_embedding", "pos_emb", "segment_embedding", "row_embeddings", "column_embeddings", "segment_emb",
    "box_position_embeddings", "tile_embedding", "value_embeddings", "tokens_embed", "positions_embed",
    "visual_embeddings_table", "label_embeddings", "ngram_embeddings", "audio_bos_eos_token",
    "reference_point_embed", "pronunciation_embed", "shape_embed", "hq_token", "rel_embeddings", "embed_timestep",
    "embed_global", "freq_emb", "row_position_embeddings", "col_position_embeddings", "codebook",
    "visual_token_type_embeddings", "visual_position_embeddings", "queries_embedder",
    *(f"token_type_embeddings_{i}" for i in range(7)), *(f"HashBucketCodepointEmbedder_{i}" for i in range(8)),
))  # fmt: skip
