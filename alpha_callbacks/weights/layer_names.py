"""Layer name -> category, block and position, by whole path segments, from one table."""

import re
from functools import lru_cache

from alpha_callbacks.weights.categories import BY_CATEGORY, INSIDE_ATTENTION, INSIDE_MLP

_REMEMBERED = 2**16  # names, which every state of a training run has again

# What follows the name and the category of a weight in those of its update (W - W0, or what an adapter adds): no module
# has such a name, and no mean over a category mixes the two.
UPDATE, UPDATE_CATEGORY = " (update)", "_update"
REORDERED_IN_GGUF = (
    "attn_q",
    "attn_k",
    "attn_qkv",
)  # llama.cpp stores their rows in another order: other matrix, same alpha

_BY_SEGMENT = {segment: category for category, segments in BY_CATEGORY.items() for segment in segments}
SEGMENTS = frozenset(_BY_SEGMENT)  # all that decide a category

_ATTENTION = re.compile(
    r"^(self_)?(attn|attention|self_attention|self_attn|SelfAttention|cross_attn|crossattention|encoder_attn)$"
)
_MLP = re.compile(r"^(mlp|ffn|feed_forward|ffw_layer_(start|end))\d?$")
_EXPERTS = re.compile(r"^(experts?|shared_experts?|block_sparse_moe|local_experts)$")
_STATE_SPACE = {"mixer", "mamba", "conv", "shortconv"}
_NUMBERED_EXPERT = re.compile(r"\.ffn_(gate|up|down)\.\d+$")  # GGUF files of 2023, before experts were stacked
_BLOCKS = re.compile(r"^(layers?|h|blocks?|blk|layer_stack|decoder_layers|transformer_blocks)$")


@lru_cache(_REMEMBERED)
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
        return INSIDE_ATTENTION.get(last, "other")
    if category == "other" and parents and _MLP.match(parents[-1]):
        category = INSIDE_MLP.get(last, "other")
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


@lru_cache(_REMEMBERED)
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
