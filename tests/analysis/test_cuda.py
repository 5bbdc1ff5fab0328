"""Rows computed on a CUDA device are those of the CPU, in every status. Run by hand where there is one: -m cuda."""

import math

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights, choose_parallelism
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.tables.table import Row
from tests.conftest import heavy, noise, orthogonal, weight_of, with_spectrum

pytestmark = pytest.mark.cuda

PRECISIONS = (
    "fp64", "fp32", "fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int4", "int4:asym", "int2", "mxfp8", "mxfp6",
    "mxfp4", "nvfp4", "nf4",
)  # fmt: skip


def one_bad_entry(value: float) -> Tensor:
    matrix = noise(64, 64)
    matrix[3, 5] = value
    return matrix


MATRICES = {
    "square": noise(320, 320),
    "tall": heavy(700, 128),
    "wide": heavy(128, 704),
    "fp64": heavy(200, 160, dtype=torch.float64),
    "bf16": noise(512, 256, dtype=torch.bfloat16),
    "fp16": noise(256, 512, dtype=torch.float16),
    "fp8": noise(256, 256).to(torch.float8_e4m3fn),
    "more than a block": noise(4608, 1024, dtype=torch.bfloat16),
    "odd": noise(37, 53),
    "two columns": noise(64, 2),
    "one column": noise(64, 1),
    "zero": torch.zeros(64, 96),
    "rank deficient": noise(200, 3) @ noise(3, 160, seed=1),
    "orthogonal": orthogonal(192, 192).float(),
    "spikes": with_spectrum(torch.logspace(6, 0, 160, dtype=torch.float64), 192, 160),
    "ill conditioned": with_spectrum(torch.logspace(0, -16, 160, dtype=torch.float64), 192, 160),
    "tiny entries": heavy(128, 128, dtype=torch.float64) * 1e-30,
    "huge entries": heavy(128, 128) * 1e30,
    "overflows in fp16": noise(96, 96) * 1e5,
    "inf": one_bad_entry(math.inf),
    "nan": one_bad_entry(math.nan),
}


def tolerance(field: str) -> float:
    if field == "spectral_error":  # Lanczos, good to four digits
        return 1e-4
    if field == "relative_error":  # summed in fp32
        return 1e-6
    return 1e-9


def close(row: Row, other: Row) -> None:
    """Compare all fields, but for the noise beyond the rank."""
    skipped = {"x_min"} if other.status == "rank_deficient" else set()
    for field in set(Row.__annotations__) - skipped:
        got, expected = getattr(row, field), getattr(other, field)
        if isinstance(expected, float):
            relative = tolerance(field)
            # A distance is a difference of probabilities: their errors do not shrink with it.
            least = relative if field == "ks_distance" else 1e-300
            near = pytest.approx(expected, rel=relative, abs=least, nan_ok=True)
            assert got == near, (row.precision, field)
        else:
            assert got == expected, (row.precision, field)


@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("solver", ["exact", "fast"])
def test_rows_are_those_of_the_cpu(name: str, solver: str) -> None:
    """On a device `fast` is `exact`."""
    weight = weight_of(MATRICES[name])
    here = analyze_weight(weight, AnalysisOptions(precisions=PRECISIONS))
    there = analyze_weight(weight, AnalysisOptions(precisions=PRECISIONS, solver=solver, device="cuda"))  # type: ignore[arg-type]
    for row, other in zip(there, here, strict=True):
        close(row, other)


@pytest.mark.parametrize("workers", [2, 4])
def test_values_are_the_same_bits_for_any_number_of_workers(workers: int) -> None:
    weights = [weight_of(noise(1024, 512 + 64 * (i % 3), seed=i), f"layer{i}") for i in range(12)]
    options = AnalysisOptions(device="cuda")
    alone = {r.layer_name: r.rows for r in analyze_weights(weights, options, Parallelism(1, 1))}
    for _ in range(3):
        assert {r.layer_name: r.rows for r in analyze_weights(weights, options, Parallelism(workers, 1))} == alone


def test_a_live_weight_on_the_device_is_read_there() -> None:
    matrix = noise(300, 200)
    (row, *_), (other, *_) = (
        analyze_weight(weight_of(m), AnalysisOptions(device=device))
        for m, device in ((matrix, "cpu"), (matrix.cuda(), "cuda"))
    )
    close(row, other)


def test_memory_of_the_device_is_given_back() -> None:
    weights = [weight_of(noise(1024, 1024, seed=i), f"layer{i}") for i in range(8)]
    options = AnalysisOptions(device="cuda")
    workers = choose_parallelism(weights, device="cuda").workers
    assert workers == 4
    for _ in range(20):
        list(analyze_weights(weights, options))
    # cuBLAS keeps 32 MiB per stream and handle, and a new thread may take over another handle.
    assert torch.cuda.memory_allocated() < workers**2 * 40 * 2**20
