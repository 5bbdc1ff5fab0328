"""Why a tensor is no weight to analyse: by its name, its kind and its shape."""

import re
from dataclasses import dataclass
from functools import lru_cache

from alpha_callbacks.weights.adapters.names import place_of
from alpha_callbacks.weights.categorize import categorize, without_numbers
from alpha_callbacks.weights.expert_stacks import is_stack
from alpha_callbacks.weights.families import Known
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.stored_tensor import StoredTensor, layer_name_of

FILTERED = "left out by the layer filter"
UNKNOWN = "not the weight of a known kind of layer"

_GAIN = re.compile(  # of a normalization; some have a row for each head (Command R+) or, stacked, for each layer
    r"(^|\.)(\w+_)?((layer|rms|group|batch)_?norm|norm|ln)(_?\d+|_f)?\.weight$", re.IGNORECASE
)
_OPTIMIZER = re.compile(r"^(optim|optimizers?)\.")  # what the flat names of an optimizer's state begin with
_NAMED = re.compile(
    r"(^|\.)weight$|\.(qweight|weight_packed)$|(^|[._])(in|q|k|v)_proj_weight$|(^|[._])weight_(ih|hh|hr)(_l\d+)?(_reverse)?$|_blocks$"
)


def why_skipped(tensor: StoredTensor, known: Known | None, include_embeddings: bool) -> str:
    """Return why this tensor is no weight to analyse, or an empty string."""
    if tensor.companion:
        return tensor.companion
    said, ndim = _said_by(tensor.name), len(tensor.shape)
    if said.reason:
        return said.reason
    if said.scales or tensor.dtype is None and not tensor.packed and not said.weight:
        return f"{tensor.stored_dtype} codes, scales or indices, not weights"
    if ndim < 2:
        return f"{ndim}-D, has no spectrum"
    if said.bias:
        return "biases of several matrices"
    if said.gain and known is None and tensor.kind == "unknown":
        return "gains of a normalization, not a matrix"
    if not said.weight and not (known or is_stack(tensor, None)) and tensor.kind == "unknown":
        return UNKNOWN
    if ndim > 5:
        return f"{ndim}-D, expected 2 to 5"
    layer = layer_name_of(tensor.name)
    told = tensor.kind not in ("linear", "transposed", "conv")  # what a live module is counts more than its name
    named = known.form == "table" if known else ndim == 2 and categorize(layer) == "embedding"
    table = tensor.kind == "embedding" and ndim == 2 or told and named
    if table and not include_embeddings:
        return "embedding (--include-embeddings analyses it)"
    return ""


@dataclass(frozen=True)
class _Said:
    """What the name of a tensor says: that it is no weight and why, scales, biases, gains, or the weight of a layer."""

    reason: str
    scales: bool
    bias: bool
    gain: bool
    weight: bool


def _said_by(parameter: str) -> _Said:
    return _of_name(without_numbers(parameter))


@lru_cache(2**16)
def _of_name(parameter: str) -> _Said:
    """Read a name whose blocks and experts all have the number 0: few in a large model."""
    name, reason = clean_name(parameter), ""
    if _OPTIMIZER.match(name):
        reason = "optimizer state, not a weight"
    elif place_of(name) is not None:
        reason = "factor of an adapter, not a weight by itself"
    elif name.endswith(".original_module.weight"):
        reason = "replaced by a trained copy"
    bias = re.search(r"(^|[._])bias$", name) is not None
    gain, weight = _GAIN.search(name) is not None, _NAMED.search(name) is not None
    return _Said(reason, name.endswith("_scales"), bias, gain, weight)
