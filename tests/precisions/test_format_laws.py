"""What holds for every format that is listed, whatever the shape, dtype and layout of the weight."""

import math
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import all_precisions, get_precision
from tests.conftest import noise
from tests.support.format_oracles import equally_near, mismatches

ALL = [precision for precision, _ in all_precisions()]
MORE = ["int8_tensor", "int8_asym", "int2_channel", "mxfp8_floor", "nf4_b7", "fp8_e5m2_block128"]
MORE += ["gguf_mxfp4"] if find_spec("gguf") else []
FORMATS = [*ALL, *(get_precision(name) for name in MORE)]
OURS = [p for p in FORMATS if p.low_bit and not p.name.startswith("gguf")]  # gguf computes in fp32 whatever it gets
ODD = [p for p in FORMATS if not p.name.startswith(("int", "nf4", "gguf"))]
EVERY = pytest.mark.parametrize("precision", FORMATS, ids=lambda precision: precision.name)
EVERY_OF_OURS = pytest.mark.parametrize("precision", OURS, ids=lambda precision: precision.name)


def through(precision: Precision, w: Tensor) -> Tensor:
    return precision.round_trip(w, float(w.double().abs().max()))


def shapes(precision: Precision) -> Iterator[tuple[int, int]]:
    """Yield ragged shapes, as far as the format can store them."""
    for rows, columns in ((1, 1), (3, 1), (5, 7), (2, 77), (4, 500), (130, 129), (1, 64), (33, 512)):
        if columns % precision.column_multiple == 0:
            yield rows, columns


@EVERY
def test_any_shape_comes_back_finite_and_near(precision: Precision) -> None:
    for rows, columns in shapes(precision):
        w = noise(rows, columns)
        out = through(precision, w)
        assert out.shape == w.shape
        assert bool(torch.isfinite(out).all())
        assert float((out.float() - w).norm() / w.norm()) < (0.7 if precision.bits < 3 else 0.35)


@EVERY
def test_zeros_stay_zeros_and_harm_no_neighbour(precision: Precision) -> None:
    w = noise(256, 256)
    assert mismatches(through(precision, torch.zeros_like(w)), torch.zeros_like(w)) == 0
    w[3], w[:, 128:] = 0, 0
    out = through(precision, w)
    assert mismatches(out[w == 0], torch.zeros(1)) == 0
    assert mismatches(out[:, :128], through(precision, w[:, :128].contiguous())) == 0


@EVERY
@pytest.mark.parametrize("scale", [1e-44, 1e-38, 1e-30, 1e30, 1e37])
def test_the_ends_of_fp32_stay_finite_but_for_fp16_and_scales_in_it(precision: Precision, scale: float) -> None:
    in_fp16 = precision.name == "fp16" or precision.name in ("gguf_q8_0", "gguf_q4_0")
    w = noise(8, 256) * scale
    assert bool(torch.isfinite(through(precision, w)).all()) == (scale < 1e4 or not in_fp16)


@EVERY_OF_OURS
def test_float32_gives_float32_and_float64_gives_float64(precision: Precision) -> None:
    w = noise(130, 512)
    narrow, wide = through(precision, w), through(precision, w.double())
    assert (narrow.dtype, wide.dtype) == (torch.float32, torch.float64)
    differ = (narrow.double() - wide).abs() > 1e-5 * wide.abs()
    assert float(differ.double().mean()) < 0.01
    assert bool(equally_near(w.double(), narrow.double(), wide)[differ].all())  # the last bit of a scale broke a tie


