import pytest
import torch
from torch import Tensor

from alpha_callbacks.weights.stored_quantization.unpack_bits import power_of_two, unpack_bits, unpack_fp4, unpack_fp6


def _stream(codes: Tensor, bits: int, width: int) -> Tensor:
    """Return one row of codes as signed integers of `width` bits, packed by way of a Python integer."""
    number = sum(int(code) << bits * i for i, code in enumerate(codes))
    length = -(-len(codes) * bits // width)
    words = [number >> width * i & (2**width - 1) for i in range(length)]
    return torch.tensor([word - 2**width if word >> (width - 1) else word for word in words])


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [1, 31, 64, 77])
def test_codes_come_back_whatever_their_width(bits: int, count: int) -> None:
    codes = torch.randint(0, 2**bits, (3, count), generator=torch.Generator().manual_seed(count))
    words = torch.stack([_stream(row, bits, 32) for row in codes]).to(torch.int32)
    assert torch.equal(unpack_bits(words, bits, count).long(), codes)
    assert torch.equal(unpack_bits(words.view(3, 1, -1), bits, count).long(), codes.view(3, 1, -1))


def test_bytes_and_words_hold_the_same_stream() -> None:
    words = torch.tensor([[-(2**31), 0x76543210]], dtype=torch.int32)
    for bits in (3, 4, 6):
        assert torch.equal(unpack_bits(words, bits, 10), unpack_bits(words.view(torch.uint8), bits, 10))


def test_a_transposed_tensor_may_be_unpacked() -> None:
    words = torch.arange(12, dtype=torch.int32).reshape(3, 4)
    assert torch.equal(unpack_bits(words.T, 4, 24), unpack_bits(words.T.contiguous(), 4, 24))


def test_fp4_is_what_compressed_tensors_reads() -> None:
    helpers = pytest.importorskip("compressed_tensors.compressors.nvfp4.helpers")
    packed = torch.arange(256, dtype=torch.uint8).reshape(4, 64)
    expected = helpers.unpack_fp4_from_uint8(packed, 4, 128, dtype=torch.float32)
    assert torch.equal(unpack_fp4(packed), expected)
    assert torch.equal(unpack_fp4(packed.view(torch.int8)), expected)


def test_fp6_is_what_compressed_tensors_reads() -> None:
    helpers = pytest.importorskip("compressed_tensors.compressors.mxfp6.helpers")
    packed = torch.randint(0, 256, (3, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = helpers.unpack_fp6_from_uint8(packed, 3, 128, dtype=torch.float32)
    assert torch.equal(unpack_fp6(packed), expected)


def test_e8m0_is_what_torch_reads() -> None:
    codes = torch.arange(256, dtype=torch.uint8)
    scales = power_of_two(codes)
    assert torch.equal(scales[:255], codes.view(torch.float8_e8m0fnu)[:255].float())
    assert scales[255].isnan() and scales[127] == 1
    assert torch.equal(power_of_two(codes.view(torch.float8_e8m0fnu))[:255], scales[:255])
