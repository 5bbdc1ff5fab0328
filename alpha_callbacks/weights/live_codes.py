"""Quantized parameters of a live module -> the tensors that its state_dict has, for the layouts that decode files.

Nothing is imported to recognise them and nothing is copied: the parts are those that the module holds.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from alpha_callbacks.weights.live_cpu_packing import cpu_packed_codes, cpu_packed_scales
from alpha_callbacks.weights.sharded import is_dtensor
from alpha_callbacks.weights.stored_quantization.torchao_classes import DECODERS
from alpha_callbacks.weights.stored_tensor import StoredTensor

_QUANTO = ("WeightQBytesTensor", "WeightQBitsTensor")
# Kernels that put packed integers into an order of their own, some in place, so that no shape tells.
_REORDERS = re.compile(r"exllama|marlin|machete|bitblas|ipex|fused|hfkernel", re.IGNORECASE)


@dataclass(frozen=True)
class LiveCodes:
    """One quantized parameter.

    Attributes:
        parts: name as in the state_dict -> tensor.
        texts: what the header of a file would say about it.
        refused: why it cannot be decoded, or "".
        whole: returns the matrix, decoded by its own class, where no layout knows the parts.
    """

    parts: Mapping[str, Tensor | StoredTensor]
    texts: Mapping[str, str] = field(default_factory=dict)
    refused: str = ""
    whole: Callable[[], Tensor] | None = None


def live_codes(module: nn.Module, prefix: str, name: str, tensor: Any) -> LiveCodes | None:
    """Return the parts of a quantized parameter, or None for any other tensor.

    Args:
        module: that holds it; never changed.
        prefix: path of the module.
        name: of the parameter in the module.
        tensor: the parameter or buffer.
    """
    if type(module) is nn.Linear and type(tensor) is nn.Parameter:  # nearly all
        return None
    full = f"{prefix}.{name}" if prefix else name
    quantizes = type(module).__module__.partition(".")[0] == "bitsandbytes"
    if is_dtensor(tensor):
        inner = tensor._local_tensor  # no public name of it does not communicate
        if quantizes or is_traceable_wrapper_subclass(inner):
            what = type(module).__name__ if quantizes else type(inner).__name__
            return LiveCodes({}, refused=f"{what} codes that are sharded over ranks, so not decoded")
        return None
    state = getattr(tensor, "quant_state", None) or (getattr(module, "quant_state", None) if quantizes else None)
    if name == "weight" and hasattr(state, "absmax"):
        return _bitsandbytes_4bit(full, tensor, state)
    if quantizes and name == "weight" and tensor.dtype is torch.int8:
        scales = getattr(tensor, "SCB", None)
        scales = getattr(getattr(module, "state", None), "SCB", None) if scales is None else scales
        if scales is not None:
            return LiveCodes({full: tensor.data, f"{prefix}.SCB".lstrip("."): scales})
    if name == "W_q" and isinstance(getattr(module, "meta", None), Mapping):
        return LiveCodes({full: tensor, **_encoded(prefix, module.meta)})  # type: ignore[arg-type]
    if name == "qweight" and _REORDERS.search(type(module).__name__):
        return LiveCodes({full: _of_kernel(full, tensor, type(module).__name__)})
    if name == "qzeros" and callable(version := getattr(module, "qzero_format", None)):
        return LiveCodes({full: tensor}, {full: json.dumps({"version": version()})})  # GPTQModel converts when it loads
    return _of_subclass(full, tensor) if is_traceable_wrapper_subclass(tensor) else None


def _of_kernel(full: str, tensor: Tensor, kernel: str) -> StoredTensor:
    """Return packed integers in an order that only a kernel knows, refused."""
    reason = f"quantized: in the order of the kernel of {kernel}. Scan the checkpoint that it was loaded from."
    stored = str(tensor.dtype).removeprefix("torch.")
    return StoredTensor(full, tuple(tensor.shape), None, stored, lambda start, stop: tensor[start:stop], packed=reason)


def _of_subclass(full: str, tensor: Any) -> LiveCodes:
    kind, (module, _, name) = type(tensor).__name__, full.rpartition(".")
    if kind in DECODERS and hasattr(tensor, "tensor_data_names"):
        parts = [*tensor.tensor_data_names, *getattr(tensor, "optional_tensor_data_names", ())]
        parts = [part for part in parts if getattr(tensor, part) is not None]
        attributes = [*tensor.tensor_attribute_names, *getattr(tensor, "optional_tensor_attribute_names", ())]
        said = {attribute: _described(getattr(tensor, attribute, None)) for attribute in attributes}
        text = json.dumps({"_type": kind, "_data": said, "_tensor_data_names": parts})
        prefix = f"{module}._{name}_" if module else f"_{name}_"
        return LiveCodes({f"{prefix}{part}": getattr(tensor, part) for part in parts}, {full: text})
    if kind in _QUANTO:
        return LiveCodes(_flattened(full, tensor), {full: json.dumps({"size": list(tensor.shape)})})
    own = tensor.dequantize if type(tensor).dequantize is not Tensor.dequantize else None
    own = getattr(tensor, "get_original_weight", own)  # of NF4Tensor, whose `dequantize` is something else
    return LiveCodes({}, refused="" if own else f"{kind} codes, which cannot be decoded here", whole=own)


def _flattened(prefix: str, tensor: Any) -> dict[str, Tensor]:
    """Return the plain tensors inside a subclass, as optimum-quanto names them in a state_dict."""
    if not is_traceable_wrapper_subclass(tensor):
        return {prefix: tensor}
    names, _ = tensor.__tensor_flatten__()
    return {key: part for name in names for key, part in _flattened(f"{prefix}.{name}", getattr(tensor, name)).items()}


def _described(value: object) -> object:
    """Return an attribute as torchao writes it to JSON; of a value of its own classes, only the name of the class."""
    if isinstance(value, torch.dtype):
        return {"_type": "torch.dtype", "_data": str(value).removeprefix("torch.")}
    if isinstance(value, list | tuple):
        return [_described(item) for item in value]
    return value if isinstance(value, bool | int | float | str) or value is None else {"_type": type(value).__name__}


def _bitsandbytes_4bit(full: str, tensor: Tensor, state: Any) -> LiveCodes:
    said = {"quant_type": state.quant_type, "blocksize": state.blocksize, "shape": list(state.shape)}
    said["dtype"] = str(state.dtype).removeprefix("torch.")
    codes: Tensor | StoredTensor = tensor.data
    scales: Tensor | StoredTensor = state.absmax
    parts: dict[str, Tensor | StoredTensor] = {f"{full}.quant_map": state.code}
    if getattr(state, "packing_format_for_cpu", False):
        codes, scales = cpu_packed_codes(full, tensor.data), cpu_packed_scales(f"{full}.absmax", state.absmax)
    elif (nested := getattr(state, "state2", None)) is not None:
        said |= {"nested_blocksize": nested.blocksize, "nested_offset": float(state.offset)}
        parts |= {f"{full}.nested_absmax": nested.absmax, f"{full}.nested_quant_map": nested.code}
    text = torch.tensor(list(json.dumps(said).encode()), dtype=torch.uint8)
    parts[f"{full}.quant_state.bitsandbytes__{state.quant_type}"] = text
    return LiveCodes({full: codes, f"{full}.absmax": scales, **parts})


def _encoded(prefix: str, meta: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return HQQ's settings as the tensors that it saves."""
    found: dict[str, Tensor] = {}
    for key, value in meta.items():
        name = f"{prefix}.{key}".lstrip(".")
        if isinstance(value, Tensor):
            found[name] = value
        elif isinstance(value, bool | int):
            found[name] = torch.tensor(int(value), dtype=torch.int32)
        elif isinstance(value, tuple | list):
            found[name] = torch.tensor(list(value))
        elif isinstance(value, str | torch.dtype):
            found[name] = torch.tensor(list(str(value).encode()), dtype=torch.uint8)
    return found
