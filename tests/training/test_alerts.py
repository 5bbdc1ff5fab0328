"""Alerts in every host: told once, in the history, and able to stop the run."""

import csv
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from alpha_callbacks.comparison.history_findings import history_findings
from alpha_callbacks.comparison.read_history import read_history
from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.sinks.sink import MemorySink
from alpha_callbacks.training.alert_rules import AlertRule
from alpha_callbacks.training.monitor import Monitor

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
OPTIONS = AnalysisOptions(precisions=("fp32", "bf16"))
BREAKS = 2  # the step at which weights become nan


def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(32, 32) for _ in range(3)))


def damage(module: nn.Module, step: int) -> None:
    """Break one layer, and later mend it."""
    weight = next(module.parameters())
    with torch.no_grad():
        if step == BREAKS:
            weight[0, 0] = float("nan")
        if step == BREAKS + 2:
            weight[0, 0] = 0.5


class Damage:
    """A callback of either framework that breaks a weight at a step."""

    def break_it(self, module: nn.Module, step: int) -> None:
        if step == BREAKS:
            with torch.no_grad():
                next(p for p in module.parameters() if p.ndim == 2).fill_(float("nan"))


@pytest.mark.parametrize("background", [False, True])
def test_told_once_until_it_is_over(tmp_path: Path, caplog: pytest.LogCaptureFixture, background: bool) -> None:
    module, memory = model(), MemorySink()
    with (
        caplog.at_level(logging.WARNING),
        Monitor(
            OPTIONS, output_dir=tmp_path, sinks=["csv", memory], alerts="default", background=background
        ) as monitor,
    ):
        for step in range(7):
            damage(module, step)
            if step == 6:
                with torch.no_grad():
                    next(module.parameters()).zero_()
            monitor.log(module, step)
            monitor.poll(wait=True)
        assert not monitor.should_stop
    told = [record.message for record in caplog.records]
    assert told == ["alpha-Hill: step 2: non_finite: 0.", "alpha-Hill: step 6: degenerate: 0."]
    assert [snapshot.scalars["alerts"] for snapshot in memory.snapshots] == [0, 0, 1, 1, 0, 0, 1]
    with (tmp_path / "alpha_hill_history.csv").open(newline="") as file:
        cells = [(row["step"], row["layer_name"], row["precision"], row["alerts"]) for row in csv.DictReader(file)]
    assert [cell for cell in cells if cell[3]] == [
        ("2", "0", "fp32", "non_finite"), ("3", "0", "fp32", "non_finite"), ("6", "0", "fp32", "degenerate")
    ]  # fmt: skip
    findings = history_findings(read_history(tmp_path))
    assert findings[1:3] == [
        "Alert non_finite: 1 layer, 0 (at steps 2 to 3).", "Alert degenerate: 1 layer, 0 (since step 6)."
    ]  # fmt: skip


def test_without_rules_nothing_is_new(tmp_path: Path) -> None:
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=["csv"]) as monitor:
        snapshot = monitor.log(model(), 0)
    assert snapshot is not None and snapshot.alerts is None and "alerts" not in snapshot.scalars
    assert not monitor.should_stop and len(history_findings(read_history(tmp_path))) == 1


def test_a_history_without_the_column_is_read(tmp_path: Path) -> None:
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=["csv"], alerts="alpha > 0") as monitor:
        monitor.log(model(), 0)
    file = tmp_path / "alpha_hill_history.csv"
    lines = [line.rpartition(",")[0] for line in file.read_text().splitlines()]
    assert lines[0].endswith("drift_bound")
    file.write_text("\n".join(lines) + "\n")
    assert not any("Alert" in sentence for sentence in history_findings(read_history(file)))


@pytest.mark.parametrize("background", [False, True])
def test_a_loop_is_told_to_stop(tmp_path: Path, background: bool) -> None:
    module, seen = model(), []
    rules = ["default", AlertRule("non_finite", stop=True)]
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=[], alerts=rules, background=background) as monitor:
        for step in range(1000):
            damage(module, step)
            if step <= BREAKS:
                monitor.log(module, step)
            while background and monitor._run._worker.busy:  # type: ignore[union-attr]
                time.sleep(0.001)
            monitor.poll()
            seen.append(step)
            if monitor.should_stop:
                break
    assert seen[-1] == BREAKS and monitor.should_stop
    assert monitor.last is not None and [a.rule for a in monitor.last.alerts or ()] == ["non_finite"]


def test_a_run_that_is_continued_counts_from_its_start(tmp_path: Path) -> None:
    module = model()
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=["csv"]) as monitor:
        monitor.log(module, 0)
    with torch.no_grad():
        module[1].weight.add_(10 * torch.outer(torch.ones(32), torch.ones(32)))
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=["csv"], alerts="stable_rank < 50% of start") as monitor:
        snapshot = monitor.log(module, 10)
    assert snapshot is not None and [(a.layer_name, a.new) for a in snapshot.alerts or ()] == [("1", True)]


def test_rules_are_checked_when_the_monitor_is_made() -> None:
    with pytest.raises(OptionError, match="alfa"):
        Monitor(alerts="alfa > 2")
    with pytest.raises(OptionError, match="fp64 is not analysed"):
        Monitor(OPTIONS, alerts="alpha > 2 at fp64")


