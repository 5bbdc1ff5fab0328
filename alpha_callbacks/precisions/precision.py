"""What a numeric precision is: a round trip, the fields of its encoding, and what a weight costs in it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alpha_callbacks.precisions.encoding import Encoding

if TYPE_CHECKING:  # commands that read tables need no torch
    import torch
    from torch import Tensor

RoundTrip = Callable[["Tensor", float], "Tensor"]


@dataclass(frozen=True)
class Storage:
    """What a weight costs on disk, scales and zero points included.

    Attributes:
        code: bits of one weight.
        scale: bits that each block adds for its scale and zero point.
        block: weights along a row that share a scale; None means the whole row.
        rows: rows that share a scale; None means all of them.
        tensor: bits added once per matrix.
    """

    code: float
    scale: float = 0
    block: int | None = None
    rows: int | None = 1
    tensor: float = 0

    def bits_per_weight(self, out_features: int, in_features: int) -> float:
        """Return the effective bits of one weight of a matrix of this shape."""
        if not out_features * in_features:
            return self.code
        along = math.ceil(in_features / (self.block or in_features))
        down = math.ceil(out_features / (self.rows or out_features))
        return self.code + (self.scale * along * down + self.tensor) / (out_features * in_features)


@dataclass(frozen=True)
class Precision:
    """A numeric format that weights can be passed through.

    Attributes:
        name: canonical name, used in CSV columns and file names.
        aliases: other names accepted on input.
        bits: bits of one code, without scales.
        eps: relative spacing of its numbers (2^-23 for fp32); None where the format has no fixed one.
        round_trip: takes whole rows, shape (r, in_features), and the largest |w| of the whole matrix, which formats
            with one scale per tensor need; returns the rows after the format, in any dtype that holds them exactly.
        torch_name: what torch calls the dtype that is this format ("bfloat16"); "" where it has none.
        storage: what a weight costs; default `bits` and nothing else.
        encoding: the fields that quantizers ask for. None for the formats that are torch dtypes; a low-bit format
            without it can be measured but not exported.
        row_multiple: the row blocks given to `round_trip` must begin at a multiple of this.
        column_multiple: the length of a row must be a multiple of this.
        saturates_at: the largest number of a format without scales; larger weights become this number.
        same_as: the reference implementation that it matches bit for bit, as the tests check.
        source: the specification.
    """

    name: str
    aliases: tuple[str, ...]
    bits: float
    eps: float | None
    round_trip: RoundTrip
    torch_name: str = ""
    storage: Storage | None = None
    encoding: Encoding | None = None
    row_multiple: int = 1
    column_multiple: int = 1
    saturates_at: float = math.inf
    same_as: str = ""
    source: str = ""

    @property
    def dtype(self) -> torch.dtype | None:
        """The torch dtype that is this format, if there is one."""
        import torch

        return getattr(torch, self.torch_name) if self.torch_name else None

    @property
    def low_bit(self) -> bool:
        """True if it is coarser than the 16-bit floats, so that storing it takes a quantizer."""
        return self.bits < 16

    def effective_bits(self, out_features: int, in_features: int) -> float:
        """Return the bits of one weight of a matrix of this shape, scales included."""
        return (self.storage or Storage(self.bits)).bits_per_weight(out_features, in_features)

    def fits(self, in_features: int) -> bool:
        """Return False where its blocks do not divide a row.

        Such rows can be measured, the last block filled with zeros, but quantizers refuse, skip or misread them.
        """
        block = self.encoding.size if self.encoding is not None else 0
        return in_features % math.lcm(block or 1, self.column_multiple) == 0

    def holds(self, dtype: torch.dtype) -> bool:
        """Return True if every number of `dtype` is a number of this format, so that the data need not be read."""
        return self.dtype is not None and _is_subset(dtype, self.dtype)


@dataclass(frozen=True)
class Family:
    """Formats that differ in options: `name:option:option`, separated by ":" or "_".

    Attributes:
        name: what all their names begin with.
        aliases: other names for the family.
        make: returns the format with these options; its name is canonical.
        options: the options in words, for messages and help.
        examples: options of the members that tables list, the default first; empty where its package is not installed.
        extra: the extra of this package that installs what it needs.
    """

    name: str
    aliases: tuple[str, ...]
    make: Callable[[Sequence[str]], Precision]
    options: str
    examples: tuple[tuple[str, ...], ...] = field(default=((),))
    extra: str = ""


def _is_subset(small: torch.dtype, large: torch.dtype) -> bool:
    """Return True if every finite number of float format `small`, subnormals too, is one of `large`."""
    import torch

    if not (small.is_floating_point and large.is_floating_point):
        return False
    a, b = torch.finfo(small), torch.finfo(large)
    return a.eps >= b.eps and a.max <= b.max and a.tiny * a.eps >= b.tiny * b.eps
