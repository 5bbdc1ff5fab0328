"""The monitor, without any training framework: what it leaves alone, what it does again, what its errors cost."""

import copy
import csv
import gc
import logging
import math
import pickle
import random
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from alpha_callbacks.analysis import certificate_costs
from alpha_callbacks.analysis.parallel import analyze_weights
from alpha_callbacks.errors import AlphaCallbacksError, MonitorError, OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.solvers import numpy_blas
from alpha_callbacks.tables.table import Row
from alpha_callbacks.training import measurer
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.weights.module_weights import module_inventory
from tests.support.counting import count_analyses

OPTIONS = AnalysisOptions(precisions=("fp32", "bf16"))


def model(layers: int = 3, width: int = 48) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(width, width) for _ in range(layers)))


@pytest.fixture
def memory() -> MemorySink:
    return MemorySink()


@pytest.fixture
def make(tmp_path: Path, memory: MemorySink) -> Callable[..., Monitor]:
    """Return a maker of monitors that write to the memory sink."""

    def make(**changes: Any) -> Monitor:
        return Monitor(**{"options": OPTIONS, "output_dir": tmp_path / "out", "sinks": [memory], **changes})

    return make


def expected(module: nn.Module, options: AnalysisOptions = OPTIONS) -> list[Row]:
    """Return the rows of a direct analysis."""
    weights = module_inventory(module, options).weights
    found = {r.layer_name: r.rows for r in analyze_weights(weights, options)}
    return [row for weight in weights for row in found[weight.layer_name]]


def same(got: Snapshot | None, module: nn.Module) -> bool:
    return got is not None and list(map(repr, got.table)) == list(map(repr, expected(module)))


@pytest.mark.parametrize("background", [False, True])
def test_rows_are_those_of_a_direct_analysis(make: Any, memory: MemorySink, background: bool) -> None:
    module, monitor = model(), make(background=background)
    with monitor:
        monitor.log(module, 0)
        monitor.poll(wait=True)
        assert same(monitor.last, module)
        with torch.no_grad():
            module[1].weight.mul_(1.5).add_(torch.eye(48))
        monitor.log(module, 10, epoch=1.5, event="epoch")
    second = memory.snapshots[1]
    assert same(second, module)
    assert (second.step, second.epoch, second.event, second.reused) == (10, 1.5, "epoch", 2)
    assert [s.step for s in memory.snapshots] == [0, 10] and memory.closed == 1
    monitor.close()
    assert memory.closed == 1


