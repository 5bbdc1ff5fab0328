"""Numbers survive the way into the page, to the digits stated."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alpha_callbacks.report.columns import layer_columns
from alpha_callbacks.report.packing import Kind, coded, packed, unpacked
from tests.support.rows import table

NUMBERS = st.lists(st.floats(1e-30, 1e30) | st.floats(-1e30, -1e-30) | st.sampled_from([0.0, math.nan, math.inf]))


@given(NUMBERS)
def test_doubles_keep_every_bit(values: list[float]) -> None:
    np.testing.assert_array_equal(unpacked(packed(values, "f8")), values)


@given(NUMBERS)
def test_floats_keep_24_bits(values: list[float]) -> None:
    np.testing.assert_allclose(unpacked(packed(values, "f4")), values, rtol=6e-8)


@pytest.mark.parametrize("kind", ["u4", "u2"])
def test_whole_numbers(kind: Kind) -> None:
    values = [0, 1, np.iinfo(kind).max]
    assert unpacked(packed(values, kind)).tolist() == values
    with pytest.raises(AssertionError):
        packed([-1], kind)
    assert unpacked(packed([], kind)).size == 0


def test_words() -> None:
    column = coded(["b", "a", "b", ""])
    assert [column["w"][i] for i in unpacked(column["i"])] == ["b", "a", "b", ""]
    many = coded(str(i) for i in range(70_000))
    assert unpacked(many["i"])[-1] == 69_999


def test_alphas_of_a_table_keep_every_bit() -> None:
    some = table(precisions=("fp32", "bf16"))
    columns = layer_columns(some)
    assert unpacked(columns["alpha"]).tolist() == [row.alpha for row in some]
    drifts = unpacked(columns["drift"]).reshape(len(some), 2)
    np.testing.assert_allclose(drifts[:, 1], 0.01, rtol=1e-6)


def test_a_layer_without_a_precision_has_a_row_that_says_so() -> None:
    whole = table(precisions=("fp32", "bf16"))
    columns = layer_columns(type(whole)(tuple(type(x)(x.rows[:1]) for x in whole.layers), whole.precisions))
    status = columns["status"]
    assert [status["w"][i] for i in unpacked(status["i"])][:2] == ["ok", "skipped"]
    assert np.isnan(unpacked(columns["drift"])[1])
