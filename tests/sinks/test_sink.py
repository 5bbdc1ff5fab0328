"""Which sinks a run gets."""

import io
import logging
from dataclasses import replace
from pathlib import Path

import pytest

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.logger_sink import LoggerSink
from alpha_callbacks.sinks.sink import Host, MemorySink, Sink, check_sinks, open_sinks
from tests.support.rows import snapshot


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "out")


def test_auto_without_anything_to_write_to_is_csv(host: Host) -> None:
    assert [type(sink) for sink in open_sinks("auto", host)] == [CsvSink]


def test_names_and_objects(host: Host) -> None:
    memory = MemorySink()
    found = open_sinks(["csv", memory], host)
    assert [type(sink) for sink in found] == [CsvSink, MemorySink] and found[1] is memory
    assert open_sinks([], host) == []


@pytest.mark.parametrize("sinks", [["csv", "tensorbord"], ["mlfow"]])
def test_unknown_names(sinks: list[str]) -> None:
    with pytest.raises(
        OptionError,
        match=r"sinks: expected some of auto, comet, csv, mlflow, tensorboard, trackio, wandb or objects, got",
    ):
        check_sinks(sinks)


def test_a_lone_name_or_object_needs_no_list(host: Host) -> None:
    memory = MemorySink()
    assert [type(sink) for sink in open_sinks("csv", host)] == [CsvSink] and open_sinks(memory, host) == [memory]
    for wrong in (None, ["auto", None], "c", "csv,wandb"):
        with pytest.raises(OptionError, match="sinks: expected some of auto, comet, csv"):
            check_sinks(wrong)


class Logger:
    """As Lightning's and Fabric's, without being one."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.rows.append((step, metrics))


def test_sinks_compose_and_each_destination_is_there_once(host: Host) -> None:
    memory, logger, other = MemorySink(), Logger(), Logger()
    offering = replace(host, offers=(logger,))
    found = open_sinks(["auto", memory, "csv", logger, memory, other], offering)
    assert [type(sink) for sink in found] == [CsvSink, LoggerSink, MemorySink, LoggerSink]
    for sink in found:
        sink.log(snapshot(3))
    assert [step for step, _ in logger.rows] == [3] == [step for step, _ in other.rows]
    assert logger.rows[0][1] == {f"alpha_hill/{name}": value for name, value in snapshot(3).scalars.items()}


def test_an_object_that_nobody_knows(host: Host) -> None:
    with pytest.raises(OptionError, match="a writer that an installed sink knows, got dict"):
        open_sinks([{}], host)


def test_csv_says_once_where_it_is(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    sink = CsvSink(host)
    sink.close()
    assert capsys.readouterr().err == "", "nothing was measured"
    for step in (0, 10):
        sink.log(snapshot(step))
    sink.close()
    sink.close()
    folder = host.output_dir
    told = f"\nalpha-Hill: 2 states in {folder}. To see them as a page: alpha-hill history {folder}\n"
    assert capsys.readouterr().err == told


def test_csv_can_be_told_to_be_silent(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("alpha_callbacks")
    level, sink = logger.level, CsvSink(host)
    sink.log(snapshot(1))
    logger.setLevel("WARNING")
    try:
        sink.close()
    finally:
        logger.setLevel(level)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("stream", [None, "closed"])
def test_csv_needs_no_stderr(host: Host, tmp_path: Path, stream: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    sink = CsvSink(host)
    sink.log(snapshot(1))
    monkeypatch.setattr("sys.stderr", closed if stream else None)
    sink.close()
    assert (tmp_path / "out" / "alpha_hill_history.csv").read_text().count("\n") > 1


def test_folders_of_later_steps_go_with_their_rows(host: Host) -> None:
    for step in (0, 10, 20):
        open_sinks(["csv"], host)[0].log(snapshot(step))
    (sink,) = open_sinks(["csv"], host)
    sink.log(snapshot(10))
    assert sorted(p.name for p in host.output_dir.iterdir()) == [
        "alpha_hill_history.1", "alpha_hill_history.1.csv", "alpha_hill_history.csv", "step_00000000", "step_00000010",
    ]  # fmt: skip
    assert [p.name for p in (host.output_dir / "alpha_hill_history.1").iterdir()] == ["step_00000020"]


def test_csv_folder_a_step(host: Host) -> None:
    (sink,) = open_sinks(["csv"], host)
    assert isinstance(sink, Sink)
    sink.log(snapshot(7))
    sink.log(snapshot(1200))
    sink.close()
    sink.close()
    names = {str(p.relative_to(host.output_dir)) for p in host.output_dir.rglob("*.csv")}
    assert names == {
        "alpha_hill_history.csv",
        *(
            f"step_{step}/precision_{what}.csv"
            for step in ("00000007", "00001200")
            for what in ("alpha_hill_results", "summary_statistics")
        ),
    }
