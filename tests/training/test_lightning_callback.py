"""The Lightning callback in real training runs: every way to save a checkpoint, every way to end a run."""

import csv
import logging
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.sinks.snapshot import Snapshot
from tests.support.lightning_runs import fit, loader, module_class, trainer
from tests.support.scan_runs import scanned_table

pytest.importorskip("lightning")
pytest.importorskip("pytorch_lightning")
import lightning.pytorch
import pytorch_lightning

from alpha_callbacks.training.lightning_callback import AlphaHillCallback
from tests.support.warm import run_code

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning:lightning.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:pytorch_lightning.*"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*num_workers.*"),
]
NAMESPACES = [lightning.pytorch, pytorch_lightning]
PRECISIONS = ("fp32", "bf16")


class Witness(MemorySink):
    """A sink that compares, at the moment of analysis, the live weights with the newest checkpoint file."""

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[int, Path | None] = {}
        self.trainer: Any = None

    def log(self, snapshot: Snapshot) -> None:
        super().log(snapshot)
        saved = [
            Path(c._last_checkpoint_saved)
            for c in self.trainer.checkpoint_callbacks
            if c._last_checkpoint_saved and c._last_global_step_saved == snapshot.step
        ]
        self.files[snapshot.step] = saved[0] if saved else None
        for path in saved:
            content = torch.load(path, weights_only=True)["state_dict"]
            live = self.trainer.lightning_module.state_dict()
            assert content.keys() == live.keys()
            assert all(torch.equal(content[name], live[name]) for name in live)

    def steps(self) -> list[tuple[int, str]]:
        return [(s.step, s.event) for s in self.snapshots]


class Attach:
    """Lets a witness know the trainer; before our callback in the list."""

    def __new__(cls, witness: Witness, pl: ModuleType) -> Any:
        class Inner(pl.Callback):  # type: ignore[name-defined, misc]
            def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
                witness.trainer = trainer

        return Inner()


def run(folder: Path, checkpoint: Any, pl: ModuleType = lightning.pytorch, **options: Any) -> Witness:
    witness = Witness()
    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=[witness], output_dir=folder / "out", on_error="raise")
    callbacks = [Attach(witness, pl), callback, *([checkpoint(pl.callbacks.ModelCheckpoint)] if checkpoint else [])]
    fit(pl, folder, callbacks, **options)
    return witness


# Two epochs of three batches: what each configuration saves, and so the states that are measured (research 1.1).
MATRIX: dict[str, tuple[Any, dict[str, Any], list[tuple[int, str]]]] = {
    "default": (lambda C: C(), {}, [(0, "start"), (3, "checkpoint"), (6, "checkpoint")]),
    "default, no validation": (lambda C: C(), {"val": False}, [(0, "start"), (3, "checkpoint"), (6, "checkpoint")]),
    "steps": (
        lambda C: C(every_n_train_steps=2, save_top_k=-1),
        {},
        [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "checkpoint")],
    ),
    "after validation": (
        lambda C: C(save_on_train_epoch_end=False, monitor="val_loss", save_top_k=-1),
        {},
        [(0, "start"), (3, "checkpoint"), (6, "checkpoint")],
    ),
    "mid-epoch validation": (
        lambda C: C(save_on_train_epoch_end=False, save_top_k=-1),
        {"val_check_interval": 2},
        [(0, "start"), (2, "checkpoint"), (5, "checkpoint"), (6, "end")],
    ),
    "save_last": (
        lambda C: C(every_n_train_steps=2, save_top_k=-1, save_last=True),
        {},
        [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "checkpoint")],
    ),
    "save_last as a link": (
        lambda C: C(every_n_train_steps=2, save_top_k=-1, save_last="link"),
        {},
        [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "checkpoint")],
    ),
    "weights only": (
        lambda C: C(every_n_train_steps=2, save_top_k=-1, save_weights_only=True, save_last=True),
        {},
        [(0, "start"), (2, "checkpoint"), (4, "checkpoint"), (6, "checkpoint")],
    ),
    "none": (None, {"enable_checkpointing": False}, [(0, "start"), (6, "end")]),
}


