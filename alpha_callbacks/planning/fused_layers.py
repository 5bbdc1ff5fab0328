"""Which layers a server holds in one parameter, so that they take one scheme of quantization.

Read from vLLM 0.33.0: `packed_modules_mapping`, `stacked_params_mapping` and `orig_to_new_stacked` of all its models
(tests/golden/vllm_fused_layers.txt). Which model has which is not asked: layers of these names beside each other share
a format everywhere, which costs little where they would not have to.
"""

from collections.abc import Iterable, Sequence

from alpha_callbacks.weights.categorize import categorize

# Names relative to the module that holds them. A layer in several sets joins them: q, k and v and all their companions.
_TOGETHER = (
    ("q_proj", "k_proj", "v_proj", "b_proj", "f_a_proj", "g_a_proj"),  # Kimi Linear, Bailing 3, GLM 5
    ("q_proj", "g_proj"),  # OLMo Hybrid
    ("q_proj", "index_q_proj", "index_k_proj", "indexer.index_qk_proj"),  # MiniMax M3, Qwen 4
    ("q_proj", "output_gate_proj", "o_gate_proj"),
    ("q_a_proj", "kv_a_proj_with_mqa", "g_proj"),  # latent attention: DeepSeek, Kimi K3
    ("wq_a", "wkv"),  # DeepSeek V4
    ("wkv", "wgate"),  # and its compressor
    ("wk", "weights_proj"),  # the indexer of DeepSeek V3.2
    ("wq_du", "wk_dv", "wv_dv", "wr_du"),  # Inkling
    ("in_proj_qkv", "in_proj_z"),  # linear attention: Qwen 3.5
    ("in_proj_b", "in_proj_a"),
    ("q", "k", "v"),
    ("query", "key", "value"),
    ("wq", "wk", "wv"),
    ("query_proj", "key_proj", "value_proj"),
    ("query_net", "key_net", "value_net"),
    ("gate_proj", "up_proj"),
    ("gate_proj", "dense_h_to_4h"),  # GLM-4V
    ("w1", "w3"),
    ("fc1", "fc3"),
    ("c_fc_0", "c_fc_1"),  # EXAONE
    ("input_mix_weight_down", "block_inject_weight"),  # Qwen 4
)
_BY_CATEGORY = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "cross_attn_q", "cross_attn_k", "cross_attn_v"), "qkv"),
    **dict.fromkeys(("mlp_gate", "mlp_up", "moe_shared_gate", "moe_shared_up"), "gate_up"),
}
_SETS: dict[str, list[int]] = {}
for _i, _names in enumerate(_TOGETHER):
    for _name in _names:
        _SETS.setdefault(_name, []).append(_i)
_GATED_ATTENTION = ("q_proj", "gate_proj")  # Muse: gate_proj is of attention where q_proj lies beside it


def fused_sets(modules: Sequence[str]) -> list[set[int]]:
    """Return groups of indices of modules that a server holds in one parameter; what it fuses with nothing is alone.

    Args:
        modules: module paths, each once.

    Examples:
        >>> fused_sets(["a.q_a_proj", "a.q_b_proj", "a.kv_a_proj_with_mqa"])
        [{0, 2}, {1}]
    """
    owner = list(range(len(modules)))

    def root(i: int) -> int:
        while owner[i] != i:
            owner[i] = owner[owner[i]]
            i = owner[i]
        return i

    first: dict[tuple[str, object], int] = {}
    attentions = {path for path, _, last in (name.rpartition(".") for name in modules) if last == "q_proj"}
    for i, name in enumerate(modules):
        for key in _keys(name, attentions):
            one, other = sorted((root(first.setdefault(key, i)), root(i)))
            owner[other] = one
    groups: dict[int, set[int]] = {}
    for i in range(len(modules)):
        groups.setdefault(root(i), set()).add(i)
    return list(groups.values())


def _keys(name: str, attentions: Iterable[str]) -> list[tuple[str, object]]:
    """Return what a module has in common with all those that it is fused with: where it lies, and the set."""
    parent, _, last = name.rpartition(".")
    above, _, inner = parent.rpartition(".")
    keys: list[tuple[str, object]] = [(parent, i) for i in _SETS.get(last, ())]
    keys += [(above, i) for i in _SETS.get(f"{inner}.{last}", ())]
    if last not in _SETS and (kind := _BY_CATEGORY.get(categorize(name))):
        keys.append((parent, kind))
    if last in _GATED_ATTENTION and parent in attentions:
        keys.append((parent, _GATED_ATTENTION))
    return keys
