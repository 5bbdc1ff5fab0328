"""Rows of a checkpoint are those of its file, whoever puts other weights into it, and training is as without us."""

import csv
import logging
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks import AnalysisOptions, MemorySink, Monitor
from tests.support.lightning_runs import loader, module_class, trainer
from tests.support.scan_runs import scanned_table

pytest.importorskip("lightning.pytorch")
import lightning.pytorch as pl
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, StochasticWeightAveraging

from alpha_callbacks.training.lightning_callback import AlphaHillCallback

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
]
PRECISIONS = ("fp32", "bf16")
Net: Any = module_class(pl)


class Average:
    """An average of a module's parameters, as many callbacks keep one."""

    def __init__(self) -> None:
        self.values: dict[str, torch.Tensor] = {}

    def update(self, module: nn.Module) -> None:
        for name, parameter in module.named_parameters():
            old = self.values.get(name, parameter.detach())
            self.values[name] = old.lerp(parameter.detach(), 0.5)

    @contextmanager
    def in_place(self, module: nn.Module) -> Any:
        """Put the average into the live parameters for a while, unseen by their version counters (torch_ema)."""
        live = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
        for name, parameter in module.named_parameters():
            parameter.data.copy_(self.values[name])
        yield
        for name, parameter in module.named_parameters():
            parameter.data.copy_(live[name])


class SwapsTheDict(pl.Callback):
    def __init__(self) -> None:
        self.average = Average()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.average.update(pl_module)

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = dict(self.average.values)


class SwapsForValidation(SwapsTheDict):
    """Live weights are swapped from the start of a validation to its end, and files saved in between."""

    def on_save_checkpoint(self, trainer: Any, pl_module: Any, checkpoint: dict[str, Any]) -> None: ...

    def on_validation_start(self, trainer: Any, pl_module: Any) -> None:
        if self.average.values:
            self.swap = self.average.in_place(pl_module)
            self.swap.__enter__()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.swap.__exit__(None, None, None)


class SwapsToSave(ModelCheckpoint):
    """A checkpoint callback that saves inside the swap, as NeMo's and many others do."""

    average = Average()

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.average.update(pl_module)
        super().on_train_batch_end(trainer, pl_module, *args)

    def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
        with self.average.in_place(trainer.lightning_module):
            super()._save_checkpoint(trainer, filepath)


class OwnHook(Net):  # type: ignore[misc]
    """A module that saves an average itself: the only hook of weights-only saves."""

    def __init__(self) -> None:
        super().__init__()
        self.average = Average()

    def on_train_batch_end(self, *args: Any) -> None:
        self.average.update(self)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["state_dict"] = dict(self.average.values)