@pytest.mark.parametrize("pl", NAMESPACES, ids=lambda module: module.__name__)
@pytest.mark.parametrize("name", MATRIX)
def test_event_matrix(name: str, pl: ModuleType, tmp_path: Path) -> None:
    """Each saved state is measured once, when its file exists, with the weights that are in the file."""
    checkpoint, options, expected = MATRIX[name]
    witness = run(tmp_path, checkpoint, pl, **options)
    assert witness.steps() == expected
    for step, event in expected:
        assert (witness.files[step] is not None) == (event == "checkpoint")


def test_alphas_are_those_of_a_scan_of_the_file(tmp_path: Path) -> None:
    witness = run(tmp_path, lambda C: C(every_n_train_steps=2, save_top_k=-1))
    assert [step for step, _ in witness.steps()] == [0, 2, 4, 6]
    for snapshot in witness.snapshots[1:]:
        file = witness.files[snapshot.step]
        assert file is not None
        scanned = scanned_table(file, tmp_path / f"scan{snapshot.step}", PRECISIONS)
        assert {(r.layer_name, r.precision): r.alpha for r in scanned} == pytest.approx(
            {(r.layer_name, r.precision): r.alpha for r in snapshot.table}, rel=1e-12
        )


def test_several_checkpoint_callbacks_are_one_state_a_step(tmp_path: Path) -> None:
    witness = Witness()
    checkpoint = lightning.pytorch.callbacks.ModelCheckpoint
    fit(
        lightning.pytorch,
        tmp_path,
        [
            Attach(witness, lightning.pytorch),
            AlphaHillCallback(precisions=PRECISIONS, sinks=[witness]),
            checkpoint(every_n_train_steps=2, save_top_k=-1),
            checkpoint(dirpath=tmp_path / "other", every_n_train_steps=4, save_weights_only=True, save_top_k=-1),
            checkpoint(dirpath=tmp_path / "third", every_n_epochs=1),
        ],
    )
    assert witness.steps() == [(0, "start"), *((step, "checkpoint") for step in (2, 3, 4, 6))]


def test_a_manual_save_in_training_is_measured(tmp_path: Path) -> None:
    class Saver(lightning.pytorch.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 2:
                trainer.save_checkpoint(tmp_path / "manual.ckpt")

    memory = MemorySink()
    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=[memory])
    fit(lightning.pytorch, tmp_path, [callback, Saver()], enable_checkpointing=False)
    assert [(s.step, s.event) for s in memory.snapshots] == [(0, "start"), (2, "checkpoint"), (6, "end")]


def test_run_now_after_training(tmp_path: Path) -> None:
    memory = MemorySink()
    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=[memory])
    run, module = fit(lightning.pytorch, tmp_path, [callback], enable_checkpointing=False)
    snapshot = callback.run_now(module, run.global_step + 1)
    assert snapshot is not None and snapshot.event == "manual" and memory.snapshots[-1] is snapshot
    assert not callback.monitor.running and memory.closed == 2


@pytest.mark.parametrize(
    ("every", "steps"),
    [("epoch", [0, 3, 6]), (1, [0, 1, 2, 3, 4, 5, 6]), (4, [0, 4, 6]), (100, [0, 6]), ("train_end", [0, 6])],
)
def test_other_schedules(every: Any, steps: list[int], tmp_path: Path) -> None:
    memory = MemorySink()
    fit(lightning.pytorch, tmp_path, [AlphaHillCallback(every=every, precisions=PRECISIONS, sinks=[memory])])
    assert [s.step for s in memory.snapshots] == steps


def test_a_checkpoint_of_the_same_step_is_written_first(tmp_path: Path) -> None:
    """Whatever happens in the analysis, the file is there."""
    witness = Witness()
    callbacks = [
        Attach(witness, lightning.pytorch),
        AlphaHillCallback(every=2, precisions=PRECISIONS, sinks=[witness]),
        lightning.pytorch.callbacks.ModelCheckpoint(every_n_train_steps=2, save_top_k=-1),
    ]
    fit(lightning.pytorch, tmp_path, callbacks)
    assert witness.steps() == [(0, "start"), (2, "step"), (4, "step"), (6, "step")]
    assert all(witness.files[step] for step in (2, 4, 6))


