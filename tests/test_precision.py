import pytest
import torch

from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precision import Precision, get_precision, parse_precisions, register


@pytest.mark.parametrize(
    ("alias", "name"),
    [("float64", "fp64"), ("FP32", "fp32"), (" half ", "fp16"), ("bfloat16", "bf16"), ("bf16", "bf16")],
)
def test_aliases(alias: str, name: str) -> None:
    assert get_precision(alias).name == name


def test_parse() -> None:
    assert parse_precisions("bf16, float32") == ("bf16", "fp32")
    assert parse_precisions(["fp16"]) == ("fp16",)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("fp33", "expected one of fp64, fp32, fp16, bf16.*, got 'fp33'"),
        ("", "at least one"),
        ("fp16,half", "'fp16' twice"),
    ],
)
def test_bad_names(names: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_precisions(names)


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
    survived = bool((precision.round_trip(values.to(stored)).double() == values).all())
    assert precision.holds(stored) == survived


def test_the_registry_is_open() -> None:
    import alpha_callbacks.precision as module

    before = dict(module._REGISTRY)
    try:
        register(Precision("third", (), 3, None, lambda rows: (rows * 3).round() / 3))
        assert parse_precisions("third,fp32") == ("third", "fp32")
        with pytest.raises(OptionError, match="load_dtype: expected fp64.*'third', which is no torch dtype"):
            AnalysisOptions(load_dtype="third")
        with pytest.raises(OptionError, match="belongs to 'third'"):
            register(Precision("other", ("third",), 3, None, lambda rows: rows))
    finally:
        module._REGISTRY.clear()
        module._REGISTRY.update(before)
