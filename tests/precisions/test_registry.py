import math

import pytest
import torch

from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.precision import Precision, Storage
from alpha_callbacks.precisions.registry import (
    all_precisions,
    dtype_of,
    families,
    get_precision,
    parse_precisions,
    register,
)

ALIASES = {
    "fp64": ("float64", "double"),
    "fp32": ("float32", "float", "FP32"),
    "fp16": ("float16", " half "),
    "bf16": ("bfloat16", "BF16"),
    "fp8_e4m3": ("fp8", "float8_e4m3fn", "e4m3", "fp8:channel", "fp8_e4m3_channel"),
    "fp8_e4m3_block128": ("fp8:block128", "float8_e4m3fn_block128"),
    "fp8_e4m3_none": ("fp8_none",),
    "fp8_e5m2": ("float8_e5m2", "e5m2"),
    "fp8_e5m2_g64": ("e5m2:g64",),
    "int8": ("w8", "int8_channel", "INT8:channel"),
    "int8_g32": ("w8:g32",),
    "int6_g32": ("int6", "w6"),
    "int4_g32": ("int4", "w4", "w4a16_g32", "w4a16", "int4:g32"),
    "int4_g128": ("int4:g128", "w4_g128"),
    "int4_g128_asym": ("int4:g128:asym", "int4:asym:g128", "int4_asym_g128"),
    "int4_g32_asym": ("int4:asym",),
    "int4_channel": ("w4:channel",),
    "int3_g32": ("int3", "w3"),
    "int2_g32": ("int2", "w2"),
    "nf4": ("nf4_b64", "nf4:b64"),
    "nf4_b128": ("nf4:b128",),
    "mxfp8_e4m3": ("mxfp8", "mxfp8:rceil", "mxfp8_e4m3_rceil"),
    "mxfp8_e4m3_floor": ("mxfp8:floor",),
    "mxfp8_e5m2": ("mxfp8_e5m2:rceil",),
    "mxfp6_e2m3": ("mxfp6", "mxfp6:even"),
    "mxfp6_e3m2": ("mxfp6_e3m2_even",),
    "mxfp4": ("mxfp4_e2m1", "mxfp4:even"),
    "mxfp4_floor": ("mxfp4:floor", "mxfp4_e2m1_floor"),
    "nvfp4": ("NVFP4",),
    "fp4_g32": ("fp4", "e2m1", "fp4:g32"),
    "fp4_none": ("e2m1:none",),
}


@pytest.mark.parametrize(("name", "alias"), [(name, alias) for name, row in ALIASES.items() for alias in row])
def test_aliases_lead_to_the_canonical_name(name: str, alias: str) -> None:
    assert get_precision(alias).name == name


@pytest.mark.parametrize("name", dict.fromkeys([*ALIASES, *(p.name for p, _ in all_precisions())]))
def test_a_canonical_name_is_its_own(name: str) -> None:
    assert get_precision(name).name == name


def test_colon_and_underscore_are_one() -> None:
    assert get_precision("int4:g128") is get_precision("int4_g128")


def test_all_lists_each_name_once_and_the_default_of_every_family() -> None:
    names = [precision.name for precision, _ in all_precisions()]
    assert len(set(names)) == len(names)
    assert names[:4] == ["fp64", "fp32", "fp16", "bf16"]
    assert {family.name for _, family in all_precisions() if family} >= {family.name for family in families()} - {
        "gguf"
    }
    assert {get_precision(family.name).name for family in families() if family.name != "gguf"} <= set(names)


def test_low_bit_is_what_needs_a_quantizer() -> None:
    assert [p.name for p, _ in all_precisions() if not p.low_bit] == ["fp64", "fp32", "fp16", "bf16"]


