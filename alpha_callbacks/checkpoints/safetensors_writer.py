"""Weights -> a safetensors file, row by row, so that no more than one matrix is in memory."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from alpha_callbacks.utils.drafts import draft_of
from alpha_callbacks.weights.weight import Weight

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
_NARROW = (torch.bfloat16, torch.float16, torch.float32)


def write_weights(weights: Sequence[Weight], path: Path) -> str:
    """Write weights as tensors `<layer name>.weight`, each in the narrowest of the usual formats that holds its bits.

    The file appears whole or not at all.

    Returns:
        The digest of its bytes, as `file_digest` finds it.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    dtypes, end = [exact_dtype(weight) for weight in weights], 0
    for weight, dtype in zip(weights, dtypes, strict=True):
        start, end = end, end + weight.numel * dtype.itemsize
        shape = [weight.out_features, weight.in_features]
        header[f"{weight.layer_name}.weight"] = {"dtype": _NAMES[dtype], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.blake2b(digest_size=16)
    with draft_of(path) as draft, draft.open("wb") as file:
        for piece in (len(text).to_bytes(8, "little"), text):
            digest.update(piece)
            file.write(piece)
        for weight, dtype in zip(weights, dtypes, strict=True):
            for block in weight.held().row_blocks():
                content = _bytes(block.to(dtype))
                digest.update(content)
                file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Return the digest of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def exact_dtype(weight: Weight) -> torch.dtype:
    """Return the narrowest of the usual formats that holds every entry of a weight, at the widest its own."""
    held = weight.held()
    for dtype in _NARROW:
        if dtype.itemsize < weight.dtype.itemsize and all(_holds(dtype, block) for block in held.row_blocks()):
            return dtype
    return weight.dtype if weight.dtype in _NAMES else torch.float32


def _holds(dtype: torch.dtype, block: Tensor) -> bool:
    return torch.equal(block.to(dtype).to(block.dtype), block)


def _bytes(block: Tensor) -> memoryview:
    found: memoryview = block.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data
    return found
