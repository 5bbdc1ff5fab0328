import pytest
import torch

from alpha_callbacks.analysis.quantization_error import measure_quantization_error
from alpha_callbacks.precisions.precision import Precision
from alpha_callbacks.precisions.registry import get_precision
from tests.conftest import noise, weight_of


@pytest.mark.parametrize("name", ["int4", "int4:asym", "gguf:q4_1", "gguf:iq4_nl", "gguf:q4_k"])
def test_only_weights_that_become_0_are_counted(name: str) -> None:
    if name.startswith("gguf"):
        pytest.importorskip("gguf")
    if name in ("gguf:iq4_nl", "gguf:q4_k"):
        pytest.importorskip("xllamacpp")
    w = noise(8, 256, seed=0).float()
    w[:, ::2] = 0  # which comes back as another number from formats that have no 0
    w[0, :32] = torch.tensor([1.0] + [1e-6] * 31)
    precision = get_precision(name)
    after = precision.round_trip(w, float(w.abs().max()))
    lost = sum(a == 0 != b for a, b in zip(after.flatten().tolist(), w.flatten().tolist(), strict=True))
    assert measure_quantization_error(weight_of(w), precision, float(w.abs().max())).underflow == lost


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_a_format_makes_infinite_or_nan_is_counted(bad: float) -> None:
    def broken(rows: torch.Tensor, largest: float) -> torch.Tensor:
        return rows.masked_fill(rows > 0, bad)

    w = noise(40, 30).float()
    error = measure_quantization_error(weight_of(w), Precision("broken", (), 4, None, broken), float(w.abs().max()))
    assert error.infinite == error.overflow == int((w > 0).sum()) and error.relative == float("inf")
