"""Every reporter that `report_to` can name hears the values, once, and the log of the Trainer is as without us."""

import logging
from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip("transformers")
pytest.importorskip("accelerate")

from transformers.integrations import integration_utils  # noqa: E402

from alpha_callbacks.training.hf_callback import AlphaHillTrainerCallback  # noqa: E402
from tests.support.hf_runs import trainer  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore::UserWarning"), pytest.mark.filterwarnings("ignore::FutureWarning")]


class Reporter(transformers.TrainerCallback):  # type: ignore[misc]
    """As the real ones: sets itself up when it must, takes the step from the state."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, model: Any = None, **kwargs: Any) -> None:
        assert model is not None
        self.rows.append((state.global_step, dict(logs)))


class Broken(Reporter):
    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        if any("alpha_hill" in name for name in logs):
            raise ConnectionError("no server")


class Live:
    def __init__(self) -> None:
        self.metrics: dict[str, float] = {}
        self.steps = 0

    def log_metric(self, name: str, value: float) -> None:
        self.metrics[name] = value


class DVCLiveCallback(Reporter):
    def __init__(self) -> None:
        super().__init__()
        self.live = Live()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.live.steps += 1


class Silent(transformers.TrainerCallback):  # type: ignore[misc]
    """As CodeCarbonCallback: named by report_to, logs nothing."""


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, callbacks: list[Any], ours: Any) -> Any:
    kinds = {type(callback).__name__: type(callback) for callback in callbacks}
    monkeypatch.setattr(integration_utils, "INTEGRATION_TO_CALLBACK", kinds)
    trained = trainer(folder, [*callbacks, *([ours] if ours else [])], save_steps=3, logging_steps=2)
    trained.train()
    return trained


@pytest.mark.parametrize("background", [False, True])
def test_values_and_steps_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, background: bool) -> None:
    reporter, live = Reporter(), DVCLiveCallback()
    ours = AlphaHillTrainerCallback(precisions="fp32", images=False, background=background)
    trained = run(tmp_path, monkeypatch, [reporter, live, Silent()], ours)
    rows = {step: row for step, row in reporter.rows if "alpha_hill/mean_fp32" in row}
    assert list(rows)[0] == 0 and list(rows)[-1] == 6 and (background or list(rows) == [0, 3, 6])
    assert ours.monitor.last is not None
    assert rows[6] == {f"alpha_hill/{name}": value for name, value in ours.monitor.last.scalars.items()}
    assert live.live.metrics["train/alpha_hill/mean_fp32"] == ours.monitor.last.scalars["mean_fp32"]
    alone = Reporter()
    before = run(tmp_path / "alone", monkeypatch, [alone], None)
    own = [(step, set(row)) for step, row in reporter.rows if not any("alpha_hill" in name for name in row)]
    assert own == [(step, set(row)) for step, row in alone.rows] and live.live.steps == len(alone.rows)
    assert [set(row) for row in trained.state.log_history] == [set(row) for row in before.state.log_history]


def test_a_reporter_that_fails_is_named_and_the_others_hear(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reporter = Reporter()
    ours = AlphaHillTrainerCallback(precisions="fp32", images=False)
    with caplog.at_level(logging.WARNING):
        run(tmp_path, monkeypatch, [Broken(), reporter], ours)
    assert caplog.text.count("Broken: ConnectionError: no server") == 1
    assert [step for step, row in reporter.rows if "alpha_hill/mean_fp32" in row] == [0, 3, 6]


def test_only_what_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reporter = Reporter()
    run(tmp_path, monkeypatch, [reporter], AlphaHillTrainerCallback(precisions="fp32", sinks="csv"))
    assert not any("alpha_hill" in name for _, row in reporter.rows for name in row)
