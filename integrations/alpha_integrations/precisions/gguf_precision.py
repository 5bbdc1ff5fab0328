"""The block formats of llama.cpp as precisions: `gguf:q8_0`, `gguf:q4_k`, ..., computed by gguf or by ggml itself."""

from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from alpha_callbacks.errors import MissingExtraError, OptionError
from alpha_callbacks.precisions.encoding import Encoding
from alpha_callbacks.precisions.precision import Family, Precision, Storage
from alpha_integrations import ggml_rounding

# The types that gguf can quantize, with the bits of one code; the others it can only dequantize.
_OF_GGUF = {"q8_0": 8, "q5_1": 5, "q5_0": 5, "q4_1": 4, "q4_0": 4, "mxfp4": 4, "tq2_0": 2, "tq1_0": 2}
_CODE_BITS = _OF_GGUF | ggml_rounding.CODE_BITS
_WITH_MINIMUM = ("q5_1", "q4_1", *ggml_rounding.WITH_MINIMUM)
_PREFIX = "gguf"


def _make(options: Sequence[str]) -> Precision:
    name = "_".join(options) or next(iter(_CODE_BITS))
    if name not in _CODE_BITS:
        raise OptionError(f"expected one of {', '.join(_CODE_BITS)} (no other can be quantized), got {name!r}.")
    own = name in ggml_rounding.CODE_BITS
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError(f"{_PREFIX}:{name}", ggml_rounding.EXTRA if own else "gguf") from error
    if own and not ggml_rounding.has_library():
        raise MissingExtraError(f"{_PREFIX}:{name}", ggml_rounding.EXTRA)
    kind = gguf.GGMLQuantizationType[name.upper()]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return Precision(
        name=f"{_PREFIX}_{name}",
        aliases=(),
        bits=size * 8 / block,
        eps=None,
        round_trip=partial(_by_ggml if own else _round_trip, kind),
        storage=Storage(size * 8 / block),
        encoding=Encoding(name, _CODE_BITS[name], "group", block, symmetric=name not in _WITH_MINIMUM, scale="ggml"),
        column_multiple=block,
        same_as="llama.cpp" if own else "gguf",
        source="llama.cpp, ggml-quants",
    )


def _round_trip(kind: Any, rows: Tensor, largest: float) -> Tensor:
    import gguf

    array = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    with np.errstate(over="ignore", invalid="ignore"):  # scales beyond fp16 become inf or 0, which the result shows
        values = gguf.dequantize(gguf.quantize(array, kind), kind)
    return torch.from_numpy(values).to(rows.device)


def _by_ggml(kind: Any, rows: Tensor, largest: float) -> Tensor:
    """Return the rows after the format; inf for those whose scales fp16 cannot hold by far."""
    import gguf

    array = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    held = ggml_rounding.holds(array)
    values = np.full_like(array, np.inf)
    if held.any():
        with np.errstate(over="ignore", invalid="ignore"):
            values[held] = gguf.dequantize(ggml_rounding.rounded(array[held], kind), kind)
    return torch.from_numpy(values).to(rows.device)


_LISTED = (("q8_0",), ("q4_0",)) if find_spec("gguf") else ()  # tables list only what is installed
FAMILY = Family(_PREFIX, (), _make, ", ".join(_CODE_BITS), _LISTED, extra=_PREFIX)