def test_parse() -> None:
    assert parse_precisions("bf16, float32") == ("bf16", "fp32")
    assert parse_precisions(["fp16"]) == ("fp16",)
    assert parse_precisions("int4:g128,fp8,mxfp4") == ("int4_g128", "fp8_e4m3", "mxfp4")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("fp33", r"one of fp64, fp32, fp16, bf16, fp8_e4m3, .*int2.*, got 'fp33'\. .* See `alpha-hill precisions`"),
        ("int44", "expected one of fp64.*, got 'int44'"),
        ("", "at least one"),
        ("fp16,half", "'fp16' twice"),
        ("int4,w4a16_g32", "'int4_g32' twice"),
        ("int4:g0", "precision 'int4:g0': expected options g<size>.*, got 'g0'"),
        ("int4:g32:g64", "precision 'int4:g32:g64': expected options g<size>.*, got 'g64'"),
        ("int4:32", "got '32'"),
        ("int8:block128", "got 'block128'"),
        ("int8:tensor:channel", "one way to share a scale, got several"),
        ("int4:g32:channel", "one way to share a scale, got several"),
        ("int8:tensor:asym", "asym with g<size> or channel, got it with tensor"),
        ("fp8:asym", "precision 'fp8:asym': expected options none.*, got 'asym'"),
        ("fp8:block64", "got 'block64'"),
        ("mxfp4:g16", "expected options floor, even, rceil.*, got 'g16'"),
        ("mxfp8:floor:even", "expected one scale rule, got floor and even"),
        ("nvfp4:g32", "precision 'nvfp4:g32': expected no options, got 'g32'"),
        ("nf4:g64", "expected options b<size>.*, got 'g64'"),
        ("nf4:b0", "expected options b<size>.*, got 'b0'"),
    ],
)
def test_bad_names(names: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_precisions(names)


def test_a_slip_of_the_pen_is_told_the_name_meant() -> None:
    with pytest.raises(OptionError, match=r"got 'bf61'\. Did you mean bf16\?"):
        get_precision("bf61")
    with pytest.raises(OptionError, match=r"got 'onnx'\. See"):
        get_precision("onnx")


def test_only_a_torch_dtype_can_be_loaded_as() -> None:
    assert dtype_of("half") is torch.float16
    with pytest.raises(OptionError, match="load_dtype: expected fp64, fp32, fp16 or bf16, got 'int8'"):
        dtype_of("int8")


SHAPE = (64, 4096)
BITS = {
    "fp64": 64, "fp32": 32, "fp16": 16, "bf16": 16,
    "fp8": 8 + 16 / 4096, "fp8:tensor": 8 + 16 / (64 * 4096), "fp8:none": 8, "fp8:block128": 8 + 16 * 32 / (64 * 4096),
    "fp8_e5m2": 8 + 16 / 4096, "int8": 8 + 16 / 4096, "int8_g32": 8.5, "int6": 6.5, "int4_g32": 4.5, "int4_g128": 4.125,
    "int4_asym": 4 + 20 / 32, "int4_g128_asym": 4 + 20 / 128, "int3": 3.5, "int2": 2.5,
    "nf4": 4.5, "nf4_b128": 4.25, "mxfp8": 8.25, "mxfp8_e5m2": 8.25, "mxfp6": 6.25, "mxfp6_e3m2": 6.25, "mxfp4": 4.25,
    "mxfp4:floor": 4.25, "nvfp4": 4.5 + 32 / (64 * 4096), "fp4": 4.5,
}  # fmt: skip


@pytest.mark.parametrize("name", BITS)
def test_effective_bits(name: str) -> None:
    assert get_precision(name).effective_bits(*SHAPE) == BITS[name]


def test_every_listed_format_has_its_effective_bits_worked_out_by_hand() -> None:
    listed = {p.name for p, _ in all_precisions() if not p.name.startswith("gguf")}
    assert listed <= {get_precision(name).name for name in BITS}


def test_a_ragged_block_has_a_scale_too() -> None:
    assert Storage(4, scale=16, block=32).bits_per_weight(10, 33) == 4 + 2 * 16 / 33
    assert Storage(4, scale=16).bits_per_weight(10, 33) == 4 + 16 / 33
    assert Storage(8, scale=16, block=128, rows=128).bits_per_weight(129, 129) == 8 + 4 * 16 / 129**2
    assert Storage(8, scale=16, rows=None).bits_per_weight(10, 33) == 8 + 16 / 330
    assert Storage(4, tensor=32).bits_per_weight(2, 4) == 8


TORCH = {"fp64": torch.float64, "fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
STORED = [*TORCH.values(), torch.float8_e4m3fn, torch.float8_e5m2]


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("stored", STORED)
def test_holds_means_that_every_bit_pattern_survives(name: str, stored: torch.dtype) -> None:
    """All values of the 8 and 16 bit formats; for the wide ones the numbers at the ends of their range."""
    precision = get_precision(name)
    if stored.itemsize <= 2:
        codes = torch.arange(2 ** (8 * stored.itemsize), dtype=torch.int64)
        values = codes.to(torch.uint8 if stored.itemsize == 1 else torch.uint16).view(stored).double()
        values = values[torch.isfinite(values)]
    else:
        info = torch.finfo(stored)
        values = torch.tensor([info.max, info.tiny, info.tiny * info.eps, 1 + info.eps], dtype=torch.float64)
    survived = bool((precision.round_trip(values.to(stored), math.inf).double() == values).all())
    assert precision.holds(stored) == survived


def test_the_registry_is_open() -> None:
    import alpha_callbacks.precisions.registry as module

    before = dict(module._REGISTRY)
    try:
        register(Precision("third", (), 3, None, lambda rows, largest: (rows * 3).round() / 3))
        assert parse_precisions("third,fp32") == ("third", "fp32")
        with pytest.raises(OptionError, match="load_dtype: expected fp64.*'third', which is no torch dtype"):
            AnalysisOptions(load_dtype="third")
        with pytest.raises(OptionError, match="belongs to 'third'"):
            register(Precision("other", ("third",), 3, None, lambda rows, largest: rows))
    finally:
        module._REGISTRY.clear()
        module._REGISTRY.update(before)
