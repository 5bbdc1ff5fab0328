"""MLflow, Trackio and Comet: what stand-ins are called with, and what the real packages have on disk.

The real packages are not in the extra `test` (88, 38 and 46 MB; Trackio asks for an older Pillow than ours):
`pytest -m trackers tests/integrations/loggers/test_tracker_sinks.py` where they are installed (docs/trust.md).
"""

import csv
import io
import json
import sqlite3
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from alpha_integrations.loggers.comet_sink import find_comet
from alpha_integrations.loggers.logger_rows import columns
from alpha_integrations.loggers.mlflow_sink import find_mlflow
from alpha_integrations.loggers.tracker_sink import TrackerSink
from alpha_integrations.loggers.trackio_sink import find_trackio

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.alert import Alert, AlertLine
from alpha_callbacks.sinks.sink import Host, open_sinks
from alpha_callbacks.sinks.snapshot import Snapshot
from alpha_callbacks.training.hf_reporters import ReporterLogger
from tests.support.rows import snapshot, table

FINDERS = {"mlflow": find_mlflow, "trackio": find_trackio, "comet": find_comet}
PIXELS = np.zeros((4, 6, 3), np.uint8)


class Recorder:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.pictures: list[tuple[int, str]] = []
        self.tables: list[tuple[int, str, int]] = []
        self.alerts: list[tuple[int, str]] = []

    def values(self, values: Mapping[str, float], step: int, epoch: float | None) -> None:
        self.rows.append((step, dict(values)))

    def picture(self, name: str, pixels: np.ndarray, step: int) -> None:
        self.pictures.append((step, name))

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        assert columns[0] == "step" and all(len(row) == len(columns) and row[0] == step for row in rows)
        self.tables.append((step, name, len(rows)))

    def alert(self, line: AlertLine, step: int) -> None:
        self.alerts.append((step, line.text))


def states() -> list[Snapshot]:
    """Return five states, the second with an alert, with pictures that need no drawing."""
    found: list[Snapshot] = []
    for step in range(5):
        alerts = (Alert("alpha < 2", "lm_head", "fp32", 1.5, 2.0, new=step == 1),) if step else ()
        earlier = found[-1].later() if found else None
        found.append(replace(snapshot(step, table(shift=step / 10)), alerts=alerts, earlier=earlier))
        found[-1].__dict__["images"] = {"bars_attn_q": PIXELS}
    return found


def log_all(sink: Any) -> list[Snapshot]:
    found = states()
    for each in found:
        sink.log(each)
    sink.close()
    sink.close()
    return found


def test_values_tables_alerts_and_charts(tmp_path: Path) -> None:
    recorder = Recorder()
    found = log_all(TrackerSink(Host(tmp_path, images=3), "Recorder", lambda: recorder, recorder))
    assert recorder.rows == [
        (each.step, {f"alpha_hill/{name}": value for name, value in each.cards.items()}) for each in found
    ]
    assert recorder.pictures == [(step, "alpha_hill/bars_attn_q") for step in (0, 3, 4)]
    assert [entry for entry in recorder.tables if entry[1] == "alpha_hill/table"] == [
        (step, "alpha_hill/table", 8) for step in range(5)
    ]
    assert [entry for entry in recorder.tables if "moves" in entry[1]] == [
        (step, "alpha_hill/moves", 4) for step in range(1, 5)
    ]
    assert recorder.alerts == [(1, "alpha < 2: lm_head (1.5).")]


def test_charts_that_did_not_arrive_are_logged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()
    sink = TrackerSink(Host(tmp_path, images=1), "Recorder", lambda: recorder, recorder)
    state = states()[0]
    for broken in ("picture", "table"):
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, broken, lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                sink.log(state)
    sink.log(state)  # nothing has changed
    sink.log(state)
    assert len(recorder.pictures) == 1


def test_a_run_that_starts_later_is_found_and_one_that_never_does_is_named(tmp_path: Path) -> None:
    runs: list[Recorder] = []
    sink = TrackerSink(Host(tmp_path, images=0), "Comet", lambda: runs[0] if runs else None, None)
    with pytest.raises(OptionError, match="Comet: expected the run that the training reports to, got none"):
        sink.log(snapshot(0))
    runs.append(Recorder())
    sink.log(snapshot(0))
    assert [step for step, _ in runs[0].rows] == [0] and not runs[0].pictures


def test_active_runs_of_two_trackers_are_two_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SimpleNamespace(info=SimpleNamespace(run_id="1"))
    fakes = {
        "mlflow": SimpleNamespace(active_run=lambda: run, MlflowClient=object),
        "comet_ml": SimpleNamespace(get_running_experiment=object),
    }
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    found = open_sinks(["auto", "comet", "mlflow"], Host(tmp_path))
    assert sorted(sink.name for sink in found if isinstance(sink, TrackerSink)) == ["Comet", "MLflow"]


@pytest.mark.parametrize("name", FINDERS)
def test_asked_for_without_a_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("mlflow", "trackio", "comet_ml"):
        monkeypatch.setitem(sys.modules, package, None)
    assert FINDERS[name](Host(tmp_path), asked=False) == []
    with pytest.raises(OptionError, match=f'expected an active .* run for "{name}", got none'):
        open_sinks(name, Host(tmp_path))


class MLflowCallback:
    """As transformers' callback."""


class TrackioCallback:
    """As transformers' callback."""


class CometCallback:
    """As transformers' callback."""


