"""The config of every architecture, made small: what a config calls each of its sizes, and what must be set by hand."""

from collections.abc import Mapping
from typing import Any

from transformers import PreTrainedConfig


def _each(value: int, *names: str) -> dict[str, int]:
    return dict.fromkeys(names, value)


# No two widths are equal but those of hidden states, so that a shape tells which dimension is which.
SIZES: Mapping[str, int] = {
    **_each(
        64, "hidden_size", "d_model", "n_embd", "embed_dim", "hidden_dim", "dim", "model_dim", "embedding_size",
        "word_embed_proj_dim", "projection_dim", "dim_model", "decoder_hidden_size", "encoder_hidden_size",
        "max_position_embeddings", "n_positions", "n_ctx", "max_source_positions", "max_target_positions",
        "max_seq_len", "codebook_size", "lru_width", "attention_hidden_size", "max_2d_position_embeddings",
        "out_hidden_size", "cross_attention_dim", "model_max_length", "lm_hidden_size", "vision_hidden_size",
        "text_hidden_size", "shared_hidden_size", "output_hidden_size", "embed_dims", "qkv_dim", "hidden_dims",
        "projector_hidden_size",
    ),
    **_each(
        96, "mlp_dim", "intermediate_size", "ffn_dim", "d_ff", "encoder_ffn_dim", "decoder_ffn_dim", "n_inner",
        "mlp_hidden_size", "ffn_hidden_size", "dim_ff", "feed_forward_hidden_size", "ffn_hidden_sizes",
        "intermediate_dim", "d_inner",
    ),
    **_each(48, "moe_intermediate_size", "expert_ffn_hidden_size", "moe_ffn_hidden_size"),
    **_each(80, "shared_expert_intermediate_size", "shared_intermediate_size"),
    **_each(112, "intermediate_size_mlp"),
    **_each(
        128, "vocab_size", "decoder_vocab_size", "text_vocab_size", "audio_vocab_size", "vocab_size_per_layer_input",
        "char_vocab_size", "mamba_d_ssm",
    ),
    **_each(32, "q_lora_rank", "image_size", "num_buckets"),
    **_each(24, "kv_lora_rank", "qk_head_dim"),
    **_each(
        16, "d_kv", "head_dim", "global_head_dim", "kv_channels", "attention_head_dim", "attention_head_size",
        "qk_nope_head_dim", "v_head_dim", "num_mel_bins", "mamba_d_head", "hidden_size_per_layer_input",
        "linear_key_head_dim", "linear_value_head_dim", "index_head_dim", "dim_head",
    ),
    **_each(
        8, "rotary_dim", "qk_rope_head_dim", "patch_size", "mamba_d_state", "state_size", "mamba_n_heads",
        "rope_head_dim", "vision_start_token_id",
    ),
    **_each(
        4, "num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads",
        "decoder_attention_heads", "decoder_num_attention_heads", "encoder_num_attention_heads", "attention_heads",
        "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts", "linear_num_value_heads",
        "index_n_heads",
    ),
    **_each(
        2, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers",
        "num_decoder_layers", "num_encoder_layers", "depth", "decoder_num_hidden_layers", "encoder_num_hidden_layers",
        "num_key_value_heads", "num_kv_heads", "multi_query_group_num", "decoder_num_key_value_heads",
        "encoder_num_key_value_heads", "num_experts_per_tok", "moe_top_k", "moe_k", "num_experts_per_token",
        "linear_num_key_heads", "num_experts_per_group", "num_codebooks", "mamba_expand", "type_vocab_size",
        "eos_token_id",
    ),
    **_each(
        1, "n_shared_experts", "n_group", "topk_group", "first_k_dense_replace", "num_expert_groups", "mamba_n_groups",
        "moe_num_shared_experts", "num_shared_experts", "max_window_layers", "bos_token_id", "decoder_start_token_id",
    ),
    **_each(0, "num_nextn_predict_layers", "pad_token_id"),
    "image_token_id": 5, "video_token_id": 6, "audio_token_id": 7, "image_token_index": 5, "vision_end_token_id": 9,
}  # fmt: skip
_WIDTHS_OF_STAGES = ("hidden_sizes", "embed_dims", "embed_dim", "conv_dim", "neck_hidden_sizes")
_TOKENS = ("_token_id", "_token_index", "_id", "_idx")

