"""Weights are read before they are asked for, in order, once, within a number of bytes, and let go."""

import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights
from alpha_callbacks.analysis.read_ahead import ReadAhead
from alpha_callbacks.errors import SourceError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.weights.weight import Weight
from tests.conftest import heavy, weight_of

OPTIONS = AnalysisOptions(precisions=("fp32", "int4"))
Rows = Callable[[int, int], torch.Tensor]


def weights(count: int = 6, size: int = 16) -> list[Weight]:
    return [weight_of(heavy(size + i, size, seed=i), f"layers.{i}.fc") for i in range(count)]


def reading(weight: Weight, log: list[str]) -> Weight:
    def rows(start: int, stop: int) -> torch.Tensor:
        log.append(weight.layer_name)
        return weight.rows(start, stop)

    return replace(weight, rows=rows)


def wait_for(log: list[str], length: int) -> None:
    gate = threading.Event()
    for _ in range(500):
        if len(log) >= length:
            return
        gate.wait(0.002)
    raise AssertionError(f"expected {length} reads, saw {log}")


def rows_of(source: list[Weight], ahead: ReadAhead | None = None) -> dict[str, str]:
    extra = {"ahead": ahead} if ahead is not None else {}
    return {r.layer_name: repr(r.rows) for r in analyze_weights(source, OPTIONS, Parallelism(2, 1), **extra)}


def test_rows_are_the_same_bits_and_each_matrix_is_read_once() -> None:
    plain, log = weights(), list[str]()
    with ReadAhead() as ahead:
        assert rows_of([reading(weight, log) for weight in plain], ahead) == rows_of(plain)
    assert sorted(log) == sorted(weight.layer_name for weight in plain)


def test_the_next_ones_are_read_before_they_are_asked_for_within_the_budget() -> None:
    log = list[str]()
    slow = [reading(weight_of(heavy(16, 16, seed=i), str(i)), log) for i in range(6)]
    with ReadAhead(readers=1, budget=3 * slow[0].nbytes) as ahead:
        coming = ahead(slow)
        first = next(coming)
        wait_for(log, 3)
        assert log == ["0", "1", "2"]
        second = next(coming)
        wait_for(log, 4)
        assert log == ["0", "1", "2", "3"]
        assert [w.layer_name for w in (first, second, *coming)] == ["0", "1", "2", "3", "4", "5"]


def test_a_matrix_beyond_the_budget_is_read_when_its_turn_comes() -> None:
    log = list[str]()
    slow = [reading(weight, log) for weight in weights(3)]
    with ReadAhead(readers=1, budget=1) as ahead:
        for index, weight in enumerate(ahead(slow)):
            torch.testing.assert_close(weight.rows(0, 4), slow[index].rows(0, 4))
            assert log == [w.layer_name for w in slow[: index + 1] for _ in range(2)]


def test_a_matrix_that_is_too_large_to_keep_is_read_in_blocks() -> None:
    asked = list[tuple[int, int]]()
    weight = weight_of(heavy(32, 16))
    slow = replace(weight, rows=lambda start, stop: asked.append((start, stop)) or weight.rows(start, stop))  # type: ignore[func-returns-value]
    with ReadAhead(most=weight.nbytes - 1) as ahead:
        (found,) = ahead([slow])
        found.rows(3, 5)
    assert asked == [(3, 5)]


def test_what_is_never_decomposed_is_not_read() -> None:
    log = list[str]()
    codes = replace(reading(weights(1)[0], log), unsupported="codes")
    row = reading(weight_of(torch.ones(1, 9), "row"), log)
    with ReadAhead() as ahead:
        assert list(ahead([codes, row])) == [codes, row]
    assert log == []


def test_values_live_as_long_as_the_weight_that_was_yielded() -> None:
    matrix, held = heavy(16, 16), list[weakref.ref[torch.Tensor]]()

    def rows(start: int, stop: int) -> torch.Tensor:
        copy = matrix.clone()
        held.append(weakref.ref(copy))
        return copy

    source = [replace(weight_of(matrix), rows=rows)]
    with ReadAhead() as ahead:
        for weight in ahead(source):
            weight.rows(0, 1)
            assert held[0]() is not None
        del weight
    gc.collect()
    assert held[0]() is None


def test_a_lost_source_ends_the_analysis_after_the_layers_at_work() -> None:
    lost, large, small = threading.Event(), weight_of(heavy(40, 40), "large"), weights(20)

    def late(start: int, stop: int) -> torch.Tensor:
        assert lost.wait(20)
        return large.rows(start, stop)

    def broken(start: int, stop: int) -> torch.Tensor:
        lost.set()
        raise SourceError("the link is lost.")

    source = [replace(large, rows=late), replace(weight_of(heavy(30, 30), "lost"), rows=broken), *small]
    names = list[str]()
    with pytest.raises(SourceError, match="the link is lost"):
        for result in analyze_weights(source, OPTIONS, Parallelism(2, 1)):
            names.append(result.layer_name)
    assert "large" in names and "lost" not in names and len(names) < len(small)


def test_a_lost_source_is_no_row_of_a_matrix_read_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("alpha_callbacks.weights.weight.HOLD_BYTES", 0)
    reads, weight = list[int](), weight_of(heavy(40, 20))

    def rows(start: int, stop: int) -> torch.Tensor:
        reads.append(start)
        if len(reads) > 2:
            raise SourceError("the link is lost.")
        return weight.rows(start, stop)

    with pytest.raises(SourceError, match="the link is lost"):
        list(analyze_weights([replace(weight, rows=rows)], OPTIONS, Parallelism(1, 1)))
