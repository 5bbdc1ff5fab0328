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
_HEADS = {"embed_out": "lm_head", "output": "lm_head", "token_embd": "embed_tokens"}
_GGUF = re.compile(r"^blk\.(\d+)\.(?:(\d+)\.)?(\w+)$")
_OF_GGUF = {  # llama.cpp's words -> those of the Llama family
    "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate", "ffn_gate_exps": "gate_proj", "ffn_up_exps": "up_proj",
    "ffn_down_exps": "down_proj",
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
    name = canonical_name(_FRONT.sub("", clean_name(name)))
    if (match := _GGUF.match(name)) and match[3] in _OF_GGUF:
        name = f"layers.{match[1]}.{f'experts.{match[2]}.' if match[2] else ''}{_OF_GGUF[match[3]]}"
    elif match := _EXPERT.search(name):
        name = f"{name[: match.start()]}.experts.{match[1]}.{_PROJECTIONS.get(match[2], match[2])}"
    return _HEADS.get(name, _ROUTER.sub(".mlp.gate", name)) + update
