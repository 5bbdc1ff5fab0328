"""Layer name -> block and position, by whole path segments; names without what wrappers put into them."""

import re
from functools import lru_cache

from alpha_callbacks.utils.whole_numbers import is_index

_REMEMBERED = 2**16  # names, which every state of a training run has again

# What follows the name and the category of a weight in those of its update (W - W0, or what an adapter adds): no module
# has such a name, and no mean over a category mixes the two.
UPDATE, UPDATE_CATEGORY = " (update)", "_update"
REORDERED_IN_GGUF = (
    "attn_q",
    "attn_k",
    "attn_qkv",
)  # llama.cpp stores their rows in another order: other matrix, same alpha

_BLOCKS = re.compile(r"^(layers?|h|blocks?|blk|layer_stack|decoder_layers|transformer_blocks)$")


def block_index(layer_name: str) -> int | None:
    """Return the index of the transformer block that a layer is in.

    Examples:
        >>> block_index("model.layers.17.self_attn.q_proj"), block_index("blk.3.ffn_up"), block_index("lm_head")
        (17, 3, None)
    """
    path = layer_name.split(".")
    for parent, child in zip(path, path[1:], strict=False):
        if _BLOCKS.match(parent) and is_index(child):
            return int(child)
    return None


def expert_place(layer_name: str) -> tuple[str, int] | None:
    """Return (path of the block, number of the expert) of a routed expert, None where the name has no such number.

    Examples:
        >>> expert_place("model.layers.3.mlp.experts.17.down_proj"), expert_place("model.layers.3.mlp.down_proj")
        (('model.layers.3', 17), None)
    """
    path = layer_name.split(".")
    numbers = [i for i, part in enumerate(path) if is_index(part)]
    inside = [i for i in numbers if i and _BLOCKS.match(path[i - 1])][:1]
    others = [i for i in numbers if i not in inside]
    if not others:
        return None
    end = inside[0] + 1 if inside else others[-1]
    return ".".join(path[:end]), int(path[others[-1]])


def short_name(layer_name: str) -> str:
    """Return the part of a layer name that tells it from the others of its block.

    Examples:
        >>> short_name("model.layers.17.self_attn.q_proj"), short_name("lm_head")
        ('self_attn.q_proj', 'lm_head')
    """
    path = layer_name.split(".")
    for i in range(len(path) - 2, 0, -1):
        if _BLOCKS.match(path[i - 1]) and is_index(path[i]):
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
        (_RANK.get(part, _MIDDLE), int(part) if is_index(part) else -1, part) for part in layer_name.split(".")
    )


_WRAPPERS = (
    "_orig_mod", "_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_forward_module",
    "_original_module",
)  # fmt: skip
_PUT_IN = re.compile("|".join((*_WRAPPERS, r"base_model\.model\.")))


@lru_cache(_REMEMBERED)
def clean_name(name: str) -> str:
    """Return a parameter path without what torch.compile, FSDP, checkpointing, Lightning and PEFT put into it.

    Examples:
        >>> clean_name("_orig_mod.layers.0._checkpoint_wrapped_module.fc1.weight")
        'layers.0.fc1.weight'
        >>> clean_name("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
        'model.layers.0.mlp.up_proj.base_layer.weight'
    """
    if _PUT_IN.search(name) is None:  # most names; a model with experts has many thousands
        return name
    path = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return re.sub(r"(^|\.)base_model\.model\.", r"\1", path)
