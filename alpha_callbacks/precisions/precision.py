"""What a numeric precision is: a round trip, and what a weight costs in it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

RoundTrip = Callable[[Tensor, float], Tensor]


@dataclass(frozen=True)
class Storage:
    """What a weight costs on disk, scales and zero points included.

    Attributes:
        code: bits of one weight.
        scale: bits that a block adds (its scale, its zero point).
        block: weights along a row that share a scale; None: the whole row.
        rows: rows that share a scale; None: all of them.
        tensor: bits that the whole matrix adds.
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
        round_trip: whole rows in, shape (r, in_features), and the largest |w| of the whole matrix, for formats with a
            scale a tensor; out come the same values after the format, in any dtype that holds them exactly.
        dtype: the torch dtype that is this format, if there is one.
        storage: what a weight costs; default `bits` and nothing else.
        row_multiple: `round_trip` needs blocks that begin at a multiple of so many rows.
        column_multiple: it cannot store rows whose length is no multiple of this.
        saturates_at: where there is no scale, the largest number, which takes the place of all that is larger.
        same_as: the implementation that the tests hold it to, bit for bit.
        source: the specification.
    """

    name: str
    aliases: tuple[str, ...]
    bits: float
    eps: float | None
    round_trip: RoundTrip
    dtype: torch.dtype | None = None
    storage: Storage | None = None
    row_multiple: int = 1
    column_multiple: int = 1
    saturates_at: float = math.inf
    same_as: str = ""
    source: str = ""

    @property
    def low_bit(self) -> bool:
        """True if it is coarser than the 16-bit floats, so that a quantizer is needed to store it."""
        return self.bits < 16

    def effective_bits(self, out_features: int, in_features: int) -> float:
        """Return the bits of one weight of a matrix of this shape, scales included."""
        return (self.storage or Storage(self.bits)).bits_per_weight(out_features, in_features)

    def holds(self, dtype: torch.dtype) -> bool:
        """Return True if every number of `dtype` is a number of this format, so that no data need be looked at."""
        return self.dtype is not None and _is_subset(dtype, self.dtype)


@dataclass(frozen=True)
class Family:
    """Formats that differ in options: `name:option:option`, with ":" or "_" between.

    Attributes:
        name: what all their names begin with.
        aliases: other names for it.
        make: options -> format, whose name is canonical.
        options: the options in words, for messages and help.
        examples: options of the members that tables list, the default first; none where its package is absent.
        extra: the extra of this package that brings what it needs.
    """

    name: str
    aliases: tuple[str, ...]
    make: Callable[[Sequence[str]], Precision]
    options: str
    examples: tuple[tuple[str, ...], ...] = field(default=((),))
    extra: str = ""


def _is_subset(small: torch.dtype, large: torch.dtype) -> bool:
    """Return True if every finite number of float format `small`, subnormals too, is one of `large`."""
    if not (small.is_floating_point and large.is_floating_point):
        return False
    a, b = torch.finfo(small), torch.finfo(large)
    return a.eps >= b.eps and a.max <= b.max and a.tiny * a.eps >= b.tiny * b.eps
