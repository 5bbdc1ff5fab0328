"""The history of a run on disk: nothing twice, nothing lost, whatever happens between two steps."""

import csv
import logging
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from alpha_callbacks.foreign_text import from_csv_cell
from alpha_callbacks.sinks.alert import Alert
from alpha_callbacks.sinks.history_csv import History
from alpha_callbacks.tables.history_columns import HEADER
from alpha_callbacks.tables.table import Table
from tests.support.rows import LAYERS, row, snapshot, table


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps_of(path: Path) -> list[int]:
    """Return the steps in the file, each of which must be there once per layer and precision."""
    found = [(int(r["step"]), r["layer_name"], r["precision"]) for r in rows_of(path)]
    assert len(set(found)) == len(found)
    steps = list(dict.fromkeys(step for step, _, _ in found))
    assert len(found) == len(steps) * len(LAYERS) * 2
    return steps


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "alpha_hill_history.csv"


def test_one_row_a_step_layer_and_precision(path: Path) -> None:
    history = History(path)
    for step in (0, 10, 20):
        history.append(snapshot(step))
    assert steps_of(path) == [0, 10, 20]
    first, last = rows_of(path)[0], rows_of(path)[-1]
    assert list(first) == HEADER
    assert first["layer_name"] == LAYERS[0] and first["alpha"] == "2" and first["epoch"] == "0"
    assert last["layer_name"] == "lm_head" and float(last["alpha"]) == 5.03 and last["event"] == "checkpoint"
    assert float(last["drift"]) == 0.01 and last["drift_bound"] == "" and float(last["alpha_ratio"]) == 5.03 / 5


def test_resumed_run_replaces_what_it_does_again(path: Path) -> None:
    history = History(path)
    for step in (0, 10, 20, 30):
        history.append(snapshot(step))
    resumed = History(path)  # from the checkpoint of step 20: its first state is step 20 again
    for step in (20, 30, 40):
        resumed.append(snapshot(step, table(shift=7)))
    assert steps_of(path) == [0, 10, 20, 30, 40]
    assert {r["alpha"] for r in rows_of(path) if r["step"] == "30" and r["precision"] == "fp32"} == {
        "9",
        "10",
        "11",
        "12",
    }


def test_later_steps_are_kept_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for run in range(3):  # begun anew in the same folder, twice
        with caplog.at_level(logging.WARNING):
            for step in (0, 10):
                History(path).append(snapshot(step, table(shift=run)))
    assert steps_of(path) == [0, 10]
    assert [rows_of(path.with_suffix(f".{n}.csv"))[-1]["step"] for n in (1, 2)] == ["10", "10"]
    assert "kept as alpha_hill_history.2.csv" in caplog.text


def test_a_resume_at_the_last_step_loses_nothing_and_keeps_nothing_aside(path: Path) -> None:
    for step in (0, 10):
        History(path).append(snapshot(step))
    History(path).append(snapshot(10))
    assert steps_of(path) == [0, 10] and list(path.parent.iterdir()) == [path]


def test_a_line_cut_short_by_a_kill_is_dropped(path: Path) -> None:
    for step in (0, 10):
        History(path).append(snapshot(step))
    whole = path.read_text()
    path.write_text(whole + "20,2,checkpoint,model.lay")
    History(path).append(snapshot(20))
    assert steps_of(path) == [0, 10, 20] and path.read_text().startswith(whole)


def test_a_file_of_another_kind_is_never_destroyed(path: Path) -> None:
    path.write_text("my,own,file\n1,2,3\n")
    History(path).append(snapshot(0))
    assert steps_of(path) == [0] and path.with_suffix(".1.csv").read_text() == "my,own,file\n1,2,3\n"


def test_an_error_in_mid_write_loses_only_its_own_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path)
    history.append(snapshot(0))

    def full(descriptor: int) -> None:
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size - 40)  # what a full disk took of the last line
        raise OSError("no space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="no space"):
        patch.setattr("alpha_callbacks.sinks.history_csv.os.fsync", full)
        history.append(snapshot(10))
    history.append(snapshot(20))
    history.append(snapshot(30))
    found = [int(r["step"]) for r in rows_of(path)]
    assert [found.count(step) for step in (0, 10, 20, 30)] == [8, 0, 8, 8]
    assert list(path.parent.iterdir()) == [path]


def test_a_run_goes_on_in_a_file_of_an_earlier_version(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    History(path).append(snapshot(0))
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    frame.drop(columns=["relative_size", "alerts"]).to_csv(path, index=False)
    History(path).append(snapshot(10))
    assert "has no relative_size, alerts: an earlier version wrote it" in caplog.text
    pandas.testing.assert_frame_equal(pandas.read_csv(path, dtype=str, keep_default_na=False)[: len(frame)], frame)
    assert steps_of(path) == [0, 10] and list(path.parent.iterdir()) == [path], "nothing is kept aside"


def test_a_damaged_line_costs_only_itself(path: Path) -> None:
    for step in (0, 10):
        History(path).append(snapshot(step))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:4], "1,2,3\n", *lines[4:]]))
    History(path).append(snapshot(20))
    assert steps_of(path) == [0, 10, 20] and "1,2,3" in path.with_suffix(".1.csv").read_text()


def test_names_with_commas_quotes_and_newlines_survive(path: Path) -> None:
    name = 'a,"b"\nc'
    layer = table((name,))
    History(path).append(snapshot(0, layer))
    History(path).append(snapshot(5, layer))
    assert [from_csv_cell(r["layer_name"]) for r in rows_of(path)] == [name] * 4


