"""Which layers must share one format."""

from collections.abc import Sequence

from alpha_callbacks.planning.fused_layers import fused_sets
from alpha_callbacks.planning.plan import Choice, module_name
from alpha_callbacks.utils.whole_numbers import is_index
from alpha_callbacks.weights.layer_names import block_index


def units(choices: Sequence[Choice], *, tied: bool = True) -> list[tuple[int, ...]]:
    """Return groups of indices whose layers share a format, in the order of their first layers.

    Parts of one stored matrix always do. Tied, so do the layers that a server fuses (`fused_layers`) and all experts of
    a block: vLLM takes one scheme for the whole, and GGUF stacks experts in one tensor.
    """
    parts: dict[str, list[int]] = {}
    for i, choice in enumerate(choices):
        module = module_name(choice.layer_name)
        experts = experts_of(module) if tied and choice.category.startswith("moe_expert_") else ""
        parts.setdefault(experts or module, []).append(i)
    members = list(parts.values())
    if not tied:
        return [tuple(group) for group in members]
    return [tuple(sorted(i for j in group for i in members[j])) for group in fused_sets(list(parts))]


def experts_of(module: str) -> str:
    """Return what holds the numbered experts, or "" for an expert that all tokens share.

    Examples:
        >>> experts_of("model.layers.0.mlp.experts.7.up_proj"), experts_of("model.layers.0.mlp.shared_expert.up_proj")
        ('model.layers.0.mlp.experts', '')
    """
    path = module.split(".")
    numbered = [i for i, part in enumerate(path) if is_index(part)]
    inside_block = 1 if block_index(module) is not None else 0
    return ".".join(path[: numbered[-1]]) if len(numbered) > inside_block else ""
