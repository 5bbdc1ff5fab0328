"""Fused tensors -> the matrices inside them: q/k/v, gate/up, and experts stacked in three dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Part:
    """One matrix inside a fused one.

    Attributes:
        suffix: appended to the layer name with a dot.
        category: category of the part.
        ranges: its output rows, as (start, stop) pairs in order.
    """

    suffix: str
    category: str
    ranges: Ranges


@dataclass(frozen=True)
class Heads:
    """Attention geometry from a model's config.

    Attributes:
        queries: query heads.
        keys: key/value heads.
        size: features per head.
        grouped: True where rows are stored group by group (NeoX, BLOOM, Falcon's newer layout, InternLM2), False for
            all q, then all k, then all v.
    """

    queries: int
    keys: int
    size: int
    grouped: bool


# How a model family stores its fused q, k and v. A family that is not listed is left whole: a wrong split is worse.
_CONCATENATED_MODELS = {
    "phi3", "phi4_multimodal", "gpt2", "openai-gpt", "imagegpt", "decision_transformer", "mpt", "dbrx", "baichuan",
    "qwen",
}  # fmt: skip
_GROUPED_MODELS = {"gpt_neox", "bloom", "internlm2", "gpt_neox_japanese"}
_FALCON_MODELS = {"falcon", "RefinedWeb", "RefinedWebModel"}
TRANSPOSED_MODELS = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}  # HF Conv1D stores (in, out)


def read_heads(config: Mapping[str, Any]) -> Heads | None:
    """Return the attention geometry of a family with fused q, k, v, or None where it is not known."""
    config = text_config(config)
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    queries = _first(config, "num_attention_heads", "n_head", "n_heads")
    if not hidden or not queries:
        return None
    keys = _first(config, "num_key_value_heads", "num_kv_heads") or queries
    model_type = str(config.get("model_type", ""))
    grouped = model_type in _GROUPED_MODELS
    if model_type in _FALCON_MODELS:
        grouped = bool(config.get("new_decoder_architecture")) or not config.get("multi_query")
        keys = keys if config.get("new_decoder_architecture") else (1 if config.get("multi_query") else queries)
    elif model_type == "gpt_bigcode":
        grouped = not config.get("multi_query", True)
        keys = queries if grouped else 1
    elif model_type not in _CONCATENATED_MODELS | _GROUPED_MODELS:
        return None
    return Heads(queries, keys, _first(config, "head_dim") or hidden // queries, grouped)


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the language part of a multi-modal config, else the config itself."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def split_qkv(out_features: int, config: Mapping[str, Any]) -> tuple[Part, ...]:
    """Return the q, k and v parts of a fused projection, or () when the config does not explain its shape."""
    heads = read_heads(config)
    if heads is None or out_features != (heads.queries + 2 * heads.keys) * heads.size:
        return ()
    q, kv = heads.queries * heads.size, heads.keys * heads.size
    if not heads.grouped:
        return split_qkv_sizes(q, kv, kv)
    a_group = q // heads.keys
    stride = a_group + 2 * heads.size
    bounds = {"q": (0, a_group), "k": (a_group, a_group + heads.size), "v": (a_group + heads.size, stride)}
    return tuple(
        Part(name, f"attn_{name}", tuple((g * stride + a, g * stride + b) for g in range(heads.keys)))
        for name, (a, b) in bounds.items()
    )


def split_thirds(out_features: int) -> tuple[Part, ...]:
    """Return q, k, v of nn.MultiheadAttention.in_proj_weight, shape (3 * embed, embed)."""
    third = out_features // 3
    return split_qkv_sizes(third, third, third)


def split_qkv_sizes(q: int, k: int, v: int) -> tuple[Part, ...]:
    """Return q, k and v of these numbers of rows, one after the other."""
    return _concatenated((("q", "attn_q", q), ("k", "attn_k", k), ("v", "attn_v", v)))


def split_gate_up(out_features: int, config: Mapping[str, Any], prefix: str = "mlp") -> tuple[Part, ...]:
    """Return gate and up of a fused projection, or () when it is not twice an intermediate size of the config."""
    config = text_config(config)
    sizes = [config.get(name) for name in ("intermediate_size", "moe_intermediate_size", "ffn_hidden_size")]
    half, odd = divmod(out_features, 2)
    if odd or half not in sizes:
        return ()
    if prefix == "moe_expert" and config.get("model_type") == "gpt_oss":  # gate and up take turns, row by row
        return tuple(
            Part(name, f"{prefix}_{name}", tuple((row, row + 1) for row in range(first, out_features, 2)))
            for first, name in enumerate(("gate", "up"))
        )
    return split_halves(out_features, prefix)


def split_halves(out_features: int, prefix: str) -> tuple[Part, ...]:
    """Return gate and up of equal size, one after the other."""
    half = out_features // 2
    return _concatenated((("gate", f"{prefix}_gate", half), ("up", f"{prefix}_up", half)))


def _concatenated(sizes: tuple[tuple[str, str, int], ...]) -> tuple[Part, ...]:
    parts, start = [], 0
    for suffix, category, size in sizes:
        parts.append(Part(suffix, category, ((start, start + size),)))
        start += size
    return tuple(parts)


def _first(config: Mapping[str, Any], *names: str) -> int:
    return next((int(config[name]) for name in names if isinstance(config.get(name), int)), 0)
