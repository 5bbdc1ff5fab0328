"""Weights, copies and models are freed as soon as nobody needs them: no reference cycle waits for the collector."""

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.analysis.processes import Ranks
from alpha_callbacks.errors import MonitorError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.training import measurer
from alpha_callbacks.training.background import Background
from alpha_callbacks.training.gather import gathered
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.weights.weight import Weight
from tests.conftest import noise, weight_of

OPTIONS = AnalysisOptions(precisions=("fp32", "bf16"))


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Only reference counts free anything."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list["weakref.ref[Tensor]"]:
    """Return a list that collects references to the matrices that `Weight.copied` makes."""
    real, made = Weight.copied, list["weakref.ref[Tensor]"]()

    def copied(weight: Weight) -> Weight:
        copy = real(weight)
        (matrix,) = [cell.cell_contents for cell in copy.rows.__closure__]  # type: ignore[attr-defined]
        made.append(weakref.ref(matrix))
        return copy

    monkeypatch.setattr(Weight, "copied", copied)
    return made


def alive(references: list["weakref.ref[Any]"]) -> int:
    return sum(reference() is not None for reference in references)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(48, 48), nn.Linear(48, 32))


def parts(module: nn.Module) -> list["weakref.ref[Any]"]:
    return [weakref.ref(module), *map(weakref.ref, module.parameters())]


def monitor(folder: Path, **options: Any) -> Monitor:
    return Monitor(OPTIONS, output_dir=folder, sinks=[MemorySink()], **options)


@contextmanager
def broken(target: str) -> Iterator[None]:
    def fails(*args: Any, **options: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(target, fails)
        yield


def test_the_copies_of_a_background_state_are_freed_when_it_was_delivered(
    tmp_path: Path, copies: list["weakref.ref[Tensor]"]
) -> None:
    with monitor(tmp_path, background=True) as watching:
        for step in range(2):
            module = model()
            with torch.no_grad():
                module[0].weight.add_(step)
            watching.log(module, step)
            watching.poll(wait=True)
            assert watching.last is not None and watching.last.step == step
            assert alive(copies) == 0
        assert len(copies) == 3
        watching.log(model(), 2)
    assert len(copies) == 4 and alive(copies) == 0


@pytest.mark.parametrize("background", [False, True])
def test_a_model_is_freed_once_its_state_was_measured(tmp_path: Path, background: bool) -> None:
    module = model()
    held = parts(module)
    watching = monitor(tmp_path, background=background)
    watching.log(module, 0)
    watching.poll(wait=True)
    del module
    assert alive(held) == 0 and watching.running
    watching.close()


@pytest.mark.parametrize("place", ["analyze_weights", "choose_parallelism", "gathered", "digests_of"])
@pytest.mark.parametrize("background", [False, True])
def test_an_error_keeps_neither_model_nor_copies(
    tmp_path: Path, place: str, background: bool, copies: list["weakref.ref[Tensor]"], caplog: pytest.LogCaptureFixture
) -> None:
    watching = monitor(tmp_path, background=background)
    watching.log(model(), 0)
    watching.poll(wait=True)
    module = model()
    with torch.no_grad():
        module[0].weight.add_(1)
    held = parts(module)
    with broken(f"alpha_callbacks.training.measurer.{place}"), caplog.at_level(logging.WARNING):
        watching.log(module, 1)
        watching.poll(wait=True)
    assert "ZeroDivisionError: a bug" in caplog.text
    del module
    assert alive(held) == 0 and alive(copies) == 0
    watching.close()


def test_an_abandoned_state_that_fails_is_freed_with_its_worker(
    tmp_path: Path, copies: list["weakref.ref[Tensor]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching, started, closed = monitor(tmp_path, background=True), threading.Event(), threading.Event()
    workers: list[threading.Thread] = []

    def fails(*args: Any, **options: Any) -> Any:
        workers.append(threading.current_thread())
        started.set()
        closed.wait(10)
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr("alpha_callbacks.training.measurer.analyze_weights", fails)
    watching.log(model(), 0)
    assert started.wait(10)
    watching.close(wait=False)
    closed.set()
    workers[0].join(10)
    assert len(copies) == 2 and alive(copies) == 0


def test_a_failed_task_is_freed_with_its_error() -> None:
    matrix = noise(4, 4)
    held = weakref.ref(matrix)

    def task(matrix: Tensor) -> Any:
        raise ZeroDivisionError

    class Two(Ranks):
        """Both ranks say what this one says."""

        def gather(self, value: Any) -> list[Any]:
            return [value, value]

    try:
        Two(0, 2).agree(lambda matrix=matrix: task(matrix))  # type: ignore[misc]
    except ZeroDivisionError:
        del matrix
    assert held() is None


@pytest.mark.parametrize("abandoned", [False, True])
def test_a_failed_job_is_freed_with_its_error(abandoned: bool) -> None:
    matrix, worker, ends = noise(4, 4), Background[int](), threading.Event()
    held = weakref.ref(matrix)

    def job(stop: Callable[[], bool], matrix: Tensor = matrix) -> int:
        ends.wait(10)
        raise ZeroDivisionError

    worker.submit(job)
    del job, matrix
    if abandoned:
        worker.abandon()
        ends.set()
    else:
        ends.set()
        with pytest.raises(ZeroDivisionError):
            worker.fetch(wait=True)
    deadline = time.monotonic() + 10
    while held() is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert held() is None


def test_a_weight_that_cannot_be_gathered_keeps_nothing_of_the_attempt() -> None:
    matrix = noise(4, 4)
    held = weakref.ref(matrix)

    class Unit:
        @contextmanager
        def whole(self) -> Iterator[None]:
            raise MemoryError("no room")
            yield

        def local(self) -> list[Tensor]:
            return []

    weight = replace(weight_of(matrix, "0"), sharded=Unit())
    (unreadable,) = gathered([weight], {"0"}, copy=False)
    for _ in range(2):
        with pytest.raises(MonitorError, match="no room") as caught:
            unreadable.rows(0, 1)
        assert type(caught.value).__name__ == "MemoryError"
    del matrix, weight, caught
    assert held() is None
    ended = weakref.ref(unreadable)
    del unreadable
    assert ended() is None


def test_a_copy_that_is_held_for_the_end_goes_with_a_run_that_is_broken_off(
    tmp_path: Path, copies: list["weakref.ref[Tensor]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    watching, gate, begun = monitor(tmp_path, background=True), threading.Event(), threading.Event()
    real, workers = measurer.analyze_weights, list[threading.Thread]()

    def slow(*args: Any, **options: Any) -> Any:
        workers.append(threading.current_thread())
        begun.set()
        gate.wait(10)
        return real(*args, **options)

    monkeypatch.setattr(measurer, "analyze_weights", slow)
    for step in range(2):
        watching.log(model(), step)
    assert begun.wait(10)
    watching.close(wait=False)
    gate.set()
    workers[0].join(10)
    assert len(copies) == 4 and alive(copies) == 0 and watching.dropped == 1
