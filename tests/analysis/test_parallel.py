import gc
import threading
import weakref
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from alpha_callbacks.analysis import matrix, parallel, solve
from alpha_callbacks.analysis.parallel import Parallelism, analyze_weights, choose_parallelism
from alpha_callbacks.analysis.processes import ScanShare, share
from alpha_callbacks.analysis.quantization_error import measure_quantization_error, measure_sizes
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.precisions.registry import get_precision
from alpha_callbacks.utils import machine
from alpha_callbacks.weights.weight import Weight
from tests.conftest import noise, weight_of

OPTIONS = AnalysisOptions(precisions=("fp32",))


def weights(*sizes: int) -> list[Weight]:
    return [weight_of(noise(size, size, seed=i), f"layer{i}") for i, size in enumerate(sizes)]


@pytest.mark.parametrize("parallelism", [Parallelism(1, 1), Parallelism(1, 2), Parallelism(4, 1)])
def test_values_are_the_same_bits_for_any_crew(parallelism: Parallelism) -> None:
    todo = weights(300, 40, 520, 90)
    alone = {r.layer_name: r.rows for r in analyze_weights(todo, OPTIONS, Parallelism(1, 1))}
    assert {r.layer_name: r.rows for r in analyze_weights(todo, OPTIONS, parallelism)} == alone


def meeting(parties: int, solve: Callable[..., Any]) -> Callable[..., Any]:
    """Return a solver that goes on only once `parties` threads are inside it at the same time."""
    barrier = threading.Barrier(parties)

    def solver(*args: Any, **options: Any) -> Any:
        barrier.wait(timeout=20)  # BrokenBarrierError where the others cannot come
        return solve(*args, **options)

    return solver


@pytest.mark.parametrize("precisions", [("fp32",), ("bf16",), ("fp32", "bf16"), ("int4",), ("fp32", "int4")])
def test_two_workers_are_inside_the_solver_at_the_same_time(
    precisions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solve, "spectrum", meeting(2, solve.spectrum))
    monkeypatch.setattr(matrix, "spectral_norm", meeting(2, matrix.spectral_norm))
    options = AnalysisOptions(precisions=precisions)
    results = list(analyze_weights(weights(64, 64, 64, 64), options, Parallelism(2, 1)))
    assert [row.reason for result in results for row in result.rows if not row.ok] == []


def test_one_worker_alone_never_meets_another(monkeypatch: pytest.MonkeyPatch) -> None:
    barrier = threading.Barrier(2)
    monkeypatch.setattr(solve, "spectrum", lambda *args, **options: barrier.wait(timeout=0.05))
    (row,) = next(iter(analyze_weights(weights(64), OPTIONS, Parallelism(1, 1)))).rows
    assert row.status == "failed" and "BrokenBarrierError" in row.reason  # so the test above can fail


class ReadAnew:
    """A weight that is read anew at each call, and the readings that are still in memory."""

    def __init__(self, name: str, seed: int) -> None:
        self._matrix, self._read = noise(80, 64, seed=seed), list[weakref.ref[torch.Tensor]]()
        self.weight = replace(weight_of(self._matrix, name), rows=self.rows)

    def rows(self, start: int, stop: int) -> torch.Tensor:
        read = self._matrix[start:stop].clone()
        self._read.append(weakref.ref(read))
        return read

    @property
    def alive(self) -> int:
        assert self._read
        return sum(reference() is not None for reference in self._read)