def test_only_what_has_changed_is_analysed(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A LoRA base and other frozen layers cost a pass over their bits, whatever changes them."""
    seen, module, monitor = count_analyses(monkeypatch), model(), make()
    monitor.log(module, 0)
    monitor.log(module, 1)
    assert seen == ["0", "1", "2"]
    module[2].weight.data[3, 4] += 1e-3  # through .data: no version counter tells
    module[0].weight.requires_grad_(False)
    monitor.log(module, 2)
    assert seen == ["0", "1", "2", "2"] and same(monitor.last, module)


def test_a_layer_that_failed_is_tried_again(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    module, monitor = model(), make()

    def broken(weight: Any) -> Any:
        raise RuntimeError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr("alpha_callbacks.analysis.analyze.measure_sizes", broken)
        snapshot = monitor.log(module, 0)
    assert {row.status for row in snapshot.table} == {"failed"} and snapshot.failed_layers == 3
    assert "the disk is on fire" in next(iter(snapshot.table)).reason
    monitor.log(module, 1)
    assert same(monitor.last, module)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("background", [False, True])
def test_the_model_and_the_process_are_left_as_found(make: Any, training: bool, background: bool) -> None:
    module = nn.Sequential(
        model(2),
        nn.utils.parametrizations.spectral_norm(nn.Linear(48, 48)),
        nn.utils.parametrizations.weight_norm(nn.Linear(48, 48)),
        nn.MultiheadAttention(48, 2),
        nn.Conv2d(3, 16, 3),
        nn.BatchNorm1d(48),
    ).train(training)
    for parameter in module.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer = torch.optim.Adam(module.parameters())
    optimizer.step()

    def state() -> dict[str, Any]:
        return {
            "weights": copy.deepcopy(module.state_dict()),
            "grads": {n: p.grad.clone() for n, p in module.named_parameters() if p.grad is not None},
            "versions": [p._version for p in module.parameters()],
            "ids": [id(p) for p in module.parameters()],
            "requires_grad": [p.requires_grad for p in module.parameters()],
            "modes": [m.training for m in module.modules()],
            "hooks": [len(m._forward_hooks) for m in module.modules()],
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state()[1],
            "python": random.getstate(),
            "grad_enabled": torch.is_grad_enabled(),
            "threads": torch.get_num_threads(),
            "optimizer": copy.deepcopy(optimizer.state_dict()),
        }

    before = state()
    with make(background=background) as monitor:
        monitor.log(module, 0)
        monitor.log(module, 1, event="end")
        assert monitor.last.failed_layers == 0 and len(monitor.last.table) == 9
    torch.testing.assert_close(state(), before, rtol=0, atol=0)


def test_training_goes_on_bit_for_bit(make: Any) -> None:
    def losses(monitor: Monitor | None) -> list[float]:
        module, found = model(), []
        optimizer = torch.optim.Adam(module.parameters(), lr=1e-2)
        dropout = nn.Dropout(0.2)
        for step in range(6):
            loss = dropout(module(torch.randn(8, 48))).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(loss.item())
            if monitor is not None:
                monitor.log(module, step)
        return found

    alone = losses(None)
    for background in (False, True):
        with make(background=background) as monitor:
            assert losses(monitor) == alone


@pytest.mark.parametrize("inference", [torch.inference_mode, torch.no_grad, lambda: torch.autocast("cpu")])
def test_whatever_mode_the_caller_is_in(make: Any, inference: Any) -> None:
    module = model()
    with inference():
        got = make().log(module, 0)
    assert same(got, module)


def test_background_analyses_the_weights_as_they_were(make: Any, memory: MemorySink) -> None:
    module = model(4, 400)
    before = expected(module)
    with make(background=True) as monitor:
        monitor.log(module, 5)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.zero_()
    assert memory.snapshots[0].step == 5
    assert list(map(repr, memory.snapshots[0].table)) == list(map(repr, before))


def test_background_leaves_out_what_comes_too_soon_but_never_the_last(
    make: Any, memory: MemorySink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, release = model(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        assert release.wait(60)  # a loop that waited for the worker would never get to release it
        return analyze_weights(*args, **kwargs)

    monkeypatch.setattr(measurer, "analyze_weights", slow)
    with make(background=True) as monitor, caplog.at_level(logging.WARNING):
        for step in range(4):
            with torch.no_grad():
                module[0].weight.add_(0.1)
            assert monitor.log(module, step, event="step") is None
        release.set()
        with torch.no_grad():
            module[0].weight.add_(0.1)
        last = monitor.log(module, 4, event="end")
    assert [s.step for s in memory.snapshots] == [0, 4] and monitor.dropped == 3 and monitor.newest == 4
    assert same(last, module)
    assert caplog.text.count("is left out") == 1


def test_a_loop_that_ends_while_the_worker_is_busy_loses_nothing_of_its_last_state(
    make: Any, memory: MemorySink, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module, release = model(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        assert release.wait(60)
        return analyze_weights(*args, **kwargs)

    monkeypatch.setattr(measurer, "analyze_weights", slow)
    states = []
    with make(background=True) as monitor, caplog.at_level(logging.WARNING):
        for step in range(3):
            with torch.no_grad():
                module[0].weight.add_(0.1)
            assert monitor.log(module, step) is None
            states.append(expected(module))
        with torch.no_grad():
            module[1].weight.zero_()  # after the last state that was logged
        release.set()
    assert [s.step for s in memory.snapshots] == [0, 2] and monitor.dropped == 1 and monitor.newest == 2
    assert list(map(repr, memory.snapshots[1].table)) == list(map(repr, states[2]))
    assert memory.snapshots[1].reused == 2 and caplog.text.count("is left out") == 1


def test_a_state_that_was_held_gives_way_to_a_later_one(
    make: Any, memory: MemorySink, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, release = model(), threading.Event()

    def slow(*args: Any, **kwargs: Any) -> Any:
        assert release.wait(60)
        return analyze_weights(*args, **kwargs)

    monkeypatch.setattr(measurer, "analyze_weights", slow)
    with make(background=True) as monitor:
        monitor.log(module, 0)
        monitor.log(module, 1)
        release.set()
        monitor.poll(wait=True)
        monitor.log(module, 2)
    assert [s.step for s in memory.snapshots] == [0, 2] and monitor.dropped == 1


def test_calls_from_several_threads_come_one_after_the_other(make: Any, memory: MemorySink) -> None:
    module, monitor = model(), make()
    threads = [threading.Thread(target=monitor.log, args=(module, step)) for step in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    monitor.close()
    assert sorted(s.step for s in memory.snapshots) == list(range(6))
    assert all(same(snapshot, module) for snapshot in memory.snapshots)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_what_would_end_the_process_ends_one_state_of_the_worker(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: type[BaseException]
) -> None:
    def ends(*args: Any, **kwargs: Any) -> Any:
        raise kind("stop")

    monkeypatch.setattr(measurer, "analyze_weights", ends)
    with caplog.at_level(logging.WARNING), make(background=True) as monitor:
        monitor.log(model(), 0)
    assert f"the worker ended with {kind.__name__}('stop')" in caplog.text


class _Unpicklable(MemorySink):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("when", ["before", "during", "after"])
@pytest.mark.parametrize(
    "way", [copy.deepcopy, lambda monitor: pickle.loads(pickle.dumps(monitor))], ids=["copy", "pickle"]
)
def test_a_monitor_can_be_copied_and_pickled_at_any_time(
    make: Any, tmp_path: Path, background: bool, when: str, way: Callable[[Monitor], Monitor]
) -> None:
    module, sink = model(), _Unpicklable()
    monitor = make(background=background, sinks=[sink])
    if when != "before":
        monitor.log(module, 3)
        monitor.poll(wait=True)
    if when == "after":
        monitor.close()
    other = way(monitor)
    assert other.running is False and other.options == monitor.options
    assert (other.last is None) == (when == "before") and other.newest == monitor.newest
    assert monitor.running is (when == "during"), "the original goes on"
    other.log(module, 4)
    other.close()
    monitor.log(module, 5)
    monitor.close()
    assert [s.step for s in sink.snapshots] == ([4, 5] if when == "before" else [3, 4, 5]), "it is found again"


def test_a_sink_that_stayed_in_another_process_is_named(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    sink = _Unpicklable()
    data = pickle.dumps(make(sinks=[sink, "csv"]))
    del sink
    gc.collect()
    other = pickle.loads(data)
    with caplog.at_level(logging.WARNING):
        other.log(model(), 0)
    other.close()
    assert "got _Unpicklable, which stayed in the process" in caplog.text
    assert (other.output_dir / "alpha_hill_history.csv").is_file()


def test_what_is_left_out_for_lack_of_time_comes_first_the_next_time(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(measurer.time, "monotonic", lambda: now.__setitem__(0, now[0] + 1) or now[0])
    module = model(6)
    monitor = make(max_seconds=3, threads=1)
    measured: list[set[str]] = []
    for step in range(6):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.01)
        table = monitor.log(module, step).table
        measured.append({row.layer_name for row in table if row.status != "skipped"})
        assert all("max_seconds=3 were used up" in row.reason for row in table if row.status == "skipped")
        assert len(table) == 6
    assert all(0 < len(names) < 6 for names in measured)
    assert set().union(*measured[:3]) == {str(i) for i in range(6)}


def test_results_without_time_limit_have_nothing_left_out(make: Any) -> None:
    assert make(max_seconds=1e6).log(model(), 0).failed_layers == 0


class BrokenSink:
    """Fails at every call."""

    def log(self, snapshot: Snapshot) -> None:
        raise OSError("no space left on device")

    def close(self) -> None:
        raise OSError("nor for this")


@pytest.mark.parametrize("background", [False, True])
def test_a_broken_sink_costs_one_warning_and_nobody_else_anything(
    make: Any, memory: MemorySink, caplog: pytest.LogCaptureFixture, background: bool
) -> None:
    with caplog.at_level(logging.WARNING), make(sinks=[BrokenSink(), memory], background=background) as monitor:
        for step in range(3):
            monitor.log(model(), step)
            monitor.poll(wait=True)
    assert [s.step for s in memory.snapshots] == [0, 1, 2] and memory.closed == 1
    assert caplog.text.count("BrokenSink: OSError: no space left on device") == 1
    assert caplog.text.count("nor for this") == 1


def test_errors_are_raised_where_asked_after_every_sink_had_its_turn(make: Any, memory: MemorySink) -> None:
    monitor = make(sinks=[BrokenSink(), memory], on_error="raise")
    with pytest.raises(MonitorError, match="step 0: BrokenSink: no space left on device"):
        monitor.log(model(), 0)
    assert [s.step for s in memory.snapshots] == [0]


def test_where_errors_are_raised_the_other_sinks_are_closed_all_the_same(make: Any, memory: MemorySink) -> None:
    class Full(MemorySink):
        def log(self, snapshot: Snapshot) -> None:
            raise OSError("no space left on device")

    monitor = make(sinks=[Full(), memory], on_error="raise", background=True)
    monitor.log(model(), 0)
    with pytest.raises(MonitorError, match="no space left on device"):
        monitor.close()
    assert memory.closed == 1 and not monitor.running


def test_a_failed_layer_is_raised_where_asked_and_warned_of_once_else(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(weight: Any) -> Any:
        raise RuntimeError("no")

    monkeypatch.setattr("alpha_callbacks.analysis.analyze.measure_sizes", broken)
    monitor = make()
    with caplog.at_level(logging.WARNING):
        for step in range(3):
            assert monitor.log(model(), step).failed_layers == 3
    assert caplog.text.count("0: RuntimeError: no") == 1
    with pytest.raises(MonitorError, match="step 3: 0: RuntimeError: no"):
        make(on_error="raise").log(model(), 3)


def test_an_error_of_ours_in_mid_training_costs_a_warning(
    make: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monitor, module = make(), model()
    monitor.log(module, 0)

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError("a bug")

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr("alpha_callbacks.training.monitor.of_module", broken)
        assert monitor.log(module, 1) is None
    assert "ZeroDivisionError: a bug" in caplog.text
    assert same(monitor.log(module, 2), module)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("module", [nn.LayerNorm(8), nn.Sequential()], ids=["no matrix", "empty"])
def test_nothing_to_analyse_is_an_error_at_the_start(make: Any, module: nn.Module, background: bool) -> None:
    with pytest.raises(
        MonitorError, match="expected at least one weight matrix to analyse, found none with include=None"
    ):
        make(background=background).log(module, 0)


def test_a_filter_that_matches_nothing_is_an_error_at_the_start(make: Any) -> None:
    with pytest.raises(MonitorError, match="found none with include='q_proj', exclude=None. Check these"):
        make(options=AnalysisOptions(include="q_proj")).log(model(), 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "ignore"}, "on_error: expected warn or raise, got 'ignore'"),
        ({"max_seconds": 0}, "max_seconds: expected a positive number, got 0"),
        ({"threads": 0}, "threads: expected a whole number from 1, got 0"),
        ({"threads": 1.5}, "threads: expected a whole number from 1, got 1.5"),
        ({"max_seconds": "5"}, "max_seconds: expected a positive number, got '5'"),
        ({"max_seconds": True}, "max_seconds: expected a positive number, got True"),
        ({"reuse_gb": -1}, "reuse_gb: expected a number of gigabytes from 0, got -1"),
        ({"reuse_gb": True}, "reuse_gb: expected a number of gigabytes from 0, got True"),
        ({"reuse_gb": math.inf}, "reuse_gb: expected a number of gigabytes from 0, got inf"),
        ({"sinks": ["csw"]}, "sinks: expected some of auto, comet, csv"),
    ],
)
def test_bad_options_raise_in_the_constructor(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Monitor(**options)


@pytest.mark.skipif(not numpy_blas.available(), reason="NumPy's build hides its LAPACK")
@pytest.mark.parametrize("background", [False, True])
def test_a_layer_that_moves_little_is_proved_from_an_earlier_state(
    make: Any, memory: MemorySink, background: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(certificate_costs, "_CALLS", 0.0)  # small matrices would cost more than they spare
    module, direct = model(2, 100), list[list[Row]]()
    with make(background=background) as monitor:
        for step in range(4):
            with torch.no_grad():
                module[0].weight.add_(1e-6 * torch.randn(100, 100))
            direct.append(expected(module))
            monitor.log(module, step)
            monitor.poll(wait=True)
        copied = pickle.loads(pickle.dumps(monitor)) if background else copy.deepcopy(monitor)
    with copied:
        again = copied.log(module, 4)
        copied.poll(wait=True)
        again = again or copied.last
    found = [[row.solver for row in snapshot.table] for snapshot in memory.snapshots[:4]]
    solved, proved = "gram_fp64", "ritz_fp64_earlier"
    assert [names[0] for names in found] == [solved, solved, proved, proved]
    assert {name for names in found for name in names[2:]} == {solved}, "the other layer is frozen"
    for snapshot, rows in zip(memory.snapshots, direct, strict=False):
        for row, exact in zip(snapshot.table, rows, strict=True):
            if row.solver == proved and exact.method == "lossless":
                assert 0 < abs(row.alpha - exact.alpha) <= row.alpha_error_bound
    assert {row.solver for row in again.table} == {solved}, "a run of its own"


def test_a_layer_that_loses_its_alpha_is_said_once(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    module = model()
    monitor = make()
    monitor.log(module, 0)
    with torch.no_grad():
        module[1].weight[3, 3] = torch.nan
    with caplog.at_level(logging.WARNING):
        for step in (1, 2):
            assert monitor.log(module, step).failed_layers == 1
    assert caplog.text.count("no alpha of 1 (the stored weight holds nan or inf)") == 1


def test_layers_that_cannot_be_read_are_no_silent_gap_in_a_mean(make: Any, caplog: pytest.LogCaptureFixture) -> None:
    module = model()
    module[1].weight = nn.Parameter(torch.empty(48, 48, device="meta"))
    module[2].weight = module[1].weight
    monitor = make()
    with caplog.at_level(logging.WARNING):
        for step in (0, 1):
            scalars = monitor.log(module, step).scalars
    assert (scalars["analysed_layers"], scalars["layers"]) == (1, 2)
    assert caplog.text.count("1 of 2 layers cannot be read: 2 (on the meta device, so it has no values)") == 1


@pytest.mark.parametrize("wrong", [{}, 5, "model"])
def test_what_is_no_module_is_named(make: Any, wrong: Any) -> None:
    with pytest.raises(OptionError, match=f"model: expected an nn.Module, got {type(wrong).__name__}"):
        make().log(wrong, 0)


def test_a_snapshot_prints_as_one_line(make: Any) -> None:
    layers, means = "3 of 3 layers analysed", r"mean_fp32=[\d.]+, mean_bf16=[\d.]+"
    assert re.fullmatch(rf"Snapshot\(step=3, event='manual', {layers}, {means}\)", repr(make().log(model(), 3)))


def test_an_output_folder_that_is_a_file_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(AlphaCallbacksError, match="output_dir: expected a folder or a place for one, got .*out"):
        Monitor(OPTIONS, output_dir=tmp_path / "out").log(model(), 0)


def test_a_monitor_of_a_second_run_starts_anew(make: Any, memory: MemorySink) -> None:
    monitor = make()
    monitor.log(model(), 5)
    monitor.close()
    assert monitor.log(model(), 0).reused == 0
    assert [s.step for s in memory.snapshots] == [5, 0]


def test_csv_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Monitor(OPTIONS) as monitor:
        monitor.log(model(), 3)
    with (tmp_path / "alpha_hill" / "alpha_hill_history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(r["step"], r["layer_name"], r["precision"]) for r in rows[:3]] == [
        ("3", "0", "fp32"),
        ("3", "0", "bf16"),
        ("3", "1", "fp32"),
    ]
    assert [float(r["alpha"]) for r in rows] == pytest.approx([row.alpha for row in expected(model())], rel=1e-11)


def test_log_checkpoint_reads_the_file(make: Any, tmp_path: Path) -> None:
    module = model()
    torch.save({"state_dict": module.state_dict()}, tmp_path / "a.ckpt")
    with torch.no_grad():
        module[0].weight.zero_()
    got = make().log_checkpoint(tmp_path / "a.ckpt", 7)
    assert list(map(repr, got.table)) == list(map(repr, expected(model())))


def test_memory_of_a_sync_snapshot_is_that_of_a_layer_not_of_the_model(make: Any) -> None:
    """Nothing but rows is kept between snapshots."""
    module, monitor = model(), make()
    monitor.log(module, 0)
    kept = vars(monitor._run._measurer).values()  # type: ignore[union-attr]
    assert not any(isinstance(value, Tensor) for value in kept)


class Unclosable(MemorySink):
    """Fails at every call."""

    def log(self, snapshot: Snapshot) -> None:
        raise ValueError("cannot log")

    def close(self) -> None:
        raise ValueError("cannot close")


def test_the_first_error_is_raised_and_every_sink_closed(tmp_path: Path) -> None:
    memory, options = MemorySink(), AnalysisOptions(precisions=("fp32",))
    settings: dict[str, Any] = dict(output_dir=tmp_path, sinks=[Unclosable(), memory], on_error="raise")
    with pytest.raises(MonitorError, match="cannot log") as caught:  # noqa: SIM117 - the body raises
        with Monitor(options, **settings) as monitor:
            monitor.log(model(6), 0)
    assert memory.closed == 1 and caught.value.__notes__ == [
        "then, while the monitor was closed: ValueError: cannot close"
    ]
    monitor = Monitor(options, **settings)
    monitor.open()
    with pytest.raises(ValueError, match="cannot close"):
        monitor.close()
    assert memory.closed == 2
