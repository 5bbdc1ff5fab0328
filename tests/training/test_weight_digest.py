"""Digests tell changed weights from unchanged ones."""

import pytest
import torch

from alpha_callbacks.training.weight_digest import _LINES, _as_words, _sums, digest
from tests.conftest import noise

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (64, 64), (1030, 17), (2, 4096), (600, 500)], ids=str)
def test_any_single_bit_counts(shape: tuple[int, int], dtype: torch.dtype) -> None:
    tensor = noise(*shape).to(dtype)
    before = digest([tensor])
    assert digest([tensor.clone()]) == before
    bits = tensor.view(torch.uint8)
    for place in (0, bits.numel() // 3, bits.numel() // 2, bits.numel() - 1):
        changed = tensor.clone()
        changed.view(torch.uint8).view(-1)[place] ^= 1
        assert digest([changed]) != before


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_are_those_of_torch(dtype: torch.dtype) -> None:
    """Digests of weights on an accelerator are sums by torch, modulo 2^64 too."""
    words, rest = _as_words(noise(2500, 800).to(dtype))
    assert (
        len(words) > (_LINES if dtype.itemsize > 1 else 1)
        and 8 * words.numel() + len(rest) == 2_000_000 * dtype.itemsize
    )
    columns, lines = _sums(words)
    assert torch.equal(torch.from_numpy(columns), words.sum(0)) and torch.equal(torch.from_numpy(lines), words.sum(1))


@pytest.mark.parametrize("size", [64, 512])
def test_rows_and_columns_in_another_order_count(size: int) -> None:
    tensor = noise(size, size)
    assert len({digest([t]) for t in (tensor, tensor.flip(0), tensor.flip(1), tensor.T, -tensor)}) == 5


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(64, 2048), (256, 1024), (300, 500)], ids=str)
def test_what_is_swapped_or_negated_counts(shape: tuple[int, int], dtype: torch.dtype) -> None:
    tensor = noise(*shape).to(dtype)
    bits, half = tensor.view(torch.uint8), shape[0] // 2
    orders = [[1, 0, *range(2, shape[0])], [*range(half, 2 * half), *range(half), *range(2 * half, shape[0])]]
    others = [bits[order].view(dtype) for order in orders]
    for columns in ((0,), (1, 3), (1, shape[1] - 1), slice(None)):  # signs: of words too, of which two cancel in a sum
        other = bits.clone().view(*shape, -1)
        other[:, columns, -1] ^= 128
        others.append(other.view(dtype).view(shape))
    entries = bits.clone().view(*shape, -1)
    entries[[0, 5], [0, 1]] = entries[[5, 0], [1, 0]]
    others.append(entries.view(dtype).view(shape))
    assert len({digest([other]) for other in (tensor, *others)}) == len(others) + 1


def test_signed_zeros_and_nans_are_bits_too() -> None:
    zero, nan = torch.zeros(4, 4), torch.full((4, 4), torch.nan)
    assert digest([zero]) != digest([-zero]) and digest([nan]) == digest([nan.clone()])


def test_shape_dtype_and_number_of_blocks_count() -> None:
    tensor = torch.zeros(8, 4)
    others = (tensor.view(4, 8), tensor.half(), tensor[:4])
    assert all(digest([other]) != digest([tensor]) for other in others)
    assert digest([]) != digest([torch.empty(0, 4)])


def test_views_that_are_not_contiguous() -> None:
    tensor = noise(32, 48)
    assert digest([tensor.T]) == digest([tensor.T.contiguous()])


def test_a_view_that_begins_between_two_words() -> None:
    storage = noise(1, 2047 * 4 * 3 + 1).half().view(-1)
    assert digest([storage[1:].view(12, -1)]) == digest([storage[1:].view(12, -1).clone()])


def test_an_optimizer_step_of_the_smallest_kind_is_seen() -> None:
    weight = torch.nn.Parameter(noise(256, 256))
    before = digest([weight])
    weight.grad = torch.full_like(weight, 1e-7)
    torch.optim.SGD([weight], lr=1.0).step()
    assert digest([weight]) != before
