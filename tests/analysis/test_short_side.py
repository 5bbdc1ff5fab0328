"""Blocks and parts of a weight as the solver reads them."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from alpha_callbacks.analysis import short_side
from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.analysis.short_side import part_count, short_side_blocks, short_side_parts
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.utils import crew
from alpha_callbacks.weights import weight as weight_module
from alpha_callbacks.weights.weight import Weight
from tests.conftest import noise, weight_of

LONG = 2048 + 128 + 40  # a last part and a last block that are shorter


@pytest.fixture(params=["tall", "wide"])
def long_weight(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Weight:
    """A long matrix, with blocks, parts and what may be held so small that it has several of each."""
    monkeypatch.setattr(weight_module, "BLOCK_ELEMENTS", 128 * 24)
    monkeypatch.setattr(short_side, "_PART", 512 * 24**2)
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
    monkeypatch.setattr(crew.Crew, "called", lambda self, task: helped.append(self._size) or real(self, task))
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
        whole.setattr(short_side, "_PART", 2**60)
        (expected,) = analyze_weights([long_weight], options)
    for row, other in zip(result.rows, expected.rows, strict=True):
        assert row.ok and row.alpha == pytest.approx(other.alpha, rel=1e-10)
        assert row.spectral_error == pytest.approx(other.spectral_error, rel=1e-6, nan_ok=True)
