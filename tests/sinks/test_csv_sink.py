"""CSV files on a disk that is full for a while: whole states or none, and every one of them later."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from alpha_callbacks.sinks import csv_sink, history_csv
from alpha_callbacks.sinks.alert import Alert
from alpha_callbacks.sinks.csv_sink import CsvSink
from alpha_callbacks.sinks.sink import Host
from alpha_callbacks.tables import results_csv
from tests.sinks.test_history_csv import steps_of
from tests.support.rows import LAYERS, snapshot, table

HISTORY = "alpha_hill_history.csv"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of files that cannot be written; empty it, and there is space again."""
    names: list[str] = []

    def fails(real: Callable[..., None]) -> Callable[..., None]:
        def write(path: Path, content: Any) -> None:
            if path.name in names:
                raise OSError(28, "No space left on device")
            real(path, content)

        return write

    for module, function in ((history_csv, "_add"), (history_csv, "write_text"), (csv_sink, "write_text")):
        monkeypatch.setattr(module, function, fails(getattr(module, function)))
    return names


def folders(path: Path) -> list[int]:
    """Return the steps that have a folder, each of which must have both files."""
    found = sorted(path.glob("step_*"))
    assert all(len(list(folder.iterdir())) == 2 for folder in found)
    return [int(folder.name.removeprefix("step_")) for folder in found]


@pytest.mark.parametrize("file", [HISTORY, results_csv.SUMMARY])
def test_states_wait_for_space(file: str, full: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sink = CsvSink(Host(tmp_path))
    sink.log(snapshot(0))
    full.append(file)
    for step in (10, 20):
        with pytest.raises(OSError, match="No space"):
            sink.log(snapshot(step))
        assert folders(tmp_path) == [0]
    full.clear()
    sink.log(snapshot(30))
    assert folders(tmp_path) == steps_of(tmp_path / HISTORY) == [0, 10, 20, 30]
    sink.close()
    assert "4 states in" in capsys.readouterr().err


def test_what_waits_is_written_at_the_end(full: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = CsvSink(Host(tmp_path))
    sink.log(snapshot(0))
    full.append(HISTORY)
    with pytest.raises(OSError, match="No space"):
        sink.log(snapshot(10))
    full.clear()
    sink.close()
    assert steps_of(tmp_path / HISTORY) == [0, 10] and not caplog.text


def test_what_is_lost_is_said_at_the_end(full: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = CsvSink(Host(tmp_path))
    sink.log(snapshot(0))
    full.append(HISTORY)
    for step in range(1, 24):
        with pytest.raises(OSError, match="No space"):
            sink.log(snapshot(step))
    with caplog.at_level(logging.WARNING):
        sink.close()
    assert f"{tmp_path} lacks states that could not be written: step 1, 2, 3, 4," in caplog.text
    assert steps_of(tmp_path / HISTORY) == [0]


def test_a_state_in_which_nothing_changed_has_the_files_that_it_would_have_alone(tmp_path: Path) -> None:
    first, other = table(), table(shift=1)
    alerts = (Alert("alpha < 3, or so", LAYERS[0], "fp32", 2.0, 3.0),)
    states = [snapshot(0, first), snapshot(1, table(), alerts=alerts), snapshot(2, first), snapshot(3, other)]
    sink, lines = CsvSink(Host(tmp_path / "run")), list[str]()
    for state in states:
        sink.log(state)
        alone = tmp_path / f"alone_{state.step}"
        CsvSink(Host(alone)).log(state)
        folder = f"step_{state.step:08d}"
        for name in (results_csv.RESULTS, results_csv.SUMMARY):
            assert (tmp_path / "run" / folder / name).read_bytes() == (alone / folder / name).read_bytes()
        lines += (alone / HISTORY).read_text().splitlines()[bool(lines) :]
    assert (tmp_path / "run" / HISTORY).read_text().splitlines() == lines


def test_another_error_is_not_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = CsvSink(Host(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr(results_csv, "summary_text", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sink.log(snapshot(0))
    sink.log(snapshot(10))
    assert folders(tmp_path) == [10]


def test_a_history_that_was_removed_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sink = CsvSink(Host(tmp_path))
    sink.log(snapshot(0))
    (tmp_path / HISTORY).unlink()
    with caplog.at_level(logging.WARNING):
        sink.log(snapshot(10))
        sink.log(snapshot(20))
    assert steps_of(tmp_path / HISTORY) == [10, 20]
    assert "was removed; it begins again at step 10" in caplog.text and len(caplog.records) == 1
