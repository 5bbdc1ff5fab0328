"""Tiny models of the families whose loaded modules differ from their files, with random weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from alpha_callbacks.checkpoints.open_checkpoint import open_checkpoint
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.planning.layer_config import layers_of
from alpha_callbacks.planning.plan import Choice

_TEXT: dict[str, Any] = {
    "vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16,
}  # fmt: skip
_ROPE = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True, "rope_theta": 1e4}
_VISION = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 2, "patch_size": 14}


def _llama(t: Any) -> Any:
    return t.LlamaForCausalLM(t.LlamaConfig(**_TEXT))


def _gemma3(t: Any) -> Any:
    vision = {**_VISION, "num_hidden_layers": 1, "image_size": 28}
    return t.Gemma3ForConditionalGeneration(
        t.Gemma3Config(text_config=_TEXT, vision_config=vision, mm_tokens_per_image=4)
    )


def _mixtral(t: Any) -> Any:
    return t.MixtralForCausalLM(t.MixtralConfig(**_TEXT, num_local_experts=2))


def _deepseek(t: Any) -> Any:
    latent = {"q_lora_rank": 64, "kv_lora_rank": 32, "qk_rope_head_dim": 16, "qk_nope_head_dim": 32, "v_head_dim": 32}
    experts = {"n_routed_experts": 2, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 1, "n_shared_experts": 1}
    sizes = {**_TEXT, "num_key_value_heads": 4, "moe_intermediate_size": 64, "first_k_dense_replace": 1}
    return t.DeepseekV3ForCausalLM(t.DeepseekV3Config(**sizes, **latent, **experts))


def _qwen3_vl(t: Any) -> Any:
    vision = {"depth": 1, "hidden_size": 64, "intermediate_size": 64, "num_heads": 4, "patch_size": 4}
    more = {"out_hidden_size": 64, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}
    config = t.Qwen3VLConfig(text_config={**_TEXT, "rope_parameters": _ROPE}, vision_config={**vision, **more})
    return t.Qwen3VLForConditionalGeneration(config)


def _opt(t: Any) -> Any:
    sizes = {"vocab_size": 64, "hidden_size": 64, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    return t.OPTForCausalLM(t.OPTConfig(**sizes, word_embed_proj_dim=64, max_position_embeddings=32))


def _neox(t: Any) -> Any:
    sizes = {"vocab_size": 64, "hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 2}
    return t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**sizes, num_attention_heads=4, max_position_embeddings=32))


BUILD: dict[str, Callable[[Any], Any]] = {
    "llama": _llama, "gemma3": _gemma3, "mixtral": _mixtral, "deepseek_v3": _deepseek, "qwen3_vl": _qwen3_vl,
    "opt": _opt, "gpt_neox": _neox,
}  # fmt: skip


def save_architecture(name: str, folder: Path) -> Path:
    """Write a model of an architecture, in bf16, and return its folder."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    BUILD[name](transformers).to(torch.bfloat16).save_pretrained(folder)
    return folder


def choices_of(folder: Path) -> tuple[Choice, ...]:
    """Return the layers of a folder as a scan lists them, all at 16 bits."""
    return layers_of(open_checkpoint(folder).inventory(AnalysisOptions()).weights)