@EVERY
@pytest.mark.parametrize("stored", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_stored_rows_are_widened_first(precision: Precision, stored: torch.dtype) -> None:
    w = noise(16, 512).to(stored)
    assert mismatches(through(precision, w).float(), through(precision, w.float()).float()) == 0


@EVERY
def test_the_weight_itself_is_left_alone(precision: Precision) -> None:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        w = noise(128, 256).to(dtype)
        before = w.clone()
        through(precision, w)
        assert mismatches(w, before) == 0


@EVERY
def test_memory_layout_does_not_matter(precision: Precision) -> None:
    w = noise(256, 512)
    assert mismatches(through(precision, w.T.contiguous().T), through(precision, w)) == 0
    assert mismatches(through(precision, w[::2, ::2]), through(precision, w[::2, ::2].contiguous())) == 0
    assert mismatches(through(precision, w[:1].expand(128, -1)), through(precision, w[:1].repeat(128, 1))) == 0


@EVERY
def test_blocks_of_rows_give_the_same_as_the_whole(precision: Precision) -> None:
    w = noise(300, 512)
    w[200] *= 30  # the largest is not in every block
    largest = float(w.abs().max())
    size = precision.row_multiple * math.ceil(100 / precision.row_multiple)
    parts = torch.cat([precision.round_trip(block, largest) for block in w.split(size)])
    assert mismatches(parts, precision.round_trip(w, largest)) == 0


@pytest.mark.parametrize("precision", ODD, ids=lambda precision: precision.name)
def test_an_odd_function_but_for_two_s_complement_and_nf4(precision: Precision) -> None:
    w = noise(128, 256)
    assert mismatches(through(precision, -w), -through(precision, w)) == 0


# The scale is the same again: none, a power of two, or the absmax, which is itself a number of the format.
EXACT = ("fp64", "fp32", "fp16", "bf16", "fp8_e4m3_none", "mxfp", "nf4", "nvfp4", "gguf_mxfp4")
# The scale is absmax / largest, and largest * scale need not be absmax to the last bit.
LAST_BIT = ("fp8", "fp4", "int8_asym", "int4_g32_asym")
# Symmetric integers: the scale is 2 absmax / (2^b - 1), the absmax becomes a code beside it. gguf: scales in fp16.
NOT = ("int", "gguf")


@EVERY
def test_once_more_changes_nothing(precision: Precision) -> None:
    w = noise(130, 512)
    largest = float(w.abs().max())
    once = precision.round_trip(w, largest)
    twice = precision.round_trip(once, largest)
    if precision.name.startswith(EXACT):
        assert mismatches(once, twice) == 0
    elif precision.name.startswith(LAST_BIT):
        assert float(((once - twice).abs() / once.abs().clamp(min=1e-9)).max()) < 1e-6
    else:
        assert precision.name.startswith(NOT)


def test_symmetric_integers_shrink_again_each_time() -> None:
    w = torch.tensor([[1.0, 0.5, 0.0, -0.25]])
    once = get_precision("int4").round_trip(w, 1.0)
    assert once[0, 0] == pytest.approx(7 / 7.5)
    assert mismatches(once, get_precision("int4").round_trip(once, float(once.max()))) > 0


def test_a_scale_a_tensor_is_that_of_the_whole_matrix() -> None:
    rows = torch.tensor([[0.3, -0.2]])
    for name in ("int8_tensor", "fp8_e4m3_tensor", "nvfp4"):
        precision = get_precision(name)
        assert mismatches(precision.round_trip(rows, 0.3), precision.round_trip(rows, 1e6)) == 2


def test_without_a_scale_it_saturates_where_it_says() -> None:
    for name in ("fp8_e4m3_none", "fp8_e5m2_none", "fp4_none"):
        precision = get_precision(name)
        out = precision.round_trip(torch.tensor([[1e9, -1e9]]), 1e9)
        assert out.tolist() == [[precision.saturates_at, -precision.saturates_at]]
    assert get_precision("fp8_e4m3_none").saturates_at == 448
    assert get_precision("fp8_e4m3").saturates_at == math.inf


@EVERY
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_weight_that_is_no_number_is_no_crash(precision: Precision, value: float) -> None:
    w = noise(4, 256)
    w[1, 5] = value
    assert precision.round_trip(w, value).shape == w.shape
