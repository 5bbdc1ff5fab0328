"""Blocks and parts of a weight as the solver reads them."""

import threading
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis import parts as parts_module
from alpha_callbacks.analysis import quantization_error, short_side
from alpha_callbacks.analysis.analyze import analyze_weight
from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.analysis.parts import part_count, row_parts
from alpha_callbacks.analysis.quantization_error import error_of, measure_quantization_error
from alpha_callbacks.analysis.short_side import short_side_blocks, short_side_parts
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.solvers import lanczos
from alpha_callbacks.utils import crew
from alpha_callbacks.weights import weight as weight_module
from alpha_callbacks.weights.weight import ROW_BLOCK_MULTIPLE, Weight
from tests.conftest import noise, weight_of

LONG = 2048 + 128 + 40  # a last part and a last block that are shorter


@pytest.fixture(params=["tall", "wide"])
def long_weight(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Weight:
    """A long matrix, with blocks, parts and what may be held so small that it has several of each."""
    monkeypatch.setattr(weight_module, "BLOCK_ELEMENTS", 128 * 24)
    monkeypatch.setattr(parts_module, "_PART", 512 * 24**2)
    monkeypatch.setattr(short_side, "HOLD_BYTES", 24 * 4 * 300)
    w = noise(LONG, 24)
    return weight_of(w if request.param == "tall" else w.T.contiguous())


def along(w: Tensor) -> Tensor:
    return w if w.shape[0] >= w.shape[1] else w.T


def test_parts_are_the_matrix_after_the_change(long_weight: Weight) -> None:
    parts = short_side_parts(long_weight, lambda rows: rows.bfloat16())
    found = [list(part()) for part in parts]
    assert [sum(map(len, blocks)) for blocks in found] == [512, 512, 512, 512, LONG - 2048]
    assert all(len(blocks) > 1 for blocks in found)
    whole = torch.cat([block for blocks in found for block in blocks])
    assert whole.dtype is torch.bfloat16
    assert torch.equal(whole, along(long_weight.rows(0, long_weight.out_features)).bfloat16())
    assert torch.equal(whole, torch.cat(list(short_side_blocks(long_weight, lambda rows: rows.bfloat16()))))


def test_of_a_wide_matrix_no_more_is_held_than_may_be(long_weight: Weight) -> None:
    held: list[int] = []
    for block in short_side_blocks(long_weight, None):
        held.append(block.untyped_storage().nbytes())
    if long_weight.out_features < long_weight.in_features:
        assert max(held) <= 24 * 4 * 300


@pytest.mark.parametrize(("shape", "turned"), [((130, 24 * 10 + 1), False), ((128 * 2 + 1, 130), True)])
def test_a_last_block_of_one_line_needs_no_slower_solver(
    shape: tuple[int, int], turned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weight_module, "BLOCK_ELEMENTS", 130 * 24)
    w = noise(shape[1], shape[0]).T if turned else noise(*shape)
    assert [len(block) for block in short_side_blocks(weight_of(w), None)][-1] == 1
    (row,) = analyze_weight(weight_of(w), AnalysisOptions(precisions=("fp32",)))
    evals = torch.linalg.svdvals(w.double()) ** 2
    assert row.solver == "gram_fp64"
    assert row.alpha == pytest.approx(1 + 13 / float((evals[:13] / evals[13]).log().sum()), rel=1e-12)


@pytest.mark.parametrize(
    "shape", [(4096, 14336), (14336, 4096), (4096, 4096), (28672, 8192), (1, 10**6), (576, 49152), (0, 7)]
)
def test_matrices_that_take_seconds_stay_whole(shape: tuple[int, int]) -> None:
    weight = replace(weight_of(noise(2, 2)), out_features=shape[0], in_features=shape[1])
    assert len(short_side_parts(weight, None)) == part_count(weight) == 1


@pytest.mark.parametrize("shape", [(128256, 4096), (4096, 128256)])
def test_the_head_of_a_large_model_has_parts(shape: tuple[int, int]) -> None:
    weight = replace(weight_of(noise(2, 2)), out_features=shape[0], in_features=shape[1])
    assert len(short_side_parts(weight, None)) == part_count(weight) == 8


def test_rows_are_the_same_bits_whoever_computes_the_parts(
    long_weight: Weight, monkeypatch: pytest.MonkeyPatch
) -> None:
    helped: list[int] = []
    real = crew.Crew.called

    def called(self: crew.Crew, task: Callable[[], None]) -> None:
        helped.append(self._size)
        real(self, task)

    monkeypatch.setattr(crew.Crew, "called", called)
    for precisions in (("fp32", "int4_g8", "fp8"), ("fp32", "fp16", "bf16")):
        options = AnalysisOptions(precisions=precisions)
        rows: list[Any] = []
        for workers in (1, 2, 4):
            todo = [replace(long_weight, layer_name=f"layer{i}") for i in range(3)]
            results = {r.layer_name: r.rows for r in analyze_weights(todo, options, Parallelism(workers, 1))}
            rows.append([results[weight.layer_name] for weight in todo])
        assert all(row.ok for found in rows for layer in found for row in layer)
        assert str(rows[0]) == str(rows[1]) == str(rows[2])
    assert set(helped) == {1, 2, 4}


def test_alpha_of_parts_is_that_of_the_whole(long_weight: Weight) -> None:
    options = AnalysisOptions(precisions=("fp32", "fp16", "nf4", "int8"))
    (result,) = analyze_weights([long_weight], options)
    with pytest.MonkeyPatch.context() as whole:
        whole.setattr(parts_module, "_PART", 2**60)
        (expected,) = analyze_weights([long_weight], options)
    for row, other in zip(result.rows, expected.rows, strict=True):
        assert row.ok and row.alpha == pytest.approx(other.alpha, rel=1e-10)
        assert row.spectral_error == pytest.approx(other.spectral_error, rel=1e-6, nan_ok=True)


def meeting_once(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return the same work, which goes on only once both of two workers have begun it."""
    together, met = threading.Barrier(2, timeout=20), threading.Event()

    def both(*args: Any) -> Any:
        if not met.is_set():
            together.wait()  # BrokenBarrierError where the other does not come
            met.set()
        return work(*args)

    return both


def test_workers_meet_in_the_norm_of_a_change(long_weight: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    used = "alpha_callbacks.analysis.matrix.error_of"
    monkeypatch.setattr(used, lambda precision, largest: meeting_once(error_of(precision, largest)))
    (result,) = analyze_weights([long_weight], AnalysisOptions(precisions=("fp32", "int4")), Parallelism(2, 1))
    assert [row.reason for row in result.rows] == ["", ""]


@pytest.mark.parametrize("long_weight", ["tall"], indirect=True)
def test_workers_meet_in_the_pass_over_the_entries(long_weight: Weight, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(row_parts(long_weight)) == 18
    monkeypatch.setattr(quantization_error, "_compared", meeting_once(quantization_error._compared))
    (result,) = analyze_weights([long_weight], AnalysisOptions(precisions=("int4",)), Parallelism(2, 1))
    assert [row.reason for row in result.rows] == [""]


@pytest.mark.parametrize("all_below", [8, 256], ids=["Lanczos", "all eigenvalues"])
def test_errors_of_parts_are_those_of_the_whole(
    long_weight: Weight, all_below: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanczos, "_SMALL", all_below)
    row, low = analyze_weight(long_weight, AnalysisOptions(precisions=("fp32", "int4_g8")))
    w = long_weight.rows(0, long_weight.out_features).float()
    error = (w - get_precision("int4_g8").round_trip(w, float(w.abs().max()))).double()
    norms = [float(torch.linalg.matrix_norm(m, 2)) for m in (error, w.double())]
    assert low.spectral_error == pytest.approx(norms[0] / norms[1], rel=1e-4)
    assert low.relative_error == pytest.approx(float(error.norm() / w.double().norm()), rel=1e-6)


def test_what_overflows_and_underflows_is_counted_in_every_part(long_weight: Weight) -> None:
    w = long_weight.rows(0, long_weight.out_features).clone()
    along(w)[::100, 3], along(w)[50::100, 3] = 1e30, 1e-30
    weight = replace(long_weight, rows=lambda start, stop: w[start:stop])
    error = measure_quantization_error(weight, get_precision("fp16"), 1e30)
    count = -(-LONG // 100)
    assert (error.overflow, error.infinite, error.underflow) == (count, count, len(along(w)[50::100]))
    saturated = measure_quantization_error(weight, get_precision("fp8:none"), 1e30)
    assert (saturated.overflow, saturated.infinite) == (count, 0) and saturated.relative == pytest.approx(1)


@pytest.mark.parametrize("shape", [(128256, 4096), (4096, 128256), (4096, 14336), (300, 300), (1, 5)])
def test_passes_over_the_rows_of_a_long_matrix_take_a_block_at_a_time(shape: tuple[int, int]) -> None:
    weight = replace(weight_of(noise(2, 2)), out_features=shape[0], in_features=shape[1])
    found = row_parts(weight)
    assert len(found) == {(128256, 4096): 126, (4096, 128256): 32}.get(shape, 1)
    assert found[0][0] == 0 and found[-1][1] == shape[0]
    assert all(last == first and last % ROW_BLOCK_MULTIPLE == 0 for (_, last), (first, _) in pairwise(found))