@pytest.mark.parametrize(
    "precisions", [("fp32",), ("fp32", "fp16", "bf16"), ("int4", "fp8"), ("fp32", "nvfp4", "int8")]
)
@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("spectra", [False, True])
def test_a_weight_is_freed_when_its_rows_are_made(
    precisions: tuple[str, ...], failing: bool, spectra: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no convergence")

    if failing:
        monkeypatch.setattr(solve, "spectrum", fail)
    sources = [ReadAnew(f"layer{i}", i) for i in range(3)]
    options = AnalysisOptions(precisions=precisions)
    gc.collect()
    gc.disable()  # reference counts alone must free it
    try:
        names = [source.weight.layer_name for source in sources] if spectra else []
        todo = [source.weight for source in sources]
        results = list(analyze_weights(todo, options, Parallelism(1, 1), spectra_of=names))
        assert [source.alive for source in sources] == [0, 0, 0]
    finally:
        gc.enable()
    assert all(row.ok is not failing for result in results for row in result.rows)


@pytest.mark.usefixtures("two_threads")
def test_the_callers_threads_are_left_alone() -> None:
    before = torch.get_num_threads()
    list(analyze_weights(weights(30, 40), OPTIONS, Parallelism(2, 1)))
    assert torch.get_num_threads() == before
    seen: list[int] = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.usefixtures("two_threads")
def test_two_analyses_side_by_side_leave_the_number_for_new_threads_as_it_was() -> None:
    first, seen = analyze_weights(weights(30, 40), OPTIONS, Parallelism(1, 1)), list[int]()
    next(first)

    def beside() -> None:  # as in another Monitor's background: begins after the workers of the first, ends after it
        second = analyze_weights(weights(30, 40), OPTIONS, Parallelism(1, 1))
        next(second)
        list(first)
        list(second)

    for work in (beside, lambda: seen.append(torch.get_num_threads())):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [2] and torch.get_num_threads() == 2


def test_stopping_early_leaves_no_work_behind() -> None:
    earlier = set(threading.enumerate())  # those of other tests may still be ending
    results = analyze_weights(weights(*[60] * 30), OPTIONS, Parallelism(1, 1))
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert sum(t.name.startswith("alpha-hill") for t in set(threading.enumerate()) - earlier) <= 1


def test_told_to_stop_it_begins_no_further_weight() -> None:
    begun: list[str] = []

    def stop() -> bool:
        return len(begun) >= 3

    def counted(weight: Weight) -> Weight:
        def rows(start: int, stop: int) -> torch.Tensor:
            if start == 0 and weight.layer_name not in begun:
                begun.append(weight.layer_name)
            return weight.rows(start, stop)

        return replace(weight, rows=rows)

    todo = [counted(weight) for weight in weights(*[60] * 10)]
    results = list(analyze_weights(todo, OPTIONS, Parallelism(1, 1), stop=stop))
    assert sorted(result.layer_name for result in results) == sorted(begun) and len(begun) == 3


def test_crew_fills_the_threads() -> None:
    assert choose_parallelism(weights(100, 100), workers=2, threads=8) == Parallelism(2, 4)
    assert choose_parallelism(weights(100, 100, 100, 100), threads=3) == Parallelism(3, 1)
    assert choose_parallelism([], threads=4).workers == 1


def test_small_matrices_get_no_workers_that_wait_for_one_another() -> None:
    assert choose_parallelism(weights(*[30] * 20), threads=8) == Parallelism(1, 1)
    assert choose_parallelism(weights(100, 100, *[30] * 20), threads=8) == Parallelism(2, 4)
    assert choose_parallelism(weights(30, 30), workers=2, threads=8) == Parallelism(2, 1)


def test_crew_keeps_the_memory_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    size = parallel.predicted_bytes(weights(500)[0])
    monkeypatch.setattr(parallel, "device_memory", lambda device: int(2 * 2.5 * size))
    assert choose_parallelism(weights(*[500] * 8), threads=8) == Parallelism(2, 4)
    monkeypatch.setattr(parallel, "device_memory", lambda device: 0)
    assert choose_parallelism(weights(500, 500), threads=8) == Parallelism(1, 8)


@pytest.mark.parametrize("bad", [{"workers": 0}, {"threads": -1}])
def test_bad_crew(bad: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="expected at least 1"):
        choose_parallelism([], **bad)


def test_an_accelerator_gets_at_most_four_that_fit_into_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    todo = weights(*6 * (100,))
    monkeypatch.setattr(parallel, "device_memory", lambda device: 2**40 if device == "cuda" else 0)
    assert choose_parallelism(todo, threads=16, device="cuda") == Parallelism(4, 4)
    monkeypatch.setattr(parallel, "device_memory", lambda device: int(2 * 2.5 * parallel.predicted_bytes(todo[0])))
    assert choose_parallelism(todo, threads=16, device="cuda") == Parallelism(2, 8)


def test_ranks_divide_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = machine.cpu_threads(), machine.available_memory()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert machine.cpu_threads() == max(1, alone[0] // 2)
    assert machine.available_memory() < 0.7 * alone[1]


def test_shares_cover_all_once_and_balance() -> None:
    todo = weights(400, 300, 300, 200, 200, 100, 100, 50, 50, 50)
    shares = [share(todo, i, 3) for i in range(3)]
    assert sorted(w.layer_name for part in shares for w in part) == sorted(w.layer_name for w in todo)
    loads = [sum(map(parallel.predicted_cost, part)) for part in shares]
    assert max(loads) <= max(parallel.predicted_cost(todo[0]), 1.2 * sum(loads) / 3)


def test_shard_syntax() -> None:
    assert ScanShare.parse("2/8") == ScanShare(2, 8)
    for bad in ("0/3", "4/3", "1", "a/b", "1/", "-1/2"):
        with pytest.raises(OptionError, match="shard: expected i/n"):
            ScanShare.parse(bad)


@pytest.mark.usefixtures("two_threads")
def test_passes_over_the_entries_take_one_thread_of_several() -> None:
    w, seen = noise(40, 30), set[int]()

    def rows(start: int, stop: int) -> torch.Tensor:
        seen.add(torch.get_num_threads())
        return w[start:stop]

    weight = replace(weight_of(w), rows=rows)
    largest = measure_sizes(weight).largest
    assert measure_quantization_error(weight, get_precision("int4"), largest).relative > 0
    assert seen == {1} and torch.get_num_threads() == 2