def test_the_epoch_is_the_one_in_the_name_of_the_file(tmp_path: Path) -> None:
    memory = MemorySink()
    checkpoint = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path / "ckpt", save_top_k=-1)
    fit(lightning.pytorch, tmp_path, [AlphaHillCallback(precisions=PRECISIONS, sinks=[memory]), checkpoint])
    names = {f"epoch={s.epoch}-step={s.step}.ckpt" for s in memory.snapshots[1:]}
    assert names == {path.name for path in (tmp_path / "ckpt").iterdir()}


def test_a_checkpoint_that_cannot_be_read_costs_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """weights="checkpoint" reads nothing before the first file, hours into a run: that is no start any more."""

    class Late(lightning.pytorch.plugins.io.TorchCheckpointIO):
        def save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
            return None  # as an asynchronous writer that has not written yet

    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=[], weights="checkpoint")
    with caplog.at_level(logging.WARNING):
        run, _ = fit(lightning.pytorch, tmp_path, [callback], plugins=[Late()])
    assert run.global_step == 6 and "expected a checkpoint file or folder, found nothing there" in caplog.text
    assert "no checkpoint was written: nothing was measured" in caplog.text


def test_background_values_can_be_monitored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one is there before training starts, and each as soon as it is known."""
    stop = lightning.pytorch.callbacks.EarlyStopping("alpha_hill/mean_fp32", patience=99, mode="max")
    seen: list[float] = []

    class Look(lightning.pytorch.Callback):
        def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
            seen.append(float(trainer.callback_metrics["alpha_hill/mean_fp32"]))

    callback = AlphaHillCallback(every="epoch", precisions=PRECISIONS, sinks=[], background=True)
    run, _ = fit(lightning.pytorch, tmp_path, [callback, stop, Look()], max_epochs=4)
    assert run.current_epoch == 4 and len(seen) == 12
    last = callback.monitor.last
    assert last is not None and float(run.callback_metrics["alpha_hill/mean_fp32"]) == pytest.approx(
        last.scalars["mean_fp32"]
    )


def test_a_monitor_that_would_lag_behind_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    best = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, monitor="alpha_hill/mean_fp32")
    with caplog.at_level(logging.WARNING):
        fit(lightning.pytorch, tmp_path, [AlphaHillCallback(sinks=[]), best])
        assert 'Use AlphaHillCallback(every="epoch")' in caplog.text
        caplog.clear()
        fit(lightning.pytorch, tmp_path, [AlphaHillCallback(every="epoch", sinks=[]), best])
        assert "every=" not in caplog.text


def test_gradient_accumulation_counts_optimizer_steps(tmp_path: Path) -> None:
    memory = MemorySink()
    callback = AlphaHillCallback(every=1, precisions=PRECISIONS, sinks=[memory])
    fit(lightning.pytorch, tmp_path, [callback], accumulate_grad_batches=2)
    assert [s.step for s in memory.snapshots] == [0, 1, 2, 3, 4]


def test_sanity_check_and_fast_dev_run_are_no_runs(tmp_path: Path) -> None:
    memory = MemorySink()
    callback = AlphaHillCallback(every=1, precisions=PRECISIONS, sinks=["csv", memory], output_dir=tmp_path / "out")
    fit(lightning.pytorch, tmp_path, [callback], fast_dev_run=True)
    assert not memory.snapshots and not (tmp_path / "out").exists()
    fit(lightning.pytorch, tmp_path, [callback], num_sanity_val_steps=1, max_epochs=1)
    assert [s.step for s in memory.snapshots] == [0, 1, 2, 3]


def test_validate_and_test_are_no_training(tmp_path: Path) -> None:
    memory = MemorySink()
    run = trainer(lightning.pytorch, tmp_path, [AlphaHillCallback(every=1, sinks=[memory])])
    run.validate(module_class(lightning.pytorch)(), loader(1), verbose=False)
    assert not memory.snapshots and memory.closed == 0


def test_a_resumed_run_continues_the_history(tmp_path: Path) -> None:
    def callback() -> AlphaHillCallback:
        return AlphaHillCallback(precisions=PRECISIONS, sinks=["csv"], output_dir=tmp_path / "out")

    def checkpoint() -> Any:
        return lightning.pytorch.callbacks.ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=2, save_top_k=-1)

    run, _ = fit(lightning.pytorch, tmp_path, [callback(), checkpoint()])
    ckpt = next((tmp_path / "ckpt").glob("*step=4.ckpt"))
    assert "AlphaHill" not in str(torch.load(ckpt, weights_only=True)["callbacks"].keys())  # nothing of ours is saved
    fit(lightning.pytorch, tmp_path, [callback(), checkpoint()], ckpt=ckpt, max_epochs=3)
    with (tmp_path / "out" / "alpha_hill_history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    keys = [(int(r["step"]), r["layer_name"], r["precision"]) for r in rows]
    assert len(set(keys)) == len(keys) == 6 * 2 * 2
    assert list(dict.fromkeys(step for step, _, _ in keys)) == [0, 2, 4, 6, 8, 9]


def test_a_checkpoint_made_without_the_callback_can_be_resumed_with_it_and_back(tmp_path: Path) -> None:
    run, _ = fit(lightning.pytorch, tmp_path, [], max_epochs=1)
    memory = MemorySink()
    ckpt = run.checkpoint_callback.best_model_path
    run, _ = fit(lightning.pytorch, tmp_path, [AlphaHillCallback(sinks=[memory])], ckpt=ckpt)
    assert [s.step for s in memory.snapshots] == [3, 6]
    fit(lightning.pytorch, tmp_path, [], ckpt=run.checkpoint_callback.best_model_path, max_epochs=3)


def test_two_instances_with_different_options(tmp_path: Path) -> None:
    first, second = MemorySink(), MemorySink()
    callbacks = [
        AlphaHillCallback(every=2, precisions="fp32", sinks=[first], output_dir=tmp_path / "a"),
        AlphaHillCallback(every=3, precisions="bf16", include="net.0", sinks=[second], output_dir=tmp_path / "b"),
    ]
    fit(lightning.pytorch, tmp_path, callbacks)
    assert [s.step for s in first.snapshots] == [0, 2, 4, 6] and [s.step for s in second.snapshots] == [0, 3, 6]
    assert [r.layer_name for r in second.snapshots[0].table] == ["net.0"]


def test_an_error_of_ours_costs_neither_step_nor_checkpoint(
    tmp_path: Path, bug_after_the_start: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=2, save_top_k=-1)
    with caplog.at_level(logging.WARNING):
        run, _ = fit(lightning.pytorch, tmp_path, [AlphaHillCallback(precisions=PRECISIONS, sinks=[]), checkpoint])
    assert run.global_step == 6 and len(list((tmp_path / "ckpt").glob("*.ckpt"))) == 3
    assert caplog.text.count("a bug of ours") == 1 and len(bug_after_the_start) > 2


def test_training_that_fails_leaves_with_what_was_measured_and_saved(tmp_path: Path) -> None:
    class Bomb(lightning.pytorch.Callback):
        def on_train_batch_start(self, trainer: Any, *args: Any) -> None:
            if trainer.global_step == 3:
                raise KeyError("of the user")

    memory = MemorySink()
    checkpoint = lightning.pytorch.callbacks.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_on_exception=True)
    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=["csv", memory], output_dir=tmp_path / "out")
    with pytest.raises(KeyError, match="of the user"):
        fit(lightning.pytorch, tmp_path, [callback, Bomb(), checkpoint])
    assert [s.step for s in memory.snapshots] == [0, 2, 3] and memory.closed == 1
    assert (tmp_path / "out" / "step_00000003").is_dir()


def test_without_logger_there_is_csv_and_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit(lightning.pytorch, tmp_path, [AlphaHillCallback(precisions=PRECISIONS)])
    assert (tmp_path / "alpha_hill" / "alpha_hill_history.csv").exists()
    assert caplog.text.count("the trainer has no logger; results go to") == 1


def test_any_lightning_logger_gets_the_summary(tmp_path: Path) -> None:
    logger = lightning.pytorch.loggers.CSVLogger(tmp_path, name="mine")
    callback = AlphaHillCallback(precisions=PRECISIONS)
    fit(lightning.pytorch, tmp_path, [callback], logger=logger, log_every_n_steps=1)
    with (Path(logger.log_dir) / "metrics.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["alpha_hill/mean_bf16"]]
    assert [r["step"] for r in rows] == ["0", "3", "6"]
    last = callback.monitor.last
    assert last is not None and float(rows[-1]["alpha_hill/mean_bf16"]) == pytest.approx(last.scalars["mean_bf16"])
    assert (Path(logger.log_dir) / "alpha_hill" / "step_00000006").is_dir()
    assert len(rows[0]) < 30  # no per-layer columns in the user's file


def test_values_can_be_monitored(tmp_path: Path) -> None:
    """EarlyStopping and ModelCheckpoint see the summary values."""
    stop = lightning.pytorch.callbacks.EarlyStopping("alpha_hill/mean_fp32", patience=0, mode="max", min_delta=1e9)
    best = lightning.pytorch.callbacks.ModelCheckpoint(
        tmp_path / "best", monitor="alpha_hill/median_bf16", filename="{epoch}", save_top_k=1
    )
    callback = AlphaHillCallback(every="epoch", precisions=PRECISIONS, sinks=[])
    run, _ = fit(lightning.pytorch, tmp_path, [callback, stop, best], max_epochs=5)
    assert run.current_epoch == 2  # stopped since nothing improves by 1e9
    last = callback.monitor.last
    assert last is not None
    assert float(run.callback_metrics["alpha_hill/mean_fp32"]) == pytest.approx(last.scalars["mean_fp32"])
    assert best.best_model_score is not None


def test_weights_of_the_checkpoint_under_ema(tmp_path: Path) -> None:
    """WeightAveraging saves averaged weights: both options give those, and "module" the first state too."""
    ema = lightning.pytorch.callbacks.EMAWeightAveraging(decay=0.5)
    live, saved = MemorySink(), MemorySink()
    fit(
        lightning.pytorch,
        tmp_path,
        [
            AlphaHillCallback(precisions=PRECISIONS, sinks=[live], output_dir=tmp_path / "live"),
            AlphaHillCallback(
                precisions=PRECISIONS, sinks=[saved], output_dir=tmp_path / "saved", weights="checkpoint"
            ),
            ema,
            lightning.pytorch.callbacks.ModelCheckpoint(tmp_path / "ckpt", every_n_train_steps=2, save_top_k=-1),
        ],
    )
    assert [s.step for s in saved.snapshots] == [2, 4, 6]
    for snapshot in saved.snapshots:
        path = next((tmp_path / "ckpt").glob(f"*step={snapshot.step}.ckpt"))
        scanned = scanned_table(path, tmp_path / f"scan{snapshot.step}", PRECISIONS)
        assert [r.alpha for r in scanned] == [r.alpha for r in snapshot.table]
    assert [s.step for s in live.snapshots] == [0, 2, 4, 6]
    assert [s.table for s in live.snapshots[1:]] == [s.table for s in saved.snapshots]


@pytest.mark.parametrize("background", [False, True])
def test_training_is_bit_for_bit_the_same(tmp_path: Path, background: bool) -> None:
    _, alone = fit(lightning.pytorch, tmp_path / "a", [])
    callback = AlphaHillCallback(every=1, precisions=PRECISIONS, sinks=["csv"], background=background)
    run, watched = fit(lightning.pytorch, tmp_path / "b", [callback])
    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), watched.parameters(), strict=True))
    assert callback.monitor.last is not None and callback.monitor.last.step == 6
    assert "alpha_hill/mean_fp32" in run.callback_metrics


def test_a_second_fit_with_the_same_callback(tmp_path: Path) -> None:
    memory = MemorySink()
    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=[memory])
    for _ in range(2):
        fit(lightning.pytorch, tmp_path, [callback], enable_checkpointing=False)
    assert [s.step for s in memory.snapshots] == [0, 6, 0, 6] and memory.closed == 2


def test_a_fit_that_goes_on_measures_each_step_once(tmp_path: Path) -> None:
    memory = MemorySink()
    callback = AlphaHillCallback(precisions=PRECISIONS, sinks=["csv", memory], output_dir=tmp_path / "out")
    run, module = fit(lightning.pytorch, tmp_path, [callback])
    run.fit_loop.max_epochs = 3
    run.fit(module, loader(3))
    states = [(s.step, s.event, s.epoch) for s in memory.snapshots]
    assert states == [(0, "start", 0), (3, "checkpoint", 0), (6, "checkpoint", 1), (9, "checkpoint", 2)]
    rows = list(csv.DictReader((tmp_path / "out" / "alpha_hill_history.csv").read_text().splitlines()))
    assert list(dict.fromkeys((int(r["step"]), r["event"], int(r["epoch"])) for r in rows)) == states


def test_the_callback_can_be_pickled() -> None:
    """ddp_spawn does."""
    copied = pickle.loads(pickle.dumps(AlphaHillCallback(every=5, precisions="bf16")))
    assert copied.schedule.every == 5 and copied.monitor.options.precisions == ("bf16",)


def test_a_bare_callback_works_in_both_trainers(tmp_path: Path) -> None:
    for pl in NAMESPACES:
        callback = AlphaHillCallback(sinks=[])
        run = pl.Trainer(callbacks=callback, logger=False, enable_checkpointing=False, default_root_dir=tmp_path)
        assert callback in run.callbacks and isinstance(callback, pl.Callback)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": "chekpoint"}, "every: expected checkpoint, epoch, train_end"),
        ({"precisions": "fp32,fp31"}, "precision: expected one of"),
        ({"include": "("}, "include: expected a regular expression"),
        ({"weights": "ema"}, "weights: expected module or checkpoint"),
        ({"sensitivities": "yes"}, "sensitivities: expected True or False, got 'yes'"),
        ({"weights": "checkpoint", "every": 5}, 'weights: "checkpoint" needs every="checkpoint"'),
        ({"weights": "checkpoint", "adapters": "merged"}, 'adapters: "merged" needs weights="module"'),
        ({"device": "gpu"}, "device: expected cpu, cuda"),
        ({"sinks": ["wandbb"]}, "sinks: expected some of auto, comet, csv, mlflow, tensorboard, trackio, wandb"),
        ({"on_error": "x"}, "on_error: expected warn or raise"),
    ],
)
def test_bad_options_raise_in_the_constructor(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AlphaHillCallback(**options)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # LightningCLI's own use of jsonargparse
def test_a_lightning_cli_can_configure_it(tmp_path: Path) -> None:
    """Every argument is typed and can be written in YAML."""
    pytest.importorskip("jsonargparse")
    from lightning.pytorch.cli import LightningCLI

    options = {"every": 50, "precisions": ["fp32", "bf16"], "sinks": ["csv"], "max_seconds": 9, "weights": "module"}
    options["alerts"] = ["default", "stop if non_finite"]
    callback = {"class_path": "alpha_callbacks.AlphaHillCallback", "init_args": options}
    args: Any = {"trainer": {"callbacks": [callback], "logger": False, "default_root_dir": str(tmp_path)}}
    cli = LightningCLI(module_class(lightning.pytorch), run=False, args=args, save_config_callback=None)
    found = next(c for c in cli.trainer.callbacks if isinstance(c, AlphaHillCallback))
    assert found.schedule.every == 50 and found.monitor.options.precisions == ("fp32", "bf16")
    assert len(found.monitor._rules) == 4


def test_without_lightning_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['lightning'] = sys.modules['lightning.pytorch'] = None\n"
        "sys.modules['pytorch_lightning'] = None\n"
        "import alpha_callbacks; alpha_callbacks.AlphaHillCallback"
    )
    done = run_code(code)
    assert 'pip install -c constraints.txt ".[lightning]"' in done.stderr.splitlines()[-1]