class SavesByHand(pl.Callback):
    """Saves without any checkpoint callback, a second one as training ends."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        if trainer.global_step == 2:
            trainer.save_checkpoint(self.folder / "step=2.ckpt")


def _every_two(folder: Path, **options: Any) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1, **options)


def _after_validation(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{step}", save_on_train_epoch_end=False, save_top_k=-1)


# name -> callbacks beside ours, and the module
AVERAGING: dict[str, Any] = {
    "Lightning's": lambda folder: ([EMAWeightAveraging(decay=0.5), _every_two(folder)], Net()),
    "a swapped dict": lambda folder: ([SwapsTheDict(), _every_two(folder)], Net()),
    "a swap for validation": lambda folder: ([SwapsForValidation(), _after_validation(folder)], Net()),
    "a swap to save": lambda folder: (
        [SwapsToSave(folder, filename="{step}", every_n_train_steps=2, save_top_k=-1)], Net()),
    "the module, weights only": lambda folder: ([_every_two(folder, save_weights_only=True)], OwnHook()),
    "saves by hand": lambda folder: ([SwapsTheDict(), SavesByHand(folder)], Net()),
}  # fmt: skip


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("kind", AVERAGING)
def test_rows_are_those_of_the_file(
    kind: str, ours_first: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = []
    for attached in (False, True):
        others, module = AVERAGING[kind](tmp_path / f"ckpt{attached}")
        memory = MemorySink()
        ours = [AlphaHillCallback(precisions=PRECISIONS, sinks=[memory], on_error="raise")] if attached else []
        saves = any(isinstance(other, ModelCheckpoint) for other in others)
        callbacks = [*ours, *others] if ours_first else [*others, *ours]
        run = trainer(pl, tmp_path, callbacks, enable_checkpointing=saves)
        with caplog.at_level(logging.WARNING):
            run.fit(module, loader(3), loader(1))
        last.append(module.state_dict())
    files = {int(path.stem.removeprefix("step=")): path for path in (tmp_path / "ckptTrue").iterdir()}
    by_step = {snapshot.step: snapshot for snapshot in memory.snapshots}
    assert files and set(by_step) == {0, 6, *files}
    for step, file in files.items():
        scanned = scanned_table(file, tmp_path / f"scan{step}", PRECISIONS)
        assert [(r.layer_name, r.alpha) for r in scanned] == [(r.layer_name, r.alpha) for r in by_step[step].table]
        assert by_step[step].event == "checkpoint"
    told = ("holds other values than the model in training", "are not of the weights that the module holds")
    assert any(text in caplog.text for text in told)
    assert all(torch.equal(last[0][name], last[1][name]) for name in last[0])


@pytest.mark.parametrize("ours_first", [True, False])
def test_the_end_is_what_the_user_gets(ours_first: bool, tmp_path: Path) -> None:
    """StochasticWeightAveraging puts its average into the module when training ends."""
    memory = MemorySink()
    ours = AlphaHillCallback(precisions=PRECISIONS, sinks=[memory])
    others: list[Any] = [StochasticWeightAveraging(swa_lrs=0.4, swa_epoch_start=1)]
    run, module = (
        trainer(pl, tmp_path, [ours, *others] if ours_first else [*others, ours], enable_checkpointing=False),
        Net(),
    )
    run.fit(module, loader(3))
    with Monitor(AnalysisOptions(precisions=PRECISIONS), sinks=[MemorySink()], output_dir=tmp_path / "own") as monitor:
        expected = monitor.log(module, 6)
    assert expected is not None and memory.snapshots[-1].event == "end"
    assert [r.alpha for r in memory.snapshots[-1].table] == [r.alpha for r in expected.table]
    assert len(run.callbacks) == len({id(c) for c in run.callbacks}) and run.callbacks[-1] is not None


def test_weights_replaced_after_the_last_checkpoint_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ours = AlphaHillCallback(precisions=PRECISIONS, sinks=[])
    run = trainer(pl, tmp_path, [StochasticWeightAveraging(swa_lrs=0.4, swa_epoch_start=1), ours])
    with caplog.at_level(logging.WARNING):
        run.fit(Net(), loader(3))
    assert "the rows of step 6 are not of the weights that the module holds" in caplog.text
    assert "run_now(module, 7)" in caplog.text


@pytest.mark.parametrize("ours_first", [True, False])
@pytest.mark.parametrize("every", [4, "epoch"])  # the file of step 3 is between the measured states, or after one
@pytest.mark.parametrize("other", [lambda: EMAWeightAveraging(decay=0.5), SwapsTheDict, pl.Callback])
def test_a_file_that_gets_no_rows_is_told_if_it_differs(
    other: Any, every: Any, ours_first: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemorySink()
    ours, averaging = AlphaHillCallback(every=every, precisions=PRECISIONS, sinks=[memory]), other()
    saver = ModelCheckpoint(tmp_path / "ckpt", save_top_k=-1)  # its defaults: at the end of each epoch
    run = trainer(pl, tmp_path, [ours, averaging, saver] if ours_first else [averaging, ours, saver])
    with caplog.at_level(logging.WARNING):
        run.fit(Net(), loader(3))
    told = [r.getMessage() for r in caplog.records if "holds other values than the model" in r.getMessage()]
    assert len(told) == (type(averaging) is not pl.Callback)
    assert all("step=3.ckpt" in text and "which the rows are of" in text for text in told)
    assert [s.step for s in memory.snapshots] == ([0, 4, 6] if every == 4 else [0, 3, 6])


def test_an_average_that_comes_after_the_file_is_not_laid_to_the_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = AlphaHillCallback(every="epoch", precisions=PRECISIONS, sinks=[])
    run = trainer(pl, tmp_path, [StochasticWeightAveraging(swa_lrs=0.4, swa_epoch_start=1), ours])
    with caplog.at_level(logging.WARNING):
        run.fit(Net(), loader(3))
    assert "holds other values" not in caplog.text
    assert "the rows of step 6 are not of the weights that the module holds" in caplog.text


@pytest.mark.parametrize("every", [2, "epoch"])
def test_between_checkpoints_rows_are_of_the_model_and_say_so(
    every: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    memory = MemorySink()
    ours = AlphaHillCallback(every=every, precisions=PRECISIONS, sinks=[memory])
    run = trainer(pl, tmp_path, [ours, EMAWeightAveraging(decay=0.5), _every_two(tmp_path / "ckpt")])
    with caplog.at_level(logging.WARNING):
        run.fit(Net(), loader(3))
    if every == 2:
        assert 'which the rows are of. With every="checkpoint" they are of the files' in caplog.text
    scanned = scanned_table(tmp_path / "ckpt" / "step=2.ckpt", tmp_path / "scan", PRECISIONS)
    assert [r.alpha for r in memory.snapshots[1].table] != [r.alpha for r in scanned]


def test_a_resumed_run_keeps_the_row_of_the_checkpoint(tmp_path: Path) -> None:
    """Its start is the state in the file, which the history has; an average is restored apart from the weights."""
    for epochs, ckpt in ((1, None), (2, tmp_path / "ckpt" / "step=2.ckpt")):
        ours = AlphaHillCallback(precisions=PRECISIONS, sinks=["csv"], output_dir=tmp_path / "out")
        run = trainer(
            pl, tmp_path, [ours, EMAWeightAveraging(decay=0.5), _every_two(tmp_path / "ckpt")], max_epochs=epochs
        )
        run.fit(Net(), loader(3), ckpt_path=ckpt, weights_only=False)
    rows = list(csv.DictReader((tmp_path / "out" / "alpha_hill_history.csv").read_text().splitlines()))
    assert [(s, e) for s, e in dict.fromkeys((row["step"], row["event"]) for row in rows)] == [
        ("0", "start"), ("2", "checkpoint"), ("4", "checkpoint"), ("6", "checkpoint"),
    ]  # fmt: skip


def test_a_checkpoint_saved_because_of_an_error_has_rows(tmp_path: Path) -> None:
    class Breaks(pl.Callback):
        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 1:
                raise ZeroDivisionError("in the user's code")

    memory = MemorySink()
    saver = pl.callbacks.OnExceptionCheckpoint(tmp_path)
    ours = AlphaHillCallback(precisions=PRECISIONS, sinks=[memory], background=True)
    run = trainer(pl, tmp_path, [ours, EMAWeightAveraging(decay=0.5), Breaks(), saver])
    with pytest.raises(ZeroDivisionError):
        run.fit(Net(), loader(3))
    assert [(s.step, s.event) for s in memory.snapshots] == [(0, "start"), (1, "checkpoint")] and memory.closed == 1
    scanned = scanned_table(tmp_path / "on_exception.ckpt", tmp_path / "scan", PRECISIONS)
    assert [r.alpha for r in scanned] == [r.alpha for r in memory.snapshots[1].table]
    assert run.callbacks[-1] is saver
