"""The block formats of llama.cpp as precisions: `gguf:q8_0`, `gguf:q4_0`, ..., through the package gguf itself."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alpha_callbacks.errors import MissingExtraError, OptionError
from alpha_callbacks.precisions.precision import Family, Precision, Storage

# What gguf can quantize; of the K- and I-quants it has only the way back.
_NAMES = ("q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "mxfp4", "tq2_0", "tq1_0")
_PREFIX = "gguf"


def _make(options: Sequence[str]) -> Precision:
    name = "_".join(options) or _NAMES[0]
    if name not in _NAMES:
        raise OptionError(f"expected one of {', '.join(_NAMES)} (gguf can quantize no other), got {name!r}.")
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(f"{_PREFIX}:{name}", "gguf") from error
    kind = gguf.GGMLQuantizationType[name.upper()]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return Precision(
        name=f"{_PREFIX}_{name}",
        aliases=(),
        bits=size * 8 / block,
        eps=None,
        round_trip=partial(_round_trip, kind),
        storage=Storage(size * 8 / block),
        column_multiple=block,
        same_as="gguf",
        source="llama.cpp, ggml-quants",
    )


def _round_trip(kind: Any, rows: Tensor, largest: float) -> Tensor:
    import gguf

    array = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # scales beyond fp16 become inf or 0, which the result shows
        values = gguf.dequantize(gguf.quantize(array, kind), kind)
    return torch.from_numpy(values).to(rows.device)


_LISTED = (("q8_0",), ("q4_0",)) if find_spec("gguf") else ()  # tables list only what can be had
FAMILY = Family(_PREFIX, (), _make, ", ".join(_NAMES), _LISTED, extra=_PREFIX)
