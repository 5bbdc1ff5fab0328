"""A tensor of any source, not read yet: its name, shape and how to read rows of it."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from alpha_callbacks.weights.fused_layouts import Part
from alpha_callbacks.weights.layer_names import clean_name
from alpha_callbacks.weights.sharded import ShardedParameter

Kind = Literal["unknown", "linear", "transposed", "conv", "embedding", "in_proj", "stack"]


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a checkpoint or a live module, not read yet.

    Attributes:
        name: parameter path.
        shape: as stored.
        dtype: what `read` returns; None for codes that are not numbers.
        stored_dtype: name of the storage format.
        read: `read(start, stop)` returns that range of the first dimension; all of a 0-D tensor.
        kind: what a live module or a format says it is, of a stack that it is (matrices, out, in); "unknown" leaves it
            to the name and shape.
        packed: why its values are codes and not weights, or "".
        companion: why it is never a matrix of its own ("scales of <layer>"), or "".
        parts: the matrices fused in it (in each, of a stack), where the format says; None leaves it to the config.
        columns: `columns(start, stop)` returns that range of the second dimension of what is stored, where the source
            can read it without the rest; for layouts that store a matrix transposed.
        sharded: how to see all of it, where the ranks of a training run hold parts.
        source: parameter path in the source, where `name` is another one.
        saved_as: layer names of its parts in the model's files, where these hold each by itself; "*" stands for the
            index in a stack.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype | None
    stored_dtype: str
    read: Callable[[int, int], Tensor]
    kind: Kind = "unknown"
    packed: str = ""
    companion: str = ""
    parts: tuple[Part, ...] | None = None
    columns: Callable[[int, int], Tensor] | None = None
    sharded: ShardedParameter | None = None
    source: str = ""
    saved_as: tuple[str, ...] = ()

    @property
    def numel(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def readable(self) -> bool:
        """True where `read` works at any time."""
        return self.sharded is None and not self.packed


def read_columns(tensor: StoredTensor, start: int, stop: int) -> Tensor:
    """Return columns start..stop of a 2-D tensor, reading no others where the source can do that."""
    return tensor.columns(start, stop) if tensor.columns else tensor.read(0, tensor.shape[0])[:, start:stop]


def numbered(layer: str) -> str:
    """Return the names of the matrices in a stack, with "*" for their index.

    Examples:
        >>> numbered("layers.0.experts.up_proj"), numbered("gates")
        ('layers.0.experts.*.up_proj', 'gates.*')
    """
    base, _, last = layer.rpartition(".")
    return f"{base}.*.{last}" if base else f"{last}.*"


_LAST = re.compile(r"\.(qweight|weight_packed)$|_blocks$")


@lru_cache(2**16)
def layer_name_of(parameter: str) -> str:
    """Return the layer name of a parameter path: no ".weight", no wrappers in the path, nothing that PEFT adds.

    Examples:
        >>> layer_name_of("_orig_mod.model.layers.0.self_attn.q_proj.base_layer.weight")
        'model.layers.0.self_attn.q_proj'
    """
    name = clean_name(parameter)
    name = name[: -len(".weight")] if name.endswith(".weight") else _LAST.sub("", name)
    return name.removesuffix(".base_layer").removesuffix(".modules_to_save.default")
