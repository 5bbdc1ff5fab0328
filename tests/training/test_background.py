"""The worker: one job, its result once, its error in the thread that fetches it."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from alpha_callbacks.training.background import Background
from tests.support.warm import run_code

Stop = Callable[[], bool]


def test_result_is_fetched_once_from_another_thread() -> None:
    background, release = Background[int](), threading.Event()

    def job(stop: Stop) -> int:
        release.wait(10)
        return threading.get_ident()

    assert background.fetch() is None and not background.busy
    background.submit(job)
    assert background.busy and background.fetch() is None
    release.set()
    assert background.fetch(wait=True) not in (None, threading.get_ident())
    assert background.fetch(wait=True) is None and not background.busy


def test_an_error_is_raised_where_it_is_fetched_and_the_worker_goes_on() -> None:
    background = Background[int]()

    def fails(stop: Stop) -> int:
        raise ValueError("no")

    background.submit(fails)
    with pytest.raises(ValueError, match="no"):
        background.fetch(wait=True)
    background.submit(lambda stop: 7)
    assert background.fetch(wait=True) == 7


def test_a_forked_child_does_not_wait_for_a_worker_that_it_does_not_have() -> None:
    background, release = Background[int](), threading.Event()
    background.submit(lambda stop: release.wait(60) and 7)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            background.fetch(wait=True)
        except BaseException as error:
            os.write(writes, f"{type(error).__name__}: {error}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(reads, 200).decode() == "MonitorError: the worker stayed in the process that started it"
    release.set()
    assert background.fetch(wait=True) == 7
    os.close(reads)
    os.close(writes)


def test_a_job_is_told_to_stop() -> None:
    background, ended = Background[int](), threading.Event()

    def job(stop: Stop) -> int:
        while not stop():
            time.sleep(0.001)
        ended.set()
        return 1

    background.submit(job)
    background.abandon()
    assert ended.wait(10)
    assert background.fetch(wait=True) is None


def test_a_process_that_ends_waits_for_one_layer_at_most(tmp_path: Path) -> None:
    """200 layers of some 50 ms are under way when the main thread returns."""
    code = """
import sys, torch, time
from torch import nn
from alpha_callbacks import Monitor, AnalysisOptions
model = nn.Sequential(*(nn.Linear(700, 700) for _ in range(200)))
options = AnalysisOptions(precisions=("fp64", "fp32", "bf16"))
monitor = Monitor(options, output_dir=sys.argv[1], sinks=[], background=True)
monitor.log(model, 0)
print("returned", flush=True)
"""
    start = time.monotonic()
    done = run_code(code, tmp_path)
    assert done.returncode == 0 and done.stdout.split() == ["returned"], done.stderr
    assert time.monotonic() - start < 30


def test_ctrl_c_while_waiting_leaves_the_job_where_it_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    background, stopped = Background[int](), threading.Event()

    def job(stop: Stop) -> int:
        while not stop():
            time.sleep(0.001)
        stopped.set()
        return 3

    def interrupted(thread: threading.Thread, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    background.submit(job)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, "join", interrupted)
        background.fetch(wait=True)
    assert background.busy
    background.abandon()
    assert stopped.wait(10)
