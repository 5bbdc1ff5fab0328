"""torchao: the parts of a tensor subclass as tensors of their own, its class and attributes as JSON in the header.

`model.fc.weight` is stored as `model.fc._weight_qdata`, `model.fc._weight_scale` and so on. The parameters of a live
model come as the same parts (`live_codes`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from alpha_callbacks.weights.stored_quantization.companions import by_module
from alpha_callbacks.weights.stored_quantization.layout import Claim, Description, Summary
from alpha_callbacks.weights.stored_quantization.small_texts import json_object
from alpha_callbacks.weights.stored_quantization.torchao_classes import DECODERS, Subclass
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

_CODES = "qdata"
_PART = re.compile(r"(?P<module>.*)\._(?P<parameter>[^.]+?)_(?P<part>qdata)$")
_ROLES = {"scale": "scales", "zero_point": "zero points", "group_scale": "scales", "group_zero": "zero points"}


class TorchAo:
    """The layout; see the module."""

    name = "torchao"
    summary = Summary(
        decoded="`Int8Tensor`, `IntxUnpackedToInt8Tensor`, `Float8Tensor`, `Int4Tensor`, `MXTensor`, `NVFP4Tensor`",
        names="`_weight_qdata`, `_weight_scale`, `_weight_zero_point`, …, and the class in the header",
        live="parameters of these classes",
        refused="other classes, or a scale of the inputs beside the codes: `unsupported`, naming the class",
    )

    def recognise(self, tensors: Mapping[str, StoredTensor], about: Description) -> Iterator[Claim]:
        """Yield all tensor subclasses, with all parts; `decode` refuses those that it does not know."""
        modules = by_module(tensors.values())
        for tensor in tensors.values():
            found = _PART.match(tensor.name)
            if found:
                prefix = _prefix(tensor.name)
                parts = [name for name in modules[found["module"]] if name.startswith(prefix) and name != tensor.name]
                yield Claim(tensor, {_role(name.removeprefix(prefix)): tensors[name] for name in parts})

    def decode(self, claim: Claim, about: Description) -> StoredTensor:
        """Return what torchao's own `dequantize` returns, rounding included."""
        name = parameter_of(claim.codes.name)
        said = json_object(about.metadata.get(name, ""))
        kind, attributes = said.get("_type"), said.get("_data")
        whole = replace(claim.codes, name=name, kind="unknown")
        if not isinstance(kind, str) or not isinstance(attributes, Mapping):
            return _refused(whole, "torchao codes whose class the header of the file does not say")
        parts = {part.name.removeprefix(_prefix(claim.codes.name)): part for part in claim.companions.values()}
        missing = [part for part in _parts(said) if part != _CODES and part not in parts]
        if missing:
            return _refused(whole, f"torchao {kind} codes whose {missing[0]} is not in the files read")
        if "act_pre_scale" in parts:
            return _refused(whole, f"torchao {kind} codes with a scale of the inputs beside them")
        subclass = Subclass(kind, claim.codes, parts, attributes)
        decoded = DECODERS[kind](subclass) if kind in DECODERS else None
        if decoded is None:
            return _refused(whole, f"torchao {kind} codes, which this package does not decode")
        return replace(whole, **decoded)


def parameter_of(codes: str) -> str:
    """Return the parameter whose codes a tensor holds.

    Examples:
        >>> parameter_of("model.fc._weight_qdata")
        'model.fc.weight'
    """
    found = _PART.match(codes)
    assert found is not None, f"{codes} holds no codes of torchao"
    return f"{found['module']}.{found['parameter']}"


def _prefix(codes: str) -> str:
    return codes.removesuffix(_CODES)


def _role(part: str) -> str:
    return _ROLES.get(part, part.replace("_", " "))


def _parts(said: Mapping[str, Any]) -> list[str]:
    found = said.get("_tensor_data_names")
    return [str(part) for part in found] if isinstance(found, list) else []


def _refused(whole: StoredTensor, what: str) -> StoredTensor:
    return replace(whole, packed=f"quantized: {what}. Dequantize {layer_name_of(whole.name)} first.")
