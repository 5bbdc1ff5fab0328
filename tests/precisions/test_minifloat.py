"""The elements, over every finite number of fp16."""

import pytest
import torch
from torch import Tensor

from alpha_callbacks.precisions.minifloat import E2M1, E2M3, E3M2, E4M3, E5M2, Minifloat, power_of_two_below
from tests.support.format_oracles import mismatches


@pytest.fixture(scope="module")
def every_half() -> Tensor:
    codes = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)
    values = codes.view(torch.float16).float()
    return values[torch.isfinite(values)]


def test_there_are_63488_of_them(every_half: Tensor) -> None:
    assert len(every_half) == 63488


def test_e4m3_is_the_cast_of_torch(every_half: Tensor) -> None:
    assert mismatches(E4M3.round(every_half), every_half.clamp(-448, 448).to(torch.float8_e4m3fn).float()) == 0


def test_e5m2_is_the_cast_of_torch_but_saturates(every_half: Tensor) -> None:
    ours, theirs = E5M2.round(every_half), every_half.to(torch.float8_e5m2).float()
    over = torch.isinf(theirs)
    assert mismatches(ours[~over], theirs[~over]) == 0
    assert float(every_half[over].abs().min()) == 61440.0  # half way to the next number, which is none
    assert set(ours[over].tolist()) == {-57344.0, 57344.0}


@pytest.mark.parametrize(
    ("element", "kind"), [(E2M1, "f4"), (E2M3, "f6_e2m3"), (E3M2, "f6_e3m2")], ids=["e2m1", "e2m3", "e3m2"]
)
def test_small_elements_are_those_of_torchao(element: Minifloat, kind: str, every_half: Tensor) -> None:
    pytest.importorskip("torchao")
    from torchao.prototype.mx_formats import kernels

    to, back = getattr(kernels, f"f32_to_{kind}_unpacked"), getattr(kernels, f"{kind}_unpacked_to_f32")
    assert mismatches(element.round(every_half), back(to(every_half))) == 0


@pytest.mark.parametrize(("element", "bits"), [(E2M1, 4), (E2M3, 6), (E4M3, 8)], ids=["e2m1", "e2m3", "e4m3"])
def test_small_elements_are_those_of_compressed_tensors(element: Minifloat, bits: int, every_half: Tensor) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.quant_args import round_to_quantized_type_args

    args, top = QuantizationArgs(num_bits=bits, type="float"), torch.tensor(element.largest)
    assert mismatches(element.round(every_half), round_to_quantized_type_args(every_half, args, -top, top)) == 0


ELEMENTS = pytest.mark.parametrize("element", [E2M1, E2M3, E3M2, E4M3, E5M2], ids=lambda element: element.name)


@ELEMENTS
def test_as_many_numbers_as_its_bits_allow(element: Minifloat, every_half: Tensor) -> None:
    """Both zeros count one here; e4m3 spends two codes on nan, e5m2 eight on inf and nan."""
    special = {"e4m3": 2, "e5m2": 8}.get(element.name, 0)
    assert len(element.round(every_half).unique()) == 2**element.bits - 1 - special


@ELEMENTS
def test_float64_is_rounded_once_and_agrees_where_float32_is_exact(element: Minifloat, every_half: Tensor) -> None:
    assert mismatches(element.round(every_half.double()), element.round(every_half).double()) == 0
    tie = 1 + 2.0 ** -(element.mantissa + 1)
    assert element.round(torch.tensor([tie, tie + 2.0**-40], dtype=torch.float64)).tolist() == [
        1.0,
        1 + 2.0**-element.mantissa,
    ]


@ELEMENTS
def test_largest_power_is_in_its_top_binade(element: Minifloat) -> None:
    assert element.largest_power <= element.largest < 2 * element.largest_power


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_power_of_two_below(dtype: torch.dtype) -> None:
    x = torch.tensor([0.0, -0.0, 1.0, -1.999, 2.0, 0.75, 1e30], dtype=dtype)
    assert power_of_two_below(x).tolist() == [0.0, 0.0, 1.0, 1.0, 2.0, 0.5, 2.0**99]
    carried = power_of_two_below(torch.tensor([1.7499, 1.75, 3.5], dtype=dtype), carry_bits=1)
    assert carried.tolist() == [1.0, 2.0, 4.0]
