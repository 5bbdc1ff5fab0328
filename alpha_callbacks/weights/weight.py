"""The one record that every source yields: a 2-D weight, read row by row."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from alpha_callbacks.weights.layer_names import UPDATE_CATEGORY
from alpha_callbacks.weights.sharded import ShardedParameter
from alpha_callbacks.weights.stored_dtype import CAST, is_quantized

HOLD_BYTES = 512 * 2**20  # a matrix up to this size is read once and kept while its layer is analysed
BLOCK_ELEMENTS = 4 * 2**20  # elements multiplied at a time: 32 MiB in float64
ROW_BLOCK_MULTIPLE = 128  # row blocks begin at multiples of this, for formats that scale square tiles

RowReader = Callable[[int, int], Tensor]


@dataclass(frozen=True)
class Weight:
    """One weight matrix, wherever it lives; nothing after it can tell a live module from a checkpoint.

    Attributes:
        layer_name: module path without ".weight", the same whatever the source (see `canonical_names`).
        category: one of `categories.CATEGORIES`.
        out_features: rows.
        in_features: columns.
        dtype: what `rows` returns.
        stored_dtype: how the source holds it ("bfloat16", "Q4_1", ...).
        rows: `rows(start, stop)` returns rows start..stop, shape (stop - start, in_features), on any device.
        modality: "vision", "audio" or "text" in a model with several; "" in its language part and in others.
        tied_to: layer that owns the same storage, if any.
        unsupported: why no spectrum may be taken (packed codes, ...); empty when one may.
        sharded: where ranks hold parts of it, the context in which `rows` can be read; None: it can be read any time.
        base_norm: of an update, returns the Frobenius norm of the weight that it changes; None where that is not known.
        factors: of an update of low rank, returns (L, R), float64, of shapes (out_features, r) and (r, in_features),
            whose product it is.
        source_name: what the source calls the layer, "" where that is `layer_name`.
    """

    layer_name: str
    category: str
    out_features: int
    in_features: int
    dtype: torch.dtype
    stored_dtype: str
    rows: RowReader
    modality: str = ""
    tied_to: str = ""
    unsupported: str = ""
    sharded: ShardedParameter | None = None
    factors: Callable[[], tuple[Tensor, Tensor]] | None = None
    base_norm: Callable[[], float] | None = None
    source_name: str = ""

    @property
    def is_update(self) -> bool:
        """True for a change of a weight (see `updates`), False for a weight."""
        return self.category.endswith(UPDATE_CATEGORY)

    @property
    def n_eigs(self) -> int:
        """Number of eigenvalues, min(out_features, in_features)."""
        return min(self.out_features, self.in_features)

    @property
    def numel(self) -> int:
        """Number of elements."""
        return self.out_features * self.in_features

    @property
    def nbytes(self) -> int:
        """Bytes of the matrix in `dtype`."""
        return self.numel * self.dtype.itemsize

    def sibling(self, layer_name: str, rows: RowReader) -> "Weight":
        """Return another matrix that differs in name and values only, in a quarter of the time that `replace` takes."""
        other = object.__new__(Weight)
        other.__dict__.update(self.__dict__, layer_name=layer_name, rows=rows)
        return other

    def on(self, device: str) -> "Weight":
        """Return the same weight with its rows on `device`, so that all that follows is computed there."""
        rows = self.rows
        return replace(self, rows=lambda start, stop: rows(start, stop).to(device))

    def cast(self, dtype: torch.dtype) -> "Weight":
        """Return the weight rounded to `dtype`; its stored_dtype says so, since all that follows is about the cast."""
        rows = self.rows
        label = f"{self.stored_dtype}{CAST}{str(dtype).removeprefix('torch.')}"
        return replace(
            self, dtype=dtype, stored_dtype=label, rows=lambda start, stop: rows(start, stop).to(dtype), factors=None
        )

    def held(self) -> "Weight":
        """Return the same weight, read into memory when it is small enough to keep.

        Codes are decoded some rows at a time: decoding takes several times the memory of what it returns.
        """
        if self.nbytes > HOLD_BYTES:
            return self
        if is_quantized(self.stored_dtype) and self.numel > BLOCK_ELEMENTS:
            matrix = self.rows(0, 1).new_empty(self.out_features, self.in_features)
            for start, stop in spans(self.out_features, self.in_features, multiple=ROW_BLOCK_MULTIPLE):
                matrix[start:stop] = self.rows(start, stop)
        else:
            matrix = self.rows(0, self.out_features)
        return replace(self, rows=lambda start, stop: matrix[start:stop])

    def copied(self) -> "Weight":
        """Return the weight as it is now, with all that belongs to it, copied to the CPU, readable any time."""
        matrix = torch.empty(self.out_features, self.in_features, dtype=self.dtype)
        source = self.held()  # some weights are computed at each reading
        for start, stop in spans(self.out_features, self.in_features):
            matrix[start:stop] = source.rows(start, stop)
        copy = replace(self, rows=lambda start, stop: matrix[start:stop], sharded=None)
        if self.factors is not None:
            left, right = (factor.cpu().clone() for factor in self.factors())
            copy = replace(copy, factors=lambda: (left, right))
        if self.base_norm is not None:
            norm = self.base_norm()
            copy = replace(copy, base_norm=lambda: norm)
        return copy

    def frobenius_norm(self) -> float:
        """Return the root of the sum of squares of all entries."""
        blocks = (self.rows(start, stop).double() for start, stop in spans(self.out_features, self.in_features))
        return math.hypot(*(float(torch.linalg.vector_norm(block)) for block in blocks))

    def row_blocks(self, first: int = 0, last: int | None = None) -> Iterator[Tensor]:
        """Yield rows top to bottom in blocks of about BLOCK_ELEMENTS elements.

        Args:
            first: the first row, a multiple of ROW_BLOCK_MULTIPLE.
            last: the row after the last; None: to the end.
        """
        length = (self.out_features if last is None else last) - first
        for start, stop in spans(length, self.in_features, multiple=ROW_BLOCK_MULTIPLE):
            yield self.rows(first + start, first + stop)


def spans(length: int, width: int, *, multiple: int = 1) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over `length` so that one span times `width` is about BLOCK_ELEMENTS.

    Args:
        length: number of items to divide.
        width: elements per item.
        multiple: every start is a multiple of this.
    """
    step = span_length(width, multiple=multiple)
    for start in range(0, length, step):
        yield start, min(start + step, length)


def span_length(width: int, *, multiple: int = 1) -> int:
    """Return the length of the spans of `spans`, but for the last one."""
    step = max(16, BLOCK_ELEMENTS // max(width, 1))
    return max(multiple, step // multiple * multiple)
