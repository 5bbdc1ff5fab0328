"""A weight through a precision: its blocks after a round trip, and what happens to the entries."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.solvers.perturbation import Perturbation, PerturbationMeter
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


@one_thread()
def measure_quantization_error(weight: Weight, precision: Precision, largest: float) -> QuantizationError:
    """Compare a finite weight with its round trip, some rows at a time.

    The differences are formed in fp32 (fp64 for fp64 weights). For the 16-bit floats they are exact where it matters,
    since a weight and its rounding are within a factor of two of each other or the rounding is 0.

    Args:
        weight: not all zero.
        precision: the format.
        largest: max |w| of the whole matrix.
    """
    wide = torch.float64 if weight.dtype is torch.float64 else torch.float32
    meter, squares = PerturbationMeter(weight.in_features), 0.0
    infinite = saturated = underflow = 0
    step = _rows_at_a_time(precision, weight.in_features)
    for block in weight.row_blocks():
        for rows in block.split(step) if block.is_cpu else (block,):
            before, after = rows.to(wide), precision.round_trip(rows, largest).to(wide)
            lost = int(torch.count_nonzero(~torch.isfinite(after)))
            infinite += lost
            if largest > precision.saturates_at:
                saturated += int(torch.count_nonzero(before.abs() > precision.saturates_at))
            underflow += int(torch.count_nonzero((after == 0) & (before != 0)))  # some formats have no 0: 0 comes back
            squares += float(torch.linalg.vector_norm(before, dtype=torch.float64)) ** 2
            if lost == 0:
                meter.add(before - after)  # never in place: `before` may be the model's own storage
    relative = math.inf if infinite else meter.frobenius / math.sqrt(squares)
    return QuantizationError(meter.result(), relative, infinite + saturated, infinite, underflow)


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