def test_a_row_without_alpha_has_its_reason(path: Path) -> None:
    from alpha_callbacks.tables.table import Table

    failed = Table.from_rows([row("a", "fp32", 0, status="failed", reason="RuntimeError: no")], ("fp32",))
    History(path).append(snapshot(3, failed, epoch=None))
    (found,) = rows_of(path)
    assert (found["alpha"], found["status"], found["reason"], found["epoch"]) == ("", "failed", "RuntimeError: no", "")


def test_a_character_cut_in_the_middle_is_part_of_the_line_that_is_dropped(path: Path) -> None:
    layers = table(("слой_é", "b"))
    for step in (0, 10):
        History(path).append(snapshot(step, layers))
    whole = path.read_bytes()
    path.write_bytes(whole + "20,2,checkpoint,сло".encode()[:-1])
    History(path).append(snapshot(20, layers))
    assert path.read_bytes().startswith(whole)
    assert [r["step"] for r in rows_of(path)] == ["0"] * 4 + ["10"] * 4 + ["20"] * 4


def test_bytes_that_are_no_text_cost_their_line_and_are_kept_aside(path: Path) -> None:
    for step in (0, 10):
        History(path).append(snapshot(step))
    damaged = path.read_bytes().replace(b"checkpoint", b"check\xffoint", 1)
    path.write_bytes(damaged)
    History(path).append(snapshot(20))
    assert len(rows_of(path)) == 8 * 3 - 1 and path.with_suffix(".1.csv").read_bytes() == damaged


def test_half_a_state_is_left_out_and_kept_aside(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for step in (0, 10):
        History(path).append(snapshot(step))
    cut = "".join(path.read_text().splitlines(keepends=True)[:-3])
    path.write_text(cut)
    with caplog.at_level(logging.WARNING):
        History(path).append(snapshot(20))
    assert steps_of(path) == [0, 20] and path.with_suffix(".1.csv").read_text() == cut
    assert "ends in the middle of step 10" in caplog.text


def test_a_run_with_fewer_precisions_is_another_run_and_not_half_a_state(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from alpha_callbacks.tables.table import Table

    fewer = Table.from_rows([r for r in table() if r.precision == "fp32"], ("fp32",))
    History(path).append(snapshot(0, fewer))
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    frame.drop(columns=["alerts"]).to_csv(path, index=False)  # and of an earlier version, which is nothing to say then
    before = path.read_text()
    with caplog.at_level(logging.WARNING):
        History(path).append(snapshot(10))
    assert steps_of(path) == [10] and path.with_suffix(".1.csv").read_text() == before
    assert "is of another run" in caplog.text and "earlier version" not in caplog.text


def test_a_file_that_was_deleted_in_mid_run_is_begun_again(path: Path) -> None:
    history = History(path)
    history.append(snapshot(0))
    path.unlink()
    history.append(snapshot(10))
    assert steps_of(path) == [10]


def test_a_state_that_cannot_be_written_leaves_the_file_whole(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(path)
    history.append(snapshot(0))
    before = path.read_bytes()

    def interrupted(descriptor: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("alpha_callbacks.sinks.history_csv.os.fsync", interrupted)
        history.append(snapshot(10))
    assert path.read_bytes() == before


@pytest.mark.parametrize(("off", "event"), [(5e-6, "checkpoint"), (5e-5, "start")])
def test_a_state_that_was_proved_is_known_again_when_a_run_resumes(path: Path, off: float, event: str) -> None:
    """A run that goes on has to solve what the one before had proved from an earlier state."""
    proved, solved = ({"solver": "ritz_fp64_earlier", "alpha_error_bound": 1e-5}, {"alpha_error_bound": 0.0})
    before, after = (
        Table.from_rows((row(LAYERS[0], "fp32", alpha, **how),), ("fp32",))
        for alpha, how in ((2.0, proved), (2.0 + off, solved))
    )
    History(path).append(snapshot(10, before))
    History(path).append(snapshot(10, after, event="start"))
    (found,) = rows_of(path)
    assert (found["event"], found["solver"]) == (event, proved["solver"] if event == "checkpoint" else "gram_fp64")


@pytest.mark.parametrize("solver", ["gram_fp64", "ritz_fp64"])
def test_digits_of_another_solver_are_no_other_values(path: Path, solver: str) -> None:
    """A state whose drift is known is solved for its vectors too, and in a run that resumes it is not."""
    before, after = (
        Table.from_rows((row(LAYERS[0], "fp32", alpha, alpha_error_bound=0.0, solver=by),), ("fp32",))
        for alpha, by in ((2.0, "gram_fp64"), (2.0 + 2e-11, solver))
    )
    History(path).append(snapshot(10, before))
    History(path).append(snapshot(10, after, event="start"))
    assert rows_of(path)[0]["event"] == "checkpoint"


def test_alerts_of_a_run_that_resumes_with_rules_are_written(path: Path) -> None:
    table = Table.from_rows((row(LAYERS[0], "fp32", 2.0),), ("fp32",))
    History(path).append(snapshot(10, table))
    found = (Alert("alpha < 3", LAYERS[0], "fp32", 2.0, 3.0),)
    History(path).append(replace(snapshot(10, table, event="start"), alerts=found))
    assert [line["alerts"] for line in rows_of(path)] == ["alpha < 3"]
