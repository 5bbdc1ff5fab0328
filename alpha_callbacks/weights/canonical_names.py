"""One name per matrix, whoever wrote it: that of the model's published files, experts by index and projection.

The same matrix has other names elsewhere: `experts.gate_up_proj` of a live model holds what its files call
`experts.3.gate_proj`, a wrapper puts its attribute in front, transformers 4 and 5 nest multi-modal models in different
ways, and llama.cpp has words of its own. `canonical_name` is what rows are listed under. `pairing_key` goes further,
for sources that do not say what model they are of: names with the same key may be the same matrix.
"""

import re
from functools import lru_cache

from alpha_callbacks.weights.layer_names import UPDATE, clean_name

_FUSED_EXPERT = re.compile(r"(\.(?:\d+|\*))\.gate_up_proj\.(gate|up)$")  # "*": of any index
# What may stand in front of a module and says nothing about it: wrappers, and models inside models.
_FRONT = re.compile(r"^((0|_?module|_?model|network|transformer|language_model|thinker|backbone|text_model)\.)+(?=.)")
_EXPERT = re.compile(r"\.(?:(?:mlp|moe|ffn|feed_forward|block_sparse_moe)\.)?experts\.(\d+)\.(\w+)$")
_PROJECTIONS = {"w1": "gate_proj", "w3": "up_proj", "w2": "down_proj"}  # of Mixtral and those that follow it
_ROUTER = re.compile(r"\.block_sparse_moe\.gate$")  # of Mixtral's files
_SHARED = re.compile(r"\.shared_experts\.")  # one by one or together, as families have it
_HEADS = {"embed_out": "lm_head", "output": "lm_head", "token_embd": "embed_tokens"}
_OUTSIDE_BLOCKS = {"output": "lm_head", "token_embd": "model.embed_tokens"}  # of GGUF
_GGUF = re.compile(r"^blk\.(\d+)\.(?:(\d+)\.)?(\w+)(\.\w+)?$")
_OF_GGUF = {  # llama.cpp's words -> those of the Llama family and of what follows it, as `gguf.TensorNameMap` has them
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_qkv": "self_attn.qkv_proj", "attn_output": "self_attn.o_proj",
    "attn_q_a": "self_attn.q_a_proj", "attn_q_b": "self_attn.q_b_proj",
    "attn_kv_a_mqa": "self_attn.kv_a_proj_with_mqa", "attn_kv_b": "self_attn.kv_b_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "ffn_gate_exps": "mlp.experts.*.gate_proj", "ffn_up_exps": "mlp.experts.*.up_proj",
    "ffn_down_exps": "mlp.experts.*.down_proj", "ffn_gate_up_exps": "mlp.experts.*.gate_up_proj",
    "ffn_gate_shexp": "mlp.shared_expert.gate_proj", "ffn_up_shexp": "mlp.shared_expert.up_proj",
    "ffn_down_shexp": "mlp.shared_expert.down_proj", "ffn_gate_inp_shexp": "mlp.shared_expert_gate",
}  # fmt: skip


def canonical_name(layer: str) -> str:
    """Return the name that a matrix of a fused stack of experts has in files that hold each expert by itself.

    Examples:
        >>> canonical_name("model.layers.0.mlp.experts.3.gate_up_proj.gate")
        'model.layers.0.mlp.experts.3.gate_proj'
        >>> canonical_name("h.0.attn.c_attn.q")
        'h.0.attn.c_attn.q'
    """
    return _FUSED_EXPERT.sub(r"\1.\2_proj", layer) if ".gate_up_proj." in layer else layer


@lru_cache(2**16)
def path_of_gguf(layer: str) -> str:
    """Return the path that a matrix of a GGUF file has in models of the Llama family, "" for any other name.

    Examples:
        >>> path_of_gguf("blk.0.attn_q"), path_of_gguf("blk.2.7.ffn_gate_up_exps.up")
        ('model.layers.0.self_attn.q_proj', 'model.layers.2.mlp.experts.7.up_proj')
        >>> path_of_gguf("output"), path_of_gguf("model.layers.0.self_attn.q_proj")
        ('lm_head', '')
    """
    if layer in _OUTSIDE_BLOCKS:
        return _OUTSIDE_BLOCKS[layer]
    match = _GGUF.match(layer) if layer.startswith("blk.") else None
    if match is None or match[3] not in _OF_GGUF:
        return ""
    path = _OF_GGUF[match[3]].replace("*.", f"{match[2]}." if match[2] else "")
    return canonical_name(f"model.layers.{match[1]}.{path}{match[4] or ''}")


@lru_cache(2**16)
def pairing_key(layer: str) -> str:
    """Return what is left of a layer's name without all that differs from one library to another.

    Two layers of one model may have the same key (a text and a vision model inside it): only a key that one layer has
    on either side tells which belong together.

    Examples:
        >>> pairing_key("_forward_module.model.layers.0.mlp.experts.3.gate_up_proj.up")
        'layers.0.experts.3.up_proj'
        >>> pairing_key("model.layers.0.block_sparse_moe.experts.3.w3"), pairing_key("blk.0.attn_q")
        ('layers.0.experts.3.up_proj', 'layers.0.self_attn.q_proj')
        >>> pairing_key("model.layers.0.block_sparse_moe.gate")
        'layers.0.mlp.gate'
    """
    name, update = layer.removesuffix(UPDATE), UPDATE if layer.endswith(UPDATE) else ""
    name = canonical_name(_FRONT.sub("", path_of_gguf(name) or clean_name(name)))
    if match := _EXPERT.search(name):
        name = f"{name[: match.start()]}.experts.{match[1]}.{_PROJECTIONS.get(match[2], match[2])}"
    name = _SHARED.sub(".shared_expert.", _ROUTER.sub(".mlp.gate", name))
    return _HEADS.get(name, name) + update
