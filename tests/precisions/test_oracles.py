"""Our formats beside the libraries that write them into checkpoints, bit for bit."""

import pytest
import torch

from alpha_callbacks.precisions.registry import get_precision
from tests.support.format_oracles import (
    ORACLES,
    SAMPLES,
    Oracle,
    compressed_tensors,
    equally_near,
    mismatches,
    torchao_mx,
)

CASES = [(oracle, sample) for oracle in ORACLES for sample in SAMPLES if oracle.any_scale or sample == "stored"]


@pytest.mark.parametrize(("oracle", "sample"), CASES, ids=[f"{oracle}-{sample}" for oracle, sample in CASES])
def test_the_same_bits(oracle: Oracle, sample: str) -> None:
    pytest.importorskip(oracle.library)
    w = SAMPLES[sample]()
    ours, theirs = get_precision(oracle.name).round_trip(w, float(w.abs().max())), oracle.call(w)
    assert bool(torch.isfinite(theirs).all())
    assert mismatches(ours, theirs) <= oracle.differing * w.numel(), oracle.why
    assert bool(equally_near(w, ours, theirs)[ours != theirs].all()), oracle.why


def test_every_low_bit_format_has_an_oracle() -> None:
    from alpha_callbacks.precisions.registry import all_precisions

    held = {get_precision(oracle.name).name for oracle in ORACLES}
    free = {p.name for p, _ in all_precisions() if p.low_bit and not p.name.startswith("gguf")} - held
    assert free == {"fp4_g32"}  # its elements have one; its scale is that of fp8


def test_fp4_is_e2m1_under_the_scale_of_fp8() -> None:
    w = SAMPLES["stored"]()
    groups = w.unflatten(1, (-1, 32))
    scale = groups.abs().amax(-1, keepdim=True) / 6
    levels = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    distance, ours = (groups / scale).abs().unsqueeze(-1) - levels, get_precision("fp4").round_trip(w, 1.0)
    codes = (ours.unflatten(1, (-1, 32)) / scale).abs()
    assert bool(torch.isclose(codes.unsqueeze(-1), levels, rtol=1e-6).any(-1).all())
    nearest = distance.abs().amin(-1)
    assert bool((((groups / scale).abs() - codes).abs() <= nearest + 1e-6).all())


def test_nvfp4_of_compressed_tensors_lets_scales_of_small_blocks_become_subnormal() -> None:
    """Ours, as torchao's, stay at 2^-6 of the tensor's scale: blocks 28,672 times below the largest weight."""
    pytest.importorskip("compressed_tensors")
    theirs_of = next(oracle.call for oracle in ORACLES if not oracle.any_scale)
    w = SAMPLES["mixed"]()
    largest = float(w.abs().max())
    ours, theirs = get_precision("nvfp4").round_trip(w, largest), theirs_of(w)
    blocks = w.unflatten(1, (-1, 16)).abs().amax(-1, keepdim=True).expand(-1, -1, 16).flatten(1)
    odd = ~equally_near(w, ours, theirs)
    assert int(odd.sum()) > 0
    assert float(blocks[odd].max()) < largest / 28672


def test_mxfp8_of_compressed_tensors_doubles_the_scale_of_an_absmax_of_exactly_448() -> None:
    pytest.importorskip("compressed_tensors")
    w = torch.rand(4096, 32, generator=torch.Generator().manual_seed(0)) ** 4
    w[:, 5] = 1.75
    kinds = {"scale_dtype": torch.uint8, "zp_dtype": torch.uint8}
    theirs = compressed_tensors(w, num_bits=8, type="float", strategy="group", group_size=32, **kinds)
    ours = get_precision("mxfp8").round_trip(w, 1.75)
    subnormal = w < 1.75 / 448 * 2**-5
    assert mismatches(ours, theirs) > 0
    assert mismatches(ours[~subnormal], theirs[~subnormal]) == 0


@pytest.mark.parametrize(
    ("name", "element", "largest"),
    [
        ("mxfp4_rceil", torch.float4_e2m1fn_x2, 6.0),
        ("mxfp6_e3m2_rceil", "fp6_e3m2", 28.0),
        ("mxfp6_rceil", "fp6_e2m3", 7.5),
    ],
)
def test_rceil_saturates_nothing_where_torchao_rounds_the_logarithm(name: str, element: object, largest: float) -> None:
    pytest.importorskip("torchao")
    powers = torch.arange(-40, 40)
    top = largest * torch.exp2(powers.float()).repeat(9)
    ulps = torch.arange(-4, 5).repeat_interleave(80)
    top = (top.view(torch.int32) + ulps.int()).view(torch.float32)
    w = torch.rand(720, 32, generator=torch.Generator().manual_seed(0)) * top[:, None]
    w[:, 0] = top
    ours, theirs = get_precision(name).round_trip(w, float(top.max())), torchao_mx(w, element, "rceil")
    differ = (ours != theirs).any(1)
    assert set(ulps[differ].tolist()) == {1, 2, 3, 4}
    step = torch.where(ulps > 0, 2.0, 1.0) * torch.exp2(powers.float()).repeat(9)  # the smallest power that will do
    codes = ours / step[:, None]
    assert float(codes.abs().max()) <= largest
    assert bool((codes * 16 == (codes * 16).round()).all())
