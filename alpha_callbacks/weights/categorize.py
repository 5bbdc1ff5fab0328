"""Layer name -> category, by whole path segments."""

import re
from functools import lru_cache

from alpha_callbacks.weights.categories import (
    BY_CATEGORY,
    CONTEXTS,
    CROSS_ATTENTION,
    EXPERTS,
    SHARED_EXPERTS,
    Context,
)

_REMEMBERED = 2**16  # names, which every state of a training run has again

_BY_SEGMENT = {segment: category for category, segments in BY_CATEGORY.items() for segment in segments}
_WORDS = {word for context in CONTEXTS for word in context.words}
SEGMENTS = frozenset(_BY_SEGMENT)  # all that decide a category wherever they stand

_CONTEXTS = [(re.compile(context.segment), context) for context in CONTEXTS]
_CROSS, _SHARED, _EXPERTS = (re.compile(pattern) for pattern in (CROSS_ATTENTION, SHARED_EXPERTS, EXPERTS))
_NUMBERS = re.compile(r"\.\d+(?=\.)")  # of blocks and experts in a path
_NUMBERED_EXPERT = re.compile(r"\.ffn_(gate|up|down)\.\d+$")  # GGUF files of 2023, before experts were stacked
_ALONE = {"output": "lm_head", "fc": "head"}  # in GGUF and Meta's files; in networks of torchvision
_PLAIN_MLP = {"linear1": "mlp_up", "linear2": "mlp_down"}  # of a layer of torch's own transformer
_WHOLE = ("projector", "pooler", "head", "adapter", "input_proj")
_CROSSED = {f"attn_{part}" for part in ("q", "k", "v", "o", "qkv", "kv")}
_ROUTED = ("block_sparse_moe", "mlp", "moe", "ffn", "feed_forward", "mixer")  # `gate` in these is no half of a GLU
_INSIDE_OTHERS = ("base_layer", "default", "linear")  # a module inside the one that has the name


@lru_cache(_REMEMBERED)
def categorize(layer_name: str, *, ndim: int = 2) -> str:
    """Return the category of a layer.

    Args:
        layer_name: module path without ".weight".
        ndim: dimensions of the stored tensor; 3 to 5 mean a convolution.

    Examples:
        >>> categorize("model.layers.0.self_attn.qkv_proj"), categorize("h.0.mlp.c_proj"), categorize("h.0.attn.c_proj")
        ('attn_qkv', 'mlp_down', 'attn_o')
        >>> categorize("layers.0.cross_attn.q_proj"), categorize("layers.0.mlp.shared_expert.up_proj")
        ('cross_attn_q', 'moe_shared_up')
    """
    return "conv" if ndim > 2 else _of_name(without_numbers(layer_name))


@lru_cache(_REMEMBERED)
def without_numbers(name: str) -> str:
    """Return a path with 0 in place of the numbers of its blocks and experts, so that all siblings have one name.

    Examples:
        >>> without_numbers("model.layers.17.mlp.experts.3.up_proj"), without_numbers("layers.2.net.4")
        ('model.layers.0.mlp.experts.0.up_proj', 'layers.0.net.4')
    """
    return _NUMBERS.sub(".0", name)


@lru_cache(_REMEMBERED)
def _of_name(layer_name: str) -> str:
    """Return the category of a layer whose blocks and experts all have the number 0: few names in a large model."""
    path = layer_name.split(".")
    number = ""
    while len(path) > 1 and (path[-1].isdigit() or path[-1] in _INSIDE_OTHERS and _is_word(path[-2])):
        number = path[-1] if path[-1].isdigit() else number
        path.pop()
    *parents, last = path
    category = _word(last, parents, number)
    if category in _CROSSED and any(map(_CROSS.fullmatch, parents)):
        return f"cross_{category}"
    if category.startswith("mlp_"):
        if any(map(_SHARED.fullmatch, parents)):
            return category.replace("mlp_", "moe_shared_")
        if any(map(_EXPERTS.fullmatch, parents)) or _NUMBERED_EXPERT.search(layer_name):
            return category.replace("mlp_", "moe_expert_")
    return category


def _word(last: str, parents: list[str], number: str) -> str:
    """Return what a last segment means under its parents; `number` is its place in a sequence."""
    above = parents[-1] if parents else ""
    if last in ("gate", "wg") and above in (*_ROUTED, "gate"):
        return "moe_router"
    if last in _PLAIN_MLP and above.isdigit():
        return _PLAIN_MLP[last]
    context = next((found for part in reversed(parents) if (found := _context(part))), None)
    if context is None:
        if not parents and last in _ALONE:
            return _ALONE[last]
        if last == "dense" and re.fullmatch(r"(\w+_)?output", above):
            return "mlp_down"
    if last in ("ffn", "ff") or last == "net" and above.startswith("ff"):  # a sequence of two layers
        category = {"": "other", "0": "mlp_up"}.get(number, "mlp_down")
    else:
        category = _BY_SEGMENT.get(last, "other")
    if context is not None:
        category = context.words.get(last) or (category if category.startswith(context.kinds) else context.rest)
    whole = _context(last) if category == "other" else None  # one matrix where others have several
    return whole.rest if whole is not None and whole.rest in _WHOLE else category


@lru_cache(_REMEMBERED)
def _context(segment: str) -> Context | None:
    return next((context for pattern, context in _CONTEXTS if pattern.fullmatch(segment)), None)


def _is_word(segment: str) -> bool:
    return segment in _BY_SEGMENT or segment in _WORDS or segment.isdigit()
