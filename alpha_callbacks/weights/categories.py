"""The words of layer names, as data: what the last segment of a path says about the matrix."""

CATEGORIES = (
    "attn_q",
    "attn_k",
    "attn_v",
    "attn_o",
    "attn_qkv",
    "mlp_gate",
    "mlp_up",
    "mlp_down",
    "mlp_gate_up",
    "moe_router",
    "moe_expert_gate",
    "moe_expert_up",
    "moe_expert_down",
    "moe_expert_gate_up",
    "embedding",
    "lm_head",
    "conv",
    "other",
)

# Whole segments, as the model families spell them (Llama, GPT-2, NeoX, BERT, Falcon, DeepSeek, Mixtral, GGUF, ...).
BY_CATEGORY: dict[str, tuple[str, ...]] = {
    "attn_q": ("q_proj", "wq", "query", "attn_q", "q_lin", "to_q", "q_a_proj", "q_b_proj", "attn_q_a", "attn_q_b", "q",
        "cross_attn_q", "self_attn_q", "time_mix_receptance", "query_proj", "linear_q", "q_head", "projection_query",
        "add_q_proj",
    ),
    "attn_k": (
        "k_proj", "wk", "key", "attn_k", "k_lin", "to_k", "k", "attn_k_b", "cross_attn_k", "self_attn_k",
        "time_mix_key", "key_proj", "linear_k", "k_head", "projection_key", "add_k_proj",
    ),
    "attn_v": (
        "v_proj", "wv", "value", "attn_v", "v_lin", "to_v", "v", "attn_v_b", "cross_attn_v", "self_attn_v",
        "time_mix_value", "value_proj", "linear_v", "v_head", "projection_value", "add_v_proj",
    ),
    "attn_o": (
        "o_proj", "wo", "out_proj", "attn_output", "out_lin", "to_out", "o", "attn_o", "attn_out", "cross_attn_o",
        "cross_attn_out", "self_attn_out", "vis_attn_output", "time_mix_output", "to_add_out",
    ),
    "attn_qkv": (
        "qkv_proj", "c_attn", "query_key_value", "Wqkv", "wqkv", "in_proj", "attn_qkv", "qkv", "kv_a_proj_with_mqa",
        "kv_b_proj", "attn_kv_a_mqa", "attn_kv_b", "W_pack", "vis_attn_qkv",
    ),
    "mlp_gate": ("gate_proj", "w1", "ffn_gate", "gate", "wi_0", "ffn_gate_1", "vis_gate"),
    "mlp_up": (
        "up_proj", "w3", "ffn_up", "c_fc", "fc1", "dense_h_to_4h", "fc_in", "up", "wi", "wi_1", "lin1", "ffn_up_1",
        "vis_up", "channel_mix_key", "intermediate_dense", "pwconv1",
    ),
    "mlp_down": (
        "down_proj", "w2", "ffn_down", "fc2", "dense_4h_to_h", "fc_out", "down", "lin2", "output_linear", "ffn_down_1",
        "vis_down", "channel_mix_value", "pwconv2",
    ),
    "mlp_gate_up": ("gate_up_proj", "gate_and_up_proj", "dense_h_to_4h_swiglu", "input_linear", "Wi"),
    "moe_router": ("router", "ffn_gate_inp", "shared_expert_gate", "ffn_gate_inp_shexp"),
    "moe_expert_gate": ("ffn_gate_exps", "ffn_gate_chexps", "ffn_gate_shexp"),
    "moe_expert_up": ("ffn_up_exps", "ffn_up_chexps", "ffn_up_shexp"),
    "moe_expert_down": ("ffn_down_exps", "ffn_down_chexps", "ffn_down_shexp"),
    "moe_expert_gate_up": ("ffn_gate_up_exps",),
    "embedding": (
        "embed_tokens", "wte", "wpe", "word_embeddings", "position_embeddings", "token_type_embeddings", "token_embd",
        "tok_embeddings", "embed_in", "embed_positions", "embedding", "embeddings", "embed", "emb", "shared",
        "position_embd", "relative_attention_bias", "token_embedding", "position_embedding", "word_embedding",
        "per_layer_token_embd", "token_types", "pos_embd", "pos_embd_k", "pos_h", "pos_w", "attn_rel_b",
        "cross_attn_rel_b", "attn_rel_pos_emb",
    ),
    "lm_head": (
        "lm_head", "embed_out", "output_projection", "shared_head_head", "vocab_projector", "generator_lm_head",
        "lm_loss",
    ),
    "conv": ("conv", "ssm_conv1d", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v", "conv_dw", "conv_pw1", "conv_pw2"),
}  # fmt: skip

# What these names mean depends on the module that they are in: attention, an MLP, or something else.
INSIDE_ATTENTION = {
    "linear_out": "attn_o", "output_proj": "attn_o", "post_proj": "attn_o", "projection": "attn_o",
    "projection_layer": "attn_o", "post": "attn_o",
}  # fmt: skip
INSIDE_MLP = {
    "proj_in": "mlp_up", "linear_fc1": "mlp_up", "linear1": "mlp_up", "linear_1": "mlp_up", "ffw_layer_1": "mlp_up",
    "proj_out": "mlp_down", "linear_fc2": "mlp_down", "linear2": "mlp_down", "linear_2": "mlp_down",
    "ffw_layer_2": "mlp_down", "output_dense": "mlp_down",
}  # fmt: skip

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