# Where shrinking by name does not do.
BY_HAND: Mapping[str, Mapping[str, Any]] = {
    "bamba": dict(attn_layer_indices=[1], mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=1),
    "bloom": dict(hidden_size=64, n_head=4, n_layer=2),
    "dbrx": dict(
        d_model=64, n_heads=4, n_layers=2, attn_config=dict(kv_n_heads=2, clip_qkv=None, rope_theta=1e4),
        ffn_config=dict(ffn_hidden_size=96, moe_num_experts=4, moe_top_k=2),
    ),
    "dots1": dict(n_routed_experts=4, n_group=1, topk_group=1, num_experts_per_tok=2, n_shared_experts=1),
    "esm": dict(vocab_size=33, pad_token_id=1, mask_token_id=32),
    "falcon": dict(multi_query=True, new_decoder_architecture=False),
    "falcon_h1": dict(mamba_d_ssm=128, mamba_n_heads=8, mamba_d_head=16, mamba_expand=2, mamba_n_groups=1),
    "falcon_mamba": dict(intermediate_size=128, time_step_rank=8),
    "flaubert": dict(emb_dim=64, n_words=128),
    "gemma3n_text": dict(
        num_hidden_layers=4, layer_types=["sliding_attention", "full_attention"] * 2, num_kv_shared_layers=0,
        intermediate_size=[96] * 4, activation_sparsity_pattern=[0.0] * 4, laurel_rank=8,
    ),
    "hunyuan_v1_dense": dict(head_dim=16),
    "hunyuan_v1_moe": dict(head_dim=16),
    "ministral": dict(head_dim=16),
    "gpt_neo": dict(num_layers=2, attention_types=[[["global", "local"], 1]]),
    "jamba": dict(
        num_hidden_layers=4, attn_layer_period=2, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
        mamba_dt_rank=8, use_mamba_kernels=False,
    ),
    "lfm2_moe": dict(layer_types=["conv", "full_attention"], num_dense_layers=1),
    "mamba": dict(intermediate_size=128, time_step_rank=8),
    "mamba2": dict(num_heads=8, head_dim=16, expand=2, n_groups=1, state_size=8),
    "mistral4": dict(qk_rope_head_dim=8, head_dim=16),
    "mpt": dict(d_model=64, n_heads=4, n_layers=2),
    "nemotron": dict(head_dim=16, num_key_value_heads=2),
    "phi3": dict(rope_scaling=None),
    "rwkv": dict(attention_hidden_size=64, intermediate_size=96),
    "xlm": dict(emb_dim=64, n_words=128),
    "zamba": dict(
        num_hidden_layers=4, layers_block_type=["mamba", "hybrid"] * 2, n_mamba_heads=2, mamba_dt_rank=8,
        attention_hidden_size=128, attention_head_dim=32,
    ),
    "zamba2": dict(
        num_hidden_layers=4, layers_block_type=["mamba", "hybrid"] * 2, n_mamba_heads=8, mamba_headdim=16,
        mamba_ngroups=1, num_mem_blocks=1, adapter_rank=8, use_shared_attention_adapter=True,
        attention_hidden_size=128, attention_head_dim=32,
    ),
}  # fmt: skip

# Further layouts of a family: name of the entry -> its model_type and what its config says.
VARIANTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "falcon-mha": ("falcon", dict(multi_query=False, new_decoder_architecture=False)),
    "falcon-40b": ("falcon", dict(num_kv_heads=2, new_decoder_architecture=True)),
    "gpt_bigcode-mha": ("gpt_bigcode", dict(multi_query=False)),
    "gpt2-cross": ("gpt2", dict(add_cross_attention=True)),
    "llama-tied": ("llama", dict(tie_word_embeddings=True)),
    "gpt_neox-tied": ("gpt_neox", dict(tie_word_embeddings=True)),
    "gpt_oss-square": ("gpt_oss", dict(intermediate_size=64)),  # as both released models: of hidden_size
    "mpt-gqa": ("mpt", dict(d_model=64, n_heads=4, n_layers=2, attn_config=dict(kv_n_heads=2))),
}


def tiny_config(config_class: type[PreTrainedConfig], overrides: Mapping[str, Any]) -> PreTrainedConfig:
    """Return a small config of this class, and small ones inside it, with these values set."""
    default = config_class()
    inner = {
        key: tiny_config(type(value), overrides.get(key, {}))
        for key, value in vars(default).items()
        if isinstance(value, PreTrainedConfig)
    }
    small = dict(_shrunk(default))
    stages = next((v for k, v in small.items() if _names_layers(k) and isinstance(v, list)), None)
    if stages is not None:
        small |= {k: max(len(stages), 2) for k in ("num_hidden_layers", "n_layer", "num_layers") if k in small}
    small |= {key: value for key, value in overrides.items() if key not in inner}
    try:
        return config_class(**small, **inner)
    except Exception:
        if not inner:
            raise
        return config_class(**small, **{key: value.to_dict() for key, value in inner.items()})


def _shrunk(config: PreTrainedConfig) -> dict[str, Any]:
    """Return the values of a config that are to change."""
    small: dict[str, Any] = {}
    for key, value in vars(config).items():
        if isinstance(value, bool) or key.startswith("_"):
            continue
        if isinstance(value, int):
            if key in SIZES:
                small[key] = min(value, SIZES[key]) if value > 0 else value
            elif key.endswith(_TOKENS) and value >= SIZES["vocab_size"]:
                small[key] = sum(map(ord, key)) % 100 + 10
        elif isinstance(value, list | tuple):
            if key == "depths":
                small[key] = [1] * len(value)
            elif key in _WIDTHS_OF_STAGES:
                small[key] = type(value)(32 if key == "conv_dim" else 32 * (i + 1) for i in range(len(value)))
            elif len(value) > 2 and _names_layers(key):
                kinds = list(dict.fromkeys(value))
                small[key] = kinds if len(kinds) > 1 else kinds * 2
    return small


def _names_layers(key: str) -> bool:
    return "layer_types" in key or "block_type" in key
