"""llama.cpp's own rounding into the types that the package gguf can only decode: K-quants, IQ3 and IQ4.

Called by ctypes in the shared library of ggml, as libggml-python (the extra ggml) or xllamacpp bring it. The two gave
the same bytes for every type. The other I-quants are left out: they take 0.3 ms a weight (IQ2_S), or cannot do
without an importance matrix (IQ2_XS, IQ2_XXS, IQ1).
"""

import ctypes
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from alpha_callbacks.errors import MissingExtraError

EXTRA = "ggml"
# The types, with the bits of one code.
CODE_BITS = {
    "q6_k": 6, "q5_k": 5, "q4_k": 4, "q3_k": 3, "q2_k": 2, "iq4_nl": 4, "iq4_xs": 4, "iq3_s": 3, "iq3_xxs": 3,
}  # fmt: skip
WITH_MINIMUM = ("q5_k", "q4_k", "q2_k")
# Beyond it fp16 holds no scale, and from 1e18 on ggml ends the process (IQ3: a square that is inf).
_LARGEST = 1e10
_LEAST = 1e-6  # of the mean: where all columns of a block count nothing, ggml makes the block 0
_PACKAGES = {"libggml": ("lib64", "lib", "bin"), "xllamacpp": (".",)}
_NAMES = {"libggml": "*ggml-base*", "xllamacpp": "xllamacpp*"}
_SUFFIXES = (".so", ".dylib", ".dll", ".pyd")


def has_library() -> bool:
    """Return True if a library is installed; loads none."""
    return next(_files(), None) is not None


def rounded(rows: np.ndarray, kind: Any, importance: np.ndarray | None = None) -> np.ndarray:
    """Return the blocks of a type that stand for rows.

    Args:
        rows: shape (r, in_features), float32; finite and at most 1e10, see `holds`.
        kind: a `gguf.GGMLQuantizationType`, whose blocks divide in_features.
        importance: how much each column counts, shape (in_features,): mean squares of its inputs; None: all alike.

    Returns:
        Shape (r, bytes of a row), uint8.

    Raises:
        MissingExtraError: no library is installed.
        ValueError: values that ggml is not safe with.
    """
    import gguf

    library = _library()
    block, size = gguf.GGML_QUANT_SIZES[kind]
    rows = np.ascontiguousarray(rows, np.float32)
    if rows.shape[1] % block or not holds(rows).all():
        raise ValueError(f"expected finite rows of whole blocks of {block}, got shape {rows.shape}")
    weights = None if importance is None else _importance(importance, rows.shape[1])
    out = np.empty((len(rows), rows.shape[1] // block * size), np.uint8)
    written = library.ggml_quantize_chunk(
        int(kind), rows.ctypes.data, out.ctypes.data, 0, *rows.shape, None if weights is None else weights.ctypes.data
    )
    if written != out.nbytes:
        raise ValueError(f"expected {out.nbytes} bytes of {kind.name}, got {written} from {library._name}")
    return out


def holds(rows: np.ndarray) -> np.ndarray:
    """Return which rows ggml can be given, shape (r,)."""
    return np.asarray((np.abs(rows) <= _LARGEST).all(axis=1))


def _importance(importance: np.ndarray, columns: int) -> np.ndarray:
    """Return weights with mean 1 and none near 0: only ratios count, and ggml is not safe with huge ones or none."""
    found = np.asarray(importance, np.float64)
    if found.shape != (columns,) or not np.isfinite(found).all() or (found < 0).any():
        raise ValueError(f"expected {columns} finite mean squares, got shape {found.shape} or others")
    mean = found.mean()
    return np.ascontiguousarray(np.maximum(found / mean, _LEAST) if mean > 0 else np.ones(columns), np.float32)


@cache
def _library() -> Any:
    for file in _files():
        try:
            library = ctypes.CDLL(str(file))
            quantize = library.ggml_quantize_chunk
        except (OSError, AttributeError):
            continue
        quantize.restype = ctypes.c_size_t
        quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
        return library
    raise MissingExtraError(f"rounding to {', '.join(CODE_BITS)}", EXTRA)


def _files() -> Iterator[Path]:
    for package, folders in _PACKAGES.items():
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or []) if spec else []:
            for folder in folders:
                found = sorted((Path(place) / folder).glob(_NAMES[package]))
                yield from (file for file in found if file.suffix in _SUFFIXES)