@pytest.mark.parametrize("background", [False, True])
def test_a_rule_that_finds_nothing_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, background: bool
) -> None:
    rules = ["stop if alpha > 1 in lm_haed", "relative_error > 0.1 at fp32", "alpha > 100 in ^0$"]
    with (
        caplog.at_level(logging.WARNING),
        Monitor(OPTIONS, output_dir=tmp_path, sinks=[], alerts=rules, background=background) as monitor,
    ):
        for step in range(3):
            monitor.log(model(), step)
            monitor.poll(wait=True)
    assert [record.message for record in caplog.records] == [
        "alpha-Hill: alerts: 'stop if alpha > 1 in lm_haed' can never hold: 'lm_haed' is found in none of 3 layer "
        "names. There are 2, 1, 0.",
        "alpha-Hill: alerts: 'relative_error > 0.1 at fp32' finds nothing: no weight loses anything at fp32. "
        "Analyse a coarser precision too.",
    ]


def test_the_rows_of_updates_are_known_at_the_first_state(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = r"stop if non_finite in \(update\)"
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=[], alerts=rules, baseline="start") as monitor:
        monitor.log(model(), 0)
    assert "can never hold" not in caplog.text


@pytest.mark.parametrize(("background", "stop"), [(False, False), (False, True), (True, True)])
def test_lightning(tmp_path: Path, background: bool, stop: bool, caplog: pytest.LogCaptureFixture) -> None:
    pl = pytest.importorskip("lightning.pytorch")
    from alpha_callbacks.training.lightning_callback import AlphaHillCallback
    from tests.support.lightning_runs import fit

    class Breaks(Damage, pl.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.break_it(pl_module, trainer.global_step)

    ours = AlphaHillCallback(
        every=1, precisions="fp32", sinks="csv", alerts=f"{'stop if ' * stop}non_finite", background=background
    )
    with caplog.at_level(logging.WARNING):
        trainer, _ = fit(pl, tmp_path, [Breaks(), ours], max_epochs=4)
    assert trainer.global_step < 12 if stop and not background else trainer.global_step <= 12
    assert trainer.global_step in (BREAKS, BREAKS + 1) if stop and not background else True
    assert caplog.text.count(": non_finite: net.0") == 1
    assert ours.monitor.last is not None and ours.monitor.last.step == trainer.global_step
    assert "alpha_hill/alerts" in trainer.callback_metrics


@pytest.mark.parametrize(("background", "stop"), [(False, False), (False, True), (True, True)])
def test_hugging_face(tmp_path: Path, background: bool, stop: bool, caplog: pytest.LogCaptureFixture) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback
    from tests.support.hf_runs import trainer

    class Breaks(Damage, transformers.TrainerCallback):  # type: ignore[misc, name-defined]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.break_it(kwargs["model"], state.global_step)

    ours = AlphaHillTrainerCallback(
        every=1, precisions="fp32", sinks="csv", include_embeddings=True, background=background,
        alerts=f"{'stop if ' * stop}non_finite",
    )  # fmt: skip
    run = trainer(tmp_path, [Breaks(), ours], num_train_epochs=3, save_strategy="no")
    with caplog.at_level(logging.WARNING):
        run.train()
    steps = run.state.global_step
    assert steps < 9 if stop and not background else steps <= 9
    assert steps == BREAKS if stop and not background else True
    assert caplog.text.count(": non_finite: ") >= 1
    assert ours.monitor.last is not None and ours.monitor.last.step == steps


@pytest.fixture
def wandb_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    yield wandb.init(mode="offline", dir=str(tmp_path))
    wandb.finish()
    wandb.teardown()


def test_wandb_is_alerted(tmp_path: Path, wandb_run: Any) -> None:
    from tests.support.wandb_offline import read_offline_run

    long = f"alpha > 0 in ^({'|'.join('01234567')}){'0?' * 30}$"
    with Monitor(OPTIONS, output_dir=tmp_path / "out", sinks=["wandb"], alerts=["stop if non_finite", long]) as monitor:
        module = model()
        for step in range(5):
            damage(module, step)
            monitor.log(module, step)
    wandb_run.finish()
    alerts = read_offline_run(tmp_path).alerts
    assert [(title, level) for title, _, level in alerts] == [
        (f"alpha-Hill: {long}"[:62] + "…", "WARN"), ("alpha-Hill: non_finite", "ERROR")
    ]  # fmt: skip
    assert alerts[1][1] == "Step 2: non_finite: 0. Training stops."


def test_tensorboard_has_a_text(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    module = model()
    with Monitor(OPTIONS, output_dir=tmp_path, sinks=["tensorboard"], alerts="non_finite in <b>|0") as monitor:
        for step in range(4):
            damage(module, step)
            monitor.log(module, step)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    texts = events.Tensors("alpha_hill/alerts/text_summary")
    said = texts[0].tensor_proto.string_val[0].decode()
    assert [event.step for event in texts] == [2] and "0." in said and "<b>" not in said
    assert [event.value for event in events.Scalars("alpha_hill/alerts")] == [0, 0, 1, 1]
