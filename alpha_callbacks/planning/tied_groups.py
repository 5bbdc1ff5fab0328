"""Which layers must share one format."""

from collections.abc import Sequence

from alpha_callbacks.planning.plan import Choice, module_name
from alpha_callbacks.weights.layer_names import block_index

_TOGETHER = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "cross_attn_q", "cross_attn_k", "cross_attn_v"), "qkv"),
    **dict.fromkeys(("mlp_gate", "mlp_up", "moe_shared_gate", "moe_shared_up"), "gate_up"),
}
# The same for names whose categories do not say it: latent attention (DeepSeek), linear attention (Qwen 3.5).
_FUSED = {
    **dict.fromkeys(("q_a_proj", "kv_a_proj_with_mqa"), "qkv_a"),
    **dict.fromkeys(("in_proj_qkv", "in_proj_z"), "in_proj_qkvz"),
    **dict.fromkeys(("in_proj_b", "in_proj_a"), "in_proj_ba"),
}


def units(choices: Sequence[Choice], *, tied: bool = True) -> list[tuple[int, ...]]:
    """Return groups of indices whose layers share a format, in the order of their first layers.

    Parts of one stored matrix always do. Tied, so do q, k and v of an attention, gate and up of an MLP, the first
    projections of latent attention, the inputs of linear attention, and all experts of a block: servers that fuse them
    (vLLM) take one scheme for the whole, and GGUF stacks experts in one tensor.
    """
    groups: dict[tuple[str, str], list[int]] = {}
    for i, choice in enumerate(choices):
        groups.setdefault(_key(choice, tied), []).append(i)
    return [tuple(group) for group in groups.values()]


def _key(choice: Choice, tied: bool) -> tuple[str, str]:
    module = module_name(choice.layer_name)
    if not tied:
        return module, ""
    parent, _, last = module.rpartition(".")
    if choice.category.startswith("moe_expert_"):
        experts = _experts_of(module)
        if experts:
            return experts, "experts"
        return (module, "") if choice.category.endswith("_down") else (parent, "gate_up")
    fused = _FUSED.get(last) or _TOGETHER.get(choice.category)
    return (parent, fused) if fused else (module, "")


def _experts_of(module: str) -> str:
    """Return what holds the numbered experts, or "" for an expert that all tokens share.

    Examples:
        >>> _experts_of("model.layers.0.mlp.experts.7.up_proj"), _experts_of("model.layers.0.mlp.shared_expert.up_proj")
        ('model.layers.0.mlp.experts', '')
    """
    path = module.split(".")
    numbered = [i for i, part in enumerate(path) if part.isdigit()]
    inside_block = 1 if block_index(module) is not None else 0
    return ".".join(path[: numbered[-1]]) if len(numbered) > inside_block else ""