@pytest.mark.parametrize("callback", [MLflowCallback(), TrackioCallback(), CometCallback()])
def test_a_reporter_with_a_sink_is_not_told_twice(callback: Any, tmp_path: Path) -> None:
    model: Any = np.zeros(1)
    other = SimpleNamespace(on_log=None)
    loggers = [ReporterLogger(each, *[None] * 3, model) for each in (callback, other)]  # type: ignore[arg-type]
    found = open_sinks("auto", Host(tmp_path, (callback, *loggers)))
    kinds = [type(sink).__name__ for sink in found]
    assert kinds.count("TrackerSink") == 1 and kinds.count("LoggerSink") == 1
    (left,) = [sink.adopted for sink in found if type(sink).__name__ == "LoggerSink"]  # type: ignore[attr-defined]
    assert left.reporter is other


class MLFlowLogger:
    """As Lightning's logger."""

    def __init__(self, client: Any) -> None:
        self.experiment, self.run_id = client, "run"

    def log_metrics(self, metrics: Any, step: int) -> None:
        raise AssertionError("the sink writes through the client")


def test_a_lightning_logger_is_adopted(tmp_path: Path) -> None:
    logger = MLFlowLogger(object())
    (sink,) = [
        each for each in open_sinks(["auto", logger], Host(tmp_path, (logger,))) if isinstance(each, TrackerSink)
    ]
    assert sink.adopted is logger
    assert not [each for each in open_sinks("auto", Host(tmp_path, (logger,))) if type(each).__name__ == "LoggerSink"]


@pytest.mark.trackers
@pytest.mark.filterwarnings("ignore")
def test_real_mlflow_with_a_file_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri((tmp_path / "mlruns").as_uri())
    with mlflow.start_run() as run:
        (sink,) = open_sinks("mlflow", Host(tmp_path, images=3))
        sink.log(states()[0])
    for each in states()[1:]:  # the run has ended: it is written through a client
        sink.log(each)
    sink.close()
    client, run_id = mlflow.MlflowClient(), run.info.run_id
    history = client.get_metric_history(run_id, "alpha_hill/median_alpha_ratio")
    assert [(metric.step, metric.value) for metric in history] == [
        (each.step, each.cards["median_alpha_ratio"]) for each in states()
    ]
    artifacts = {file.path for file in client.list_artifacts(run_id, "alpha_hill")}
    assert {f"alpha_hill/table_step_{step:08d}.csv" for step in range(5)} <= artifacts
    text = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/alpha_hill/table_step_00000002.csv")
    assert next(csv.reader(io.StringIO(text))) == list(columns(states()[2].table)) and text.count("\n") == 9
    pictures = [file.path for file in client.list_artifacts(run_id, "images") if file.path.endswith(".png")]
    assert len(pictures) == 3 and all("bars_attn_q" in path for path in pictures)
    assert client.get_run(run_id).data.tags["alpha_hill.alert"] == "Step 1: alpha < 2: lm_head (1.5)."


@pytest.mark.trackers
@pytest.mark.filterwarnings("ignore")
def test_real_trackio_with_its_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    trackio = pytest.importorskip("trackio")
    trackio.init(project="p", name="r", embed=False)
    (sink,) = open_sinks("trackio", Host(tmp_path, images=3))
    log_all(sink)
    trackio.finish()
    (file,) = tmp_path.rglob("p.db")
    with sqlite3.connect(file) as database:
        logged = [(step, json.loads(row)) for step, row in database.execute("select step, metrics from metrics")]
        alerts = list(database.execute("select title, text from alerts"))
    values = {
        step: row["alpha_hill/median_alpha_ratio"] for step, row in logged if "alpha_hill/median_alpha_ratio" in row
    }
    assert values == {each.step: each.cards["median_alpha_ratio"] for each in states()}
    assert sorted(step for step, row in logged if "alpha_hill/bars_attn_q" in row) == [0, 3, 4]
    tables = {step: row["alpha_hill/table"]["_value"] for step, row in logged if "alpha_hill/table" in row}
    assert sorted(tables) == list(range(5)) and len(tables[2]) == 8 and tables[2][0]["step"] == 2
    assert alerts == [("alpha-Hill: alpha < 2", "Step 1: alpha < 2: lm_head (1.5).")]


@pytest.mark.trackers
@pytest.mark.filterwarnings("ignore")
def test_real_comet_offline(tmp_path: Path) -> None:
    comet_ml = pytest.importorskip("comet_ml")
    experiment = comet_ml.OfflineExperiment(project_name="p", offline_directory=str(tmp_path), log_code=False)
    (sink,) = open_sinks("comet", Host(tmp_path, images=3))
    log_all(sink)
    experiment.end()
    (archive,) = tmp_path.glob("*.zip")
    with zipfile.ZipFile(archive) as content:
        messages = [json.loads(line) for line in content.read("messages.json").decode().splitlines()]
    metrics = [m["payload"]["metric"] for m in messages if m["type"] == "metric_msg"]
    ratios = {m["step"]: m["metricValue"] for m in metrics if m["metricName"] == "alpha_hill/median_alpha_ratio"}
    assert ratios == pytest.approx({each.step: each.cards["median_alpha_ratio"] for each in states()})
    uploads = [m["payload"] for m in messages if m["type"] == "file_upload"]
    pictures = [each["additional_params"] for each in uploads if each["upload_type"] == "visualization"]
    assert [(each["figName"], each["step"]) for each in pictures] == [("alpha_hill/bars_attn_q", s) for s in (0, 3, 4)]
    names = {each["additional_params"].get("fileName") for each in uploads}
    assert {f"alpha_hill/table_step_{step:08d}.csv" for step in range(5)} <= names
