import math

import numpy as np
import pytest
import torch

from alpha_callbacks.precisions.gptq_rounding import Codes, gptq_codes, takes
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision

ROWS, COLUMNS = 12, 192


def drawn(seed: int = 0, rank: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """Return a weight and the products of correlated inputs."""
    random = np.random.default_rng(seed)
    inputs = random.standard_normal((3 * COLUMNS, rank)) @ random.standard_normal((rank, COLUMNS))
    return random.standard_normal((ROWS, COLUMNS)).astype(np.float32), inputs.T @ inputs


def by_elimination(weight: np.ndarray, products: np.ndarray, bits: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and scales by equations 2 and 3 of the paper: the inverse loses a row and column at each step."""
    w, half = weight.astype(np.float64), (2**bits - 1) / 2
    h = products + 0.01 * np.mean(np.diag(products)) * np.eye(len(products))
    inverse = np.linalg.inv(h)
    codes, scales = np.zeros(w.shape), np.zeros((len(w), w.shape[1] // size))
    for q in range(w.shape[1]):
        group = q // size
        if q % size == 0:
            scales[:, group] = (np.abs(w[:, q : q + size]).max(1) / half).astype(np.float32)
        scale = np.where(scales[:, group] == 0, 1, scales[:, group])
        codes[:, q] = np.clip(
            np.rint(w[:, q].astype(np.float32) / scale.astype(np.float32)), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        )
        error = (w[:, q] - codes[:, q] * scale) / inverse[q, q]
        w[:, q + 1 :] -= np.outer(error, inverse[q, q + 1 :])
        inverse = inverse - np.outer(inverse[:, q], inverse[q, :]) / inverse[q, q]
    return codes, scales


@pytest.mark.parametrize("name", ["int4_g32", "int3_g64", "int2", "int4_g96", "int8", "int4_channel", "int6_g192"])
def test_the_equations_of_the_paper(name: str) -> None:
    encoding = get_precision(name).encoding
    assert encoding is not None
    weight, products = drawn()
    found = gptq_codes(torch.from_numpy(weight), torch.from_numpy(products), encoding)
    codes, scales = by_elimination(weight, products, encoding.bits, encoding.size or COLUMNS)
    assert np.array_equal(found.integers.numpy(), codes) and found.dead == 0
    np.testing.assert_allclose(found.scales.numpy(), scales, rtol=1e-6)


def loss(error: torch.Tensor, products: np.ndarray) -> float:
    return float(torch.einsum("oi,ij,oj->", error.double(), torch.from_numpy(products), error.double()))


@pytest.mark.parametrize("name", ["int4", "int3", "int8"])
@pytest.mark.parametrize("rank", [24, COLUMNS])
def test_outputs_are_closer_than_by_rounding_to_nearest(name: str, rank: int) -> None:
    weight, products = drawn(1, rank)
    tensor, precision = torch.from_numpy(weight), get_precision(name)
    assert precision.encoding is not None
    found = gptq_codes(tensor, torch.from_numpy(products), precision.encoding).weight()
    nearest = precision.round_trip(tensor, 1.0)
    assert loss(found - tensor, products) < (0.35 if rank < COLUMNS else 0.8) * loss(nearest - tensor, products)
    assert (found - tensor).norm() > (nearest - tensor).norm()  # the weights themselves are further away


@pytest.mark.parametrize("name", ["int4", "int8", "int3_g96"])
def test_inputs_without_correlation_make_it_rounding_to_nearest(name: str) -> None:
    weight, _ = drawn(2)
    tensor, precision = torch.from_numpy(weight), get_precision(name)
    assert precision.encoding is not None
    for products, dead in ((torch.eye(COLUMNS), 0), (torch.zeros(COLUMNS, COLUMNS), COLUMNS)):
        found = gptq_codes(tensor, products, precision.encoding)
        torch.testing.assert_close(found.weight(), precision.round_trip(tensor, 1.0), rtol=1e-6, atol=0)
        assert found.dead == dead


def test_columns_without_inputs_are_rounded_to_nearest_and_counted() -> None:
    weight, products = drawn(3)
    products[:, 32:64] = products[32:64] = 0
    precision = get_precision("int4")
    assert precision.encoding is not None
    found = gptq_codes(torch.from_numpy(weight), torch.from_numpy(products), precision.encoding)
    expected = precision.round_trip(torch.from_numpy(weight), 1.0)
    assert found.dead == 32
    torch.testing.assert_close(found.weight()[:, 32:64], expected[:, 32:64], rtol=1e-6, atol=0)
    assert not torch.equal(found.weight()[:, 96:], expected[:, 96:])


def test_the_scale_of_the_inputs_does_not_matter_and_zero_weights_stay() -> None:
    weight, products = drawn(4)
    weight[0], weight[1, :32] = 0, 0
    encoding = get_precision("int4").encoding
    assert encoding is not None
    found = [
        gptq_codes(torch.from_numpy(weight), torch.from_numpy(products * s), encoding) for s in (1, 2.0**40, 2.0**-60)
    ]
    assert all(torch.equal(found[0].integers, each.integers) for each in found[1:])
    assert not found[0].integers[0].any() and torch.isfinite(found[0].scales).all()


def test_scales_are_numbers_of_their_dtype() -> None:
    weight, products = drawn(5)
    encoding = get_precision("int4").encoding
    assert encoding is not None
    found = gptq_codes(torch.from_numpy(weight), torch.from_numpy(products), encoding, scale_dtype=torch.bfloat16)
    assert torch.equal(found.scales, found.scales.bfloat16().float())
    assert torch.equal(found.weight(), found.integers.float() * found.scales.repeat_interleave(32, 1))


@pytest.mark.parametrize("name", ["int4:asym", "fp8", "mxfp4", "int8:tensor"])
def test_what_it_is_not_made_for(name: str) -> None:
    precision: Precision = get_precision(name)
    assert precision.encoding is not None and not takes(precision.encoding)
    with pytest.raises(ValueError, match="expected symmetric integers"):
        gptq_codes(torch.ones(2, 32), torch.eye(32), precision.encoding)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite(bad: float) -> None:
    encoding = get_precision("int4").encoding
    assert encoding is not None
    for weight, products in ((bad, 1.0), (1.0, bad)):
        with pytest.raises(ValueError, match="expected finite"):
            gptq_codes(torch.full((2, 32), weight), torch.eye(32) * products, encoding)


def test_codes_are_whole_groups() -> None:
    codes = Codes(torch.ones(1, 4, dtype=torch.int8), torch.tensor([[2.0, 3.0]]), 0)
    assert codes.weight().tolist() == [[2.0, 2.0, 3.0, 3.0]]
