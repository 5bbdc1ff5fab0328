"""A weight through a precision: its blocks after a round trip, and what happens to the entries."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from alpha_callbacks.analysis.parts import row_parts
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.perturbation import Perturbation, PerturbationMeter
from alpha_callbacks.utils.crew import in_order
from alpha_callbacks.utils.one_thread import one_thread
from alpha_callbacks.weights.weight import ROW_BLOCK_MULTIPLE, Weight, span_length

_CACHE_ELEMENTS = 2**18  # entries compared at a time on a CPU: the temporaries of the pass stay in the cache
_DIGITS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_SAMPLES = 2**12  # entries of each block that the median is taken from


@dataclass(frozen=True)
class Sizes:
    """Sizes of the entries of a matrix.

    Attributes:
        largest: max |w|; nan or inf if there is one.
        typical: median |w| of an even sample.
        eps: relative spacing of the coarsest of bf16, fp16, fp32 and fp64 that holds every number of the sample: the
            digits that are there, also when bf16 weights were saved as fp32.
    """

    largest: float
    typical: float
    eps: float


@one_thread()
def measure_sizes(weight: Weight) -> Sizes:
    """Return the sizes of the entries, in one pass."""
    largest, taken = 0.0, 0
    # One array for all samples: small ones that stay, each beside a block that is freed, would leave holes too small
    # for the next block, and the process would grow by the whole matrix.
    length = span_length(weight.in_features, multiple=ROW_BLOCK_MULTIPLE)
    sample = torch.empty(math.ceil(weight.out_features / length) * (2 * _SAMPLES + 1), dtype=torch.float64)
    for block in weight.row_blocks():
        wide = block.float() if block.dtype.itemsize == 1 else block  # fp8 has no comparison kernels
        low, high = wide.aminmax()
        value = max(-float(low), float(high))
        if not math.isfinite(value):
            return Sizes(value, value, torch.finfo(weight.dtype).eps)
        largest = max(largest, value)
        flat = wide.reshape(-1)
        found = flat[:: max(1, len(flat) // _SAMPLES) | 1]  # odd: not always the same column
        sample[taken : taken + len(found)] = found
        taken += len(found)
    sample = sample[:taken].abs_()
    held = (dtype for dtype in _DIGITS if bool((sample.to(dtype).double() == sample).all()))
    return Sizes(largest, float(sample.median()), torch.finfo(next(held)).eps)


@dataclass(frozen=True)
class QuantizationError:
    """What a round trip does to the entries of a matrix.

    Attributes:
        change: norms of W - Q(W), over the blocks without overflow.
        relative: ||W - Q(W)||_F / ||W||_F; inf after an overflow to inf.
        overflow: finite weights beyond the largest number of the format: they become inf, or that number.
        infinite: those that become inf or nan.
        underflow: non-zero weights that become 0.
    """

    change: Perturbation
    relative: float
    overflow: int
    infinite: int
    underflow: int

    @property
    def exact(self) -> bool:
        """True if every weight came back as it was."""
        return self.infinite == 0 and self.change.frobenius == 0


def measure_quantization_error(weight: Weight, precision: Precision, largest: float) -> QuantizationError:
    """Compare a finite weight with its round trip, some rows at a time.

    The differences are formed in fp32 (fp64 for fp64 weights). For the 16-bit floats they are exact where it matters,
    since a weight and its rounding are within a factor of two of each other or the rounding is 0.

    Args:
        weight: not all zero. Of a long one, workers that are free take rows too.
        precision: the format.
        largest: max |w| of the whole matrix.
    """
    parts = [partial(_compared, weight, precision, largest, first, last) for first, last in row_parts(weight)]
    found = in_order(parts)
    whole = next(found)
    for part in found:
        whole.add(part)
    relative = math.inf if whole.infinite else whole.meter.frobenius / math.sqrt(whole.squares)
    overflow = whole.infinite + whole.saturated
    return QuantizationError(whole.meter.result(), relative, overflow, whole.infinite, whole.underflow)


@dataclass
class _Compared:
    """What a round trip does to some rows; `squares` is ||W||_F^2 of them, for the others see `QuantizationError`."""

    meter: PerturbationMeter
    squares: float = 0.0
    infinite: int = 0
    saturated: int = 0
    underflow: int = 0

    def add(self, other: "_Compared") -> None:
        """Add the rows that follow."""
        self.meter.add_rows_of(other.meter)
        self.squares += other.squares
        self.infinite += other.infinite
        self.saturated += other.saturated
        self.underflow += other.underflow


@one_thread()
def _compared(weight: Weight, precision: Precision, largest: float, first: int, last: int) -> _Compared:
    wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
    found = _Compared(PerturbationMeter(weight.in_features))
    step = _rows_at_a_time(precision, weight.in_features)
    for block in weight.row_blocks(first, last):
        for rows in block.split(step) if block.is_cpu else (block,):
            before, after = rows.to(wide), precision.round_trip(rows, largest).to(wide)
            lost = _count_not_finite(after)
            found.infinite += lost
            if largest > precision.saturates_at:
                found.saturated += int(torch.count_nonzero(before.abs() > precision.saturates_at))
            found.underflow += _count_lost(before, after)
            found.squares += float(torch.linalg.vector_norm(before, dtype=torch.float64)) ** 2
            if lost == 0:
                found.meter.add(before - after)  # never in place: `before` may be the model's own storage
    return found


def _count_not_finite(values: Tensor) -> int:
    """Count, but only where the extremes show that there is one: they take a tenth of the time."""
    if all(math.isfinite(float(extreme)) for extreme in values.aminmax()):
        return 0
    return int(torch.count_nonzero(~torch.isfinite(values)))


def _count_lost(before: Tensor, after: Tensor) -> int:
    """Return how many non-zero weights have become 0; some formats have no 0, and 0 comes back as another number."""
    if not after.is_cpu:
        return int(torch.count_nonzero((after == 0) & (before != 0)))
    import numpy as np

    # a fifth of the time of torch's comparisons
    return int(np.count_nonzero((after.detach().numpy() == 0) & (before.detach().numpy() != 0)))


BlockMap = Callable[[Tensor], Tensor]


def _rows_at_a_time(precision: Precision, in_features: int) -> int:
    step = max(1, _CACHE_ELEMENTS // in_features)
    return math.ceil(step / precision.row_multiple) * precision.row_multiple


def through(precision: Precision, largest: float) -> BlockMap:
    """Return what turns whole rows into their round trip."""
    return _in_pieces(lambda rows: precision.round_trip(rows, largest), precision)


def error_of(precision: Precision, largest: float) -> BlockMap:
    """Return what turns whole rows into W - Q(W), in units of `largest` so that squares stay in range of fp32."""

    def error(rows: Tensor) -> Tensor:
        after = precision.round_trip(rows, largest)
        return (rows.to(after.dtype) - after).div_(largest)

    return _in_pieces(error, precision)


def _in_pieces(change: BlockMap, precision: Precision) -> BlockMap:
    """Return the same map, of low-bit formats some rows at a time on a CPU: their temporaries stay in the cache."""

    def whole(rows: Tensor) -> Tensor:
        step = _rows_at_a_time(precision, rows.shape[1])
        if not (precision.low_bit and rows.is_cpu and len(rows) > step):
            return change(rows)
        with one_thread():
            first, *others = rows.split(step)
            found = change(first)
            result = found.new_empty(rows.shape)
            result[:step] = found
            for i, piece in enumerate(others, start=1):
                result[i * step : i * step + len(piece)] = change(piece)
        return result

    return whole
