"""Codes that no layout decodes: refused with a reason, never decomposed as if they were weights."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from alpha_callbacks.weights.stored_quantization.companions import by_module, companions_of, in_few_bits, is_unrelated
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

# What a companion holds, by the last part of its name.
_ROLES = {
    "zero points": re.compile(r"zero"),
    "indices": re.compile(r"g_idx|indices|perm"),
    "levels": re.compile(r"codebook|centroid|quant_map|lut"),
    "scales": re.compile(r"scale|absmax|amax|SCB|(^|_)(sf|s|suh|svh)$|_inv$"),
    "shape": re.compile(r"shape"),
}
# Beside weights of 16 bits and more these say that the numbers may be codes; other names may mean anything there.
_OF_WEIGHTS = {
    "weight_scale",
    "weight_scale_inv",
    "weight_scale_2",
    "weight_global_scale",
    "weight_zero_point",
    "scale_weight",
    "qscale_weight",
    "SCB",
    "weight.absmax",
    "weight.quant_map",
}
_UNQUANTIZED = {"dense", "fakequant", "initialized", "calibration", "frozen"}  # compressed-tensors: weights as trained


_PLAIN_INTEGERS = {"position_ids", "token_type_ids", "num_batches_tracked", "relative_position_index"}
_ANY_ROLE = re.compile("|".join(role.pattern for role in _ROLES.values()) + "|quant|packed|blocks|W_q|_data$")


def is_plain(tensors: Iterable[StoredTensor], about: Description) -> bool:
    """Return True where nothing can be codes: floats of 16 bits or more, and no name or text that tells of others.

    Then no layout need be tried, which takes most of the time of an inventory of 18,000 experts.
    """
    if about.quantization or about.metadata:
        return False
    return not any(tensor.packed or _tells(tensor) for tensor in tensors)


def _tells(tensor: StoredTensor) -> bool:
    """Return True for codes, and for what may lie beside some."""
    last = tensor.name.rpartition(".")[2]
    wide = tensor.dtype is not None and tensor.dtype.itemsize > 1
    return _ANY_ROLE.search(last) is not None or not (wide or tensor.numel <= 1 or last in _PLAIN_INTEGERS)


def mark_packed(
    tensors: Iterable[StoredTensor], about: Description, *, scaled: bool = False, whole: bool = True
) -> list[StoredTensor]:
    """Return the tensors, those marked whose values are codes and those that are their companions.

    Floats below 16 bits are weights only where nothing speaks against it: no companion, no config that says that the
    model is quantized, no matrix with scales elsewhere, no file left out. Wider floats are codes if there is a scale
    of weights beside them. Integers are no weights anywhere; see `StoredTensor`.

    Args:
        tensors: those that no layout has claimed.
        about: what the model says of itself.
        scaled: whether a layout has claimed others.
        whole: whether all files of the checkpoint are open.
    """
    listed = list(tensors)
    modules = by_module(listed)
    quantized = bool(about.quantization) or scaled or "_quantization_metadata" in about.metadata
    packed, companions = dict[str, str](), dict[str, str]()
    for tensor in sorted(listed, key=lambda tensor: layer_name_of(tensor.name) == tensor.name):
        if len(tensor.shape) < 2 or tensor.name in companions:
            continue  # weights come first, so that the scales of scales belong to the weights
        beside, stored, why = _beside(tensor, modules), tensor.stored_dtype, ""
        if stored == "float8_e8m0fnu":
            companions.setdefault(tensor.name, "powers of two, which are scales and not weights")
        elif in_few_bits(tensor):
            if beside:
                why = f"{stored} codes with {_names(beside, tensor)} beside them"
            elif quantized:
                why = f"{stored} codes whose scales are not in the files read"
            elif not whole:
                why = f"{stored} codes whose scales may be in files that were not read"
        elif tensor.dtype is not None:
            beside = [name for name in beside if _last(name, tensor) in _OF_WEIGHTS]
            if beside and not _left_unquantized(about):
                why = f"{stored} values with {_names(beside, tensor)} beside them, which may have to be applied"
        elif beside:
            why = f"{stored} codes with {_names(beside, tensor)} beside them"
        if why:
            packed[tensor.name] = why
        for name in beside:
            companions.setdefault(name, _reason(name, tensor))
    return [_marked(tensor, packed.get(tensor.name, ""), companions.get(tensor.name, "")) for tensor in listed]


def refused_beside_more(matrix: StoredTensor, claim: Claim, modules: Mapping[str, list[str]]) -> StoredTensor:
    """Return a decoded matrix, refused if its module holds another scale, which may have to be applied too.

    Args:
        matrix: decoded.
        claim: what it was decoded from.
        modules: see `by_module`.
    """
    known = {claim.codes.name, *(tensor.name for tensor in claim.companions.values())}
    module, _, last = matrix.name.rpartition(".")
    if matrix.packed or last != "weight":
        return matrix  # a module may hold several stacks
    more = [name for name in modules.get(module, ()) if name not in known and _scales_more(name.rpartition(".")[2])]
    names = _names(more, matrix)
    why = f"quantized: {matrix.stored_dtype} codes with {names} beside them. Dequantize the checkpoint first."
    return replace(matrix, packed=why) if more else matrix


def _scales_more(last: str) -> bool:
    """Return True for the last part of a name that says that weights are scaled or shifted by it."""
    kept = is_unrelated(last) or last.startswith("wf_")  # "wf_unsqueeze_zero": shifts of bits, in live modules
    return not kept and _role(last) in ("scales", "zero points", "levels")


def _beside(tensor: StoredTensor, modules: Mapping[str, list[str]]) -> list[str]:
    """Return what may belong to the values of a tensor, also under names that no layout knows."""
    module, _, last = tensor.name.rpartition(".")
    if last in ("qweight", "weight_packed"):
        return [name for name in modules[module] if name != tensor.name and not is_unrelated(name.rpartition(".")[2])]
    found = list(companions_of(tensor, modules))
    if in_few_bits(tensor):
        # "layers.0.q_proj_scale" beside "layers.0.q_proj.weight", "experts.w13_scales" beside "experts.gate_up_proj"
        near, own = (module.rpartition(".")[0], f"{module}_") if last == "weight" else (module, "")
        for name in modules.get(near, ()):
            rest = name.rpartition(".")[2]
            if name.startswith(own) and name != tensor.name and _role(rest) and not is_unrelated(rest):
                found.append(name)
    return list(dict.fromkeys(found))


def _left_unquantized(about: Description) -> bool:
    """Return True if the model's config says that its weights are as they were trained, whatever lies beside them."""
    said = (about.quantization.get(key) for key in ("format", "quantization_status"))
    return any(str(getattr(value, "value", value)) in _UNQUANTIZED for value in said)


def _last(name: str, tensor: StoredTensor) -> str:
    """Return a companion's name without its module."""
    module = tensor.name.rpartition(".")[0]
    return name.removeprefix(f"{module}." if module else "")


def _names(beside: Sequence[str], tensor: StoredTensor) -> str:
    """Return the names of up to three companions."""
    shown = [_last(name, tensor) for name in beside[:3]]
    return f"{', '.join(shown)}{' and others' if len(beside) > 3 else ''}"


def _role(last: str) -> str:
    return next((role for role, pattern in _ROLES.items() if pattern.search(last)), "")


def _reason(name: str, codes: StoredTensor) -> str:
    layer = layer_name_of(codes.name)
    role = _role(_last(name, codes))
    return f"{role} of {layer}" if role else f"stored beside the {codes.stored_dtype} codes of {layer}, not a weight"


def _marked(tensor: StoredTensor, packed: str, companion: str) -> StoredTensor:
    if companion:
        return replace(tensor, companion=companion)
    return replace(tensor, packed=f"quantized: {packed}. Dequantize the checkpoint first.") if packed else tensor
