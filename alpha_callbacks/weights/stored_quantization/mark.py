"""Codes that no layout decodes: refused with a reason, never decomposed as if they were weights."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from alpha_callbacks.weights.stored_quantization.companions import by_module, companions_of, in_few_bits
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

# Companions known by name, and what they hold.
_COMPANIONS = {
    "weight_scale": "scales",
    "weight_scale_inv": "scales",
    "SCB": "scales",
    "weight.absmax": "scales",
    "weight.quant_map": "levels",
}


def mark_packed(tensors: Iterable[StoredTensor], quantization: Mapping[str, Any]) -> list[StoredTensor]:
    """Return the tensors, those marked whose values are codes and those that are their companions.

    Codes are a `.weight` with a known companion, and floats below 16 bits with a companion that is not known or, in a
    model whose config says that it is quantized, without any. Integers are no weights anywhere; see `StoredTensor`.

    Args:
        tensors: those that no layout has claimed.
        quantization: `quantization_config` of the model's config.json, or empty.
    """
    listed = list(tensors)
    names, modules = {tensor.name for tensor in listed}, by_module(listed)
    packed, companions = dict[str, str](), dict[str, str]()
    for tensor in listed:
        module, _, last = tensor.name.rpartition(".")
        known = {s: f"{module}.{s}".lstrip(".") for s in _COMPANIONS} if last == "weight" else {}
        known = {s: name for s, name in known.items() if name in names}
        others = companions_of(tensor, modules) if in_few_bits(tensor) else ()
        companions |= {name: f"{_COMPANIONS[s]} of {layer_name_of(tensor.name)}" for s, name in known.items()}
        for name in others:
            if name.startswith(tensor.name):
                reason = f"stored beside the {tensor.stored_dtype} codes of {layer_name_of(tensor.name)}, not a weight"
                companions.setdefault(name, reason)
        if known or others:
            beside = next(iter(known)) if known else others[0].rpartition(".")[2]
            packed[tensor.name] = f"{tensor.stored_dtype} codes with {beside} beside them"
        elif in_few_bits(tensor) and quantization and len(tensor.shape) > 1:
            packed[tensor.name] = f"{tensor.stored_dtype} codes whose scales are not in the files read"
    return [_marked(tensor, packed.get(tensor.name, ""), companions.get(tensor.name, "")) for tensor in listed]


def _marked(tensor: StoredTensor, packed: str, companion: str) -> StoredTensor:
    if companion:
        return replace(tensor, companion=companion)
    return replace(tensor, packed=f"quantized: {packed}. Dequantize the checkpoint first.") if packed else tensor
