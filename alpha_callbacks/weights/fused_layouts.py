"""Fused tensors -> the matrices inside them: q/k/v, gate/up, and experts stacked in three dimensions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from alpha_callbacks.weights.categorize import categorize
from alpha_callbacks.weights.families import family_of, text_config

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


def read_heads(config: Mapping[str, Any]) -> Heads | None:
    """Return the attention geometry of a family with fused q, k, v, or None where it is not known."""
    layout, config = family_of(config).qkv, text_config(config)
    hidden = _first(config, "hidden_size", "n_embd", "d_model")
    queries = _first(config, "num_attention_heads", "n_head", "n_heads")
    if not (layout and hidden and queries):
        return None
    inner = config.get("attn_config")  # DBRX
    keys = _first(config, "num_key_value_heads", "num_kv_heads", "kv_n_heads")
    keys = keys or _first(inner if isinstance(inner, Mapping) else {}, "kv_n_heads") or queries
    if config.get("multi_query_attention"):  # ChatGLM
        keys = _first(config, "multi_query_group_num") or keys
    grouped = layout == "grouped"
    if layout == "falcon":
        grouped = bool(config.get("new_decoder_architecture")) or not config.get("multi_query")
        keys = keys if config.get("new_decoder_architecture") else (1 if config.get("multi_query") else queries)
    elif layout == "bigcode":
        grouped = not config.get("multi_query", True)
        keys = queries if grouped else 1
    return Heads(queries, keys, _first(config, "head_dim", "kv_channels") or hidden // queries, grouped)


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
    half, odd = divmod(out_features, 2)
    if odd or half not in intermediate_sizes(config):
        return ()
    if prefix == "moe_expert" and family_of(config).alternating:
        return tuple(
            Part(name, f"{prefix}_{name}", tuple((row, row + 1) for row in range(first, out_features, 2)))
            for first, name in enumerate(("gate", "up"))
        )
    return split_halves(out_features, prefix)


def intermediate_sizes(config: Mapping[str, Any]) -> list[int]:
    """Return the widths between the projections of an MLP or an expert."""
    config = text_config(config)
    names = (
        "intermediate_size", "moe_intermediate_size", "ffn_hidden_size", "shared_intermediate_size",
        "shared_expert_intermediate_size",
    )  # fmt: skip
    return [config[name] for name in names if isinstance(config.get(name), int)]


def split_equally(out_features: int, count: int) -> tuple[Part, ...]:
    """Return parts of equal size, one after the other, without names and categories of their own."""
    return _concatenated((("", "", out_features // count),) * count)


def split_groups(out_features: int, count: int, category: str) -> tuple[Part, ...]:
    """Return the matrices of a block-diagonal projection, named by their numbers; () where the count does not fit."""
    if not count or out_features % count:
        return ()
    return _concatenated(tuple((str(number), category, out_features // count) for number in range(count)))


def split_named(out_features: int, layer: str, names: tuple[str, ...]) -> tuple[Part, ...]:
    """Return parts of equal size with these names, which are of the same module as the fused layer."""
    size, odd = divmod(out_features, len(names))
    module, attention = layer.rpartition(".")[0], ("q", "k", "v")
    categories = [f"attn_{n}" if n in attention else categorize(f"{module}.{n}_proj") for n in names]
    return () if odd else _concatenated(tuple((n, c, size) for n, c in zip(names, categories, strict=True)))


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
