"""JSON that a checkpoint holds as text or as bytes in a tensor, parsed with limits."""

import json
from collections.abc import Mapping
from typing import Any

from alpha_callbacks.weights.stored_quantization.grouped_codes import readable
from alpha_callbacks.weights.stored_tensor import StoredTensor

_MOST_BYTES = 2**16  # a quantizer's state has some 200


def json_object(text: str) -> Mapping[str, Any]:
    """Return the object that a text describes, or an empty mapping if it is none."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def json_of_bytes(tensor: StoredTensor) -> Mapping[str, Any]:
    """Return the object whose JSON is stored as uint8 in a 1-D tensor, or an empty mapping."""
    return json_object(short_text(tensor))


def short_text(tensor: StoredTensor | None) -> str:
    """Return the text whose bytes are stored as uint8 in a 1-D tensor, or an empty string if it is none."""
    if tensor is None or tensor.stored_dtype != "uint8" or len(tensor.shape) != 1 or tensor.shape[0] > _MOST_BYTES:
        return ""
    return bytes(tensor.read(0, tensor.shape[0]).tolist()).decode(errors="replace") if readable(tensor) else ""


def single_number(tensor: StoredTensor | None) -> int | None:
    """Return the integer in a tensor of one element, or None if it is none."""
    if tensor is None or tensor.shape not in ((), (1,)) or tensor.dtype is not None or not readable(tensor):
        return None
    return int(tensor.read(0, 1).reshape(()).item())
