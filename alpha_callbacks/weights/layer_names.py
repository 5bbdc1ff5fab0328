"""Layer name -> category, block and position, by whole path segments, from one table."""

import re

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

# What follows the name and the category of a weight in those of its update (W - W0, or what an adapter adds): no module
# has such a name, and no mean over a category mixes the two.
UPDATE, UPDATE_CATEGORY = " (update)", "_update"
REORDERED_IN_GGUF = (
    "attn_q",
    "attn_k",
    "attn_qkv",
)  # llama.cpp stores their rows in another order: other matrix, same alpha

# Whole segments, as the model families spell them (Llama, GPT-2, NeoX, BERT, Falcon, DeepSeek, Mixtral, GGUF, ...).
_SEGMENTS: dict[str, tuple[str, ...]] = {
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
        # In all of transformers 5.23 an nn.Embedding and nothing else has these names.
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
    ),
    "lm_head": ("lm_head", "embed_out", "output_projection", "shared_head_head"),
    "conv": ("conv", "ssm_conv1d", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v", "conv_dw", "conv_pw1", "conv_pw2"),
}  # fmt: skip
_BY_SEGMENT = {segment: category for category, segments in _SEGMENTS.items() for segment in segments}
SEGMENTS = frozenset(_BY_SEGMENT)  # all that decide a category

_ATTENTION = re.compile(
    r"^(self_)?(attn|attention|self_attention|self_attn|SelfAttention|cross_attn|crossattention|encoder_attn)$"
)
_MLP = re.compile(r"^(mlp|ffn|feed_forward|ffw_layer_(start|end))\d?$")
# What these names mean depends on the module that they are in: attention, an MLP, or something else.
_INSIDE_ATTENTION = {
    "linear_out": "attn_o", "output_proj": "attn_o", "post_proj": "attn_o", "projection": "attn_o",
    "projection_layer": "attn_o", "post": "attn_o",
}  # fmt: skip
_INSIDE_MLP = {
    "proj_in": "mlp_up", "linear_fc1": "mlp_up", "linear1": "mlp_up", "linear_1": "mlp_up", "ffw_layer_1": "mlp_up",
    "proj_out": "mlp_down", "linear_fc2": "mlp_down", "linear2": "mlp_down", "linear_2": "mlp_down",
    "ffw_layer_2": "mlp_down", "output_dense": "mlp_down",
}  # fmt: skip
_EXPERTS = re.compile(r"^(experts?|shared_experts?|block_sparse_moe|local_experts)$")
_STATE_SPACE = {"mixer", "mamba", "conv", "shortconv"}
_NUMBERED_EXPERT = re.compile(r"\.ffn_(gate|up|down)\.\d+$")  # GGUF files of 2023, before experts were stacked
_BLOCKS = re.compile(r"^(layers?|h|blocks?|blk|layer_stack|decoder_layers|transformer_blocks)$")


def categorize(layer_name: str, *, ndim: int = 2) -> str:
    """Return the category of a layer.

    Args:
        layer_name: module path without ".weight".
        ndim: dimensions of the stored tensor; 3 to 5 mean a convolution.

    Examples:
        >>> categorize("model.layers.0.self_attn.qkv_proj"), categorize("h.0.mlp.c_proj"), categorize("h.0.attn.c_proj")
        ('attn_qkv', 'mlp_down', 'attn_o')
    """
    if ndim > 2:
        return "conv"
    path = layer_name.split(".")
    while len(path) > 1 and (path[-1].isdigit() or path[-1] in ("base_layer", "default")):
        path.pop()
    last, parents = path[-1], path[:-1]
    if parents[-1:] == ["router"] or last in ("gate", "wg") and _moe_block(parents):
        return "moe_router"
    if last in ("c_proj", "dense", "output", "wo", "Wo", "proj", "out"):
        return _projection(parents, last)
    if last == "decoder" and parents[-1:] in (["predictions"], ["lm_head"]):
        return "lm_head"
    category = _BY_SEGMENT.get(last, "other")
    if category == "other" and parents and _ATTENTION.match(parents[-1]):
        return _INSIDE_ATTENTION.get(last, "other")
    if category == "other" and parents and _MLP.match(parents[-1]):
        category = _INSIDE_MLP.get(last, "other")
    if category != "conv" and _STATE_SPACE.intersection(parents):  # not the in_proj and out_proj of attention
        return "other"
    if category.startswith("mlp_") and parents and _ATTENTION.match(parents[-1]):  # a gate of attention's output
        return "other"
    inside_experts = any(_EXPERTS.match(part) for part in parents) or _NUMBERED_EXPERT.search(layer_name)
    return category.replace("mlp_", "moe_expert_") if inside_experts and category.startswith("mlp_") else category


