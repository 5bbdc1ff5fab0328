"""One run, one folder: concurrent runs get folders of their own, later ones the same again."""

import logging
import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest
from torch import nn

from alpha_callbacks.comparison.read_history import read_history
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training import monitor as monitor_module
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.training.run_folder import claim

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
OPTIONS = AnalysisOptions(precisions=("fp32",))


def monitor(folder: Path) -> Monitor:
    return Monitor(OPTIONS, output_dir=folder, sinks=["csv"])


def test_two_runs_at_a_time_have_two_folders(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "alpha_hill"
    first, second, third = monitor(folder), monitor(folder), monitor(folder)
    with caplog.at_level(logging.WARNING):
        for step in range(2):
            for run in (first, second, third):
                run.log(nn.Linear(32, 32), step)
    assert [run.output_dir.name for run in (first, second, third)] == ["alpha_hill", "alpha_hill-2", "alpha_hill-3"]
    assert caplog.text.count("another run writes to") == 2
    for run in (first, second, third):
        run.close()
        assert list(read_history(run.output_dir).frame["step"]) == [0, 1]
    later = monitor(folder)
    later.log(nn.Linear(32, 32), 2)
    later.close()
    assert later.output_dir == folder and list(read_history(folder).frame["step"]) == [0, 1, 2]


def test_a_folder_is_free_once_its_run_is_dead(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def hold() -> None:
        held = claim(tmp_path)  # noqa: F841  # a lock that nobody refers to is released
        ready.set()
        signal.pause()

    process = context.Process(target=hold)
    process.start()
    assert ready.wait(60)
    beside = claim(tmp_path)
    assert beside.path.name == f"{tmp_path.name}-2" and process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    again = claim(tmp_path)
    assert again.path == tmp_path
    for folder in (beside, again, again):
        folder.release()


def test_a_run_that_cannot_open_its_sinks_leaves_the_folder_free(tmp_path: Path) -> None:
    broken = Monitor(OPTIONS, output_dir=tmp_path, sinks=["csv", object()])
    for _ in range(2):
        with pytest.raises(OptionError, match="got object"):
            broken.open()
    free = claim(tmp_path)
    assert free.path == tmp_path
    free.release()


def test_a_place_that_cannot_be_locked_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import filelock

    def refuses(*args: object, **options: object) -> None:
        raise NotImplementedError("no locks on this file system")

    monkeypatch.setattr(filelock.FileLock, "acquire", refuses)
    with caplog.at_level(logging.WARNING):
        folder = claim(tmp_path)
    assert folder.path == tmp_path and "no locks on this file system" in caplog.text
    folder.release()


def test_a_logger_without_a_folder_per_run_gives_its_name_and_version(tmp_path: Path) -> None:
    """Like WandbLogger, whose save_dir is that of all runs; ModelCheckpoint makes the same folder of it."""
    pl = pytest.importorskip("lightning.pytorch")
    from alpha_callbacks.training.lightning_callback import AlphaHillCallback
    from tests.support.lightning_runs import fit

    class Logger(pl.loggers.logger.DummyLogger):  # type: ignore[misc]
        save_dir, name, version = str(tmp_path), "project", ""

    for version in ("run-a", "run-b"):
        callback, logger = AlphaHillCallback(precisions="fp32", images=False), Logger()
        logger.version = version
        fit(pl, tmp_path, [callback], logger=logger, val=False)
        assert callback.monitor.output_dir == tmp_path / "project" / version / "alpha_hill"
        assert (tmp_path / "project" / version / "checkpoints").is_dir()


def test_each_trial_of_a_search_has_a_folder(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
    from tests.support.hf_runs import trainer

    callback = AlphaHillTrainerCallback(precisions="fp32", images=False, output_dir=tmp_path / "ours")
    run = trainer(tmp_path, [callback], max_steps=1, save_strategy="no")

    class Search(type(run.callback_handler.callbacks[0])):  # type: ignore[misc]
        def on_train_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
            state.is_hyper_param_search = True  # type: ignore[attr-defined]

    run.callback_handler.callbacks.insert(0, Search())
    for number in (1, 2):
        run.train()
        assert callback.monitor.output_dir == tmp_path / "ours" / f"trial_{number}"


def test_a_run_may_be_closed_by_another_thread_than_the_one_that_opened_it(tmp_path: Path) -> None:
    run = monitor(tmp_path)
    opener = threading.Thread(target=run.log, args=(nn.Linear(32, 32), 0))
    opener.start()
    opener.join()
    run.close()
    free = claim(tmp_path)
    assert free.path == tmp_path
    free.release()


@pytest.mark.parametrize("here", [".", ".."])
def test_a_folder_without_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str) -> None:
    folder = tmp_path / "run"
    (folder / "sub").mkdir(parents=True)
    monkeypatch.chdir(folder if here == "." else folder / "sub")
    first, second = claim(Path(here)), claim(Path(here))
    assert first.path == Path(here) and second.path == tmp_path / "run-2"
    for each in (first, second):
        each.release()


@pytest.mark.parametrize("place", ["Measurer", "training_ranks"])
def test_a_run_that_cannot_begin_leaves_the_folder_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    calls = list[int]()
    real = getattr(monitor_module, place)

    def broken(*args: object, **options: object) -> object:
        calls.append(1)
        if place == "Measurer" or len(calls) == 2:  # the second group is that of the worker
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(monitor_module, place, broken)
    run = Monitor(OPTIONS, output_dir=tmp_path, sinks=["csv"], background=True)
    with pytest.raises(KeyboardInterrupt) as caught:
        run.open()
    free = claim(tmp_path)  # although the error is still referred to
    assert free.path == tmp_path and caught.value is not None
    free.release()