def _moe_block(parents: list[str]) -> bool:
    """Return True if `gate` under these parents routes tokens (Mixtral, Qwen-MoE, DeepSeek), not a GLU gate."""
    return bool(parents) and parents[-1] in ("block_sparse_moe", "mlp", "moe", "ffn", "feed_forward")


def _projection(parents: list[str], last: str) -> str:
    """Return the category of a last segment that means different things under different parents."""
    if last == "output" and not parents:  # GGUF's language head
        return "lm_head"
    for part in reversed(parents):
        if _ATTENTION.match(part):
            return "attn_o"
        if part in ("intermediate",):
            return "mlp_up"
        if part in ("mlp", "output", "feed_forward", "ffn", "DenseReluDense"):
            return "attn_o" if part == "output" and "attention" in parents else "mlp_down"
    return "attn_o" if last in ("wo", "Wo") else "other"


def block_index(layer_name: str) -> int | None:
    """Return the index of the transformer block that a layer is in.

    Examples:
        >>> block_index("model.layers.17.self_attn.q_proj"), block_index("blk.3.ffn_up"), block_index("lm_head")
        (17, 3, None)
    """
    path = layer_name.split(".")
    for parent, child in zip(path, path[1:], strict=False):
        if _BLOCKS.match(parent) and child.isdigit():
            return int(child)
    return None


def short_name(layer_name: str) -> str:
    """Return the part of a layer name that tells it from the others of its block.

    Examples:
        >>> short_name("model.layers.17.self_attn.q_proj"), short_name("lm_head")
        ('self_attn.q_proj', 'lm_head')
    """
    path = layer_name.split(".")
    for i in range(len(path) - 2, 0, -1):
        if _BLOCKS.match(path[i - 1]) and path[i].isdigit():
            return ".".join(path[i + 1 :])
    return layer_name


# Where a path segment stands among its siblings, for sources that do not keep module order. Unlisted ones stand in the
# middle, in natural order.
_ORDER = (
    ("embeddings", "embed_tokens", "wte", "wpe", "token_embd", "tok_embeddings", "embed_in", "word_embeddings"),
    ("self_attn", "attn", "attention", "self_attention", "SelfAttention", "self"),
    ("qkv_proj", "c_attn", "query_key_value", "Wqkv", "wqkv", "in_proj", "attn_qkv"),
    ("q_proj", "query", "wq", "attn_q", "q"),
    ("k_proj", "key", "wk", "attn_k", "k"),
    ("v_proj", "value", "wv", "attn_v", "v"),
    ("o_proj", "out_proj", "wo", "attn_output", "dense"),
    (),
    ("intermediate",),
    ("router", "gate", "ffn_gate_inp"),
    ("experts",),
    ("gate_up_proj", "gate_proj", "w1", "ffn_gate", "c_fc", "fc1", "dense_h_to_4h"),
    ("up_proj", "w3", "ffn_up", "up"),
    ("down_proj", "w2", "ffn_down", "fc2", "dense_4h_to_h", "down", "c_proj"),
    ("pooler",),
    ("lm_head", "embed_out", "output", "classifier", "score", "cls"),
)
_RANK = {segment: rank for rank, segments in enumerate(_ORDER) for segment in segments}
_MIDDLE = _ORDER.index(())


def module_order(layer_name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key that puts layers in the order of the forward pass, whatever the order of shards or headers."""
    return tuple(
        (_RANK.get(part, _MIDDLE), int(part) if part.isdigit() else -1, part) for part in layer_name.split(".")
    )


_WRAPPERS = (
    "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module",
    "_original_module",
)  # fmt: skip


def clean_name(name: str) -> str:
    """Return a parameter path without what torch.compile, FSDP, checkpointing, Lightning and PEFT put into it.

    Examples:
        >>> clean_name("_orig_mod.layers.0._checkpoint_wrapped_module.fc1.weight")
        'layers.0.fc1.weight'
        >>> clean_name("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
        'model.layers.0.mlp.up_proj.base_layer.weight'
    """
    path = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return re.sub(r"(^|\.)base_model\.model\.", r"\1", path)
