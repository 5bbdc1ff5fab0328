import csv
import logging
import re
from pathlib import Path
from typing import Any

import pytest

from alpha_callbacks.control.control_log import FILE, HEADER, ControlLog
from alpha_callbacks.control.layerwise_control import Decision
from alpha_callbacks.control.rules import RULES, MeasuredLayer
from alpha_callbacks.sinks.sink import MemorySink
from tests.sinks.test_keys import documented


def decision(step: int) -> Decision:
    layers = (MeasuredLayer("blocks.0.fc", "mlp_up", 2.5, 64), MeasuredLayer("é,head", "lm_head", float("nan"), 0))
    multipliers = {"blocks.0.fc": 1.5, "é,head": 1.0}
    return Decision(step, RULES["tempbalance"], layers, multipliers, {"blocks.0.fc": 0.01, "é,head": 0.02}, 0.25)


def rows(folder: Path) -> list[list[str]]:
    header, *found = csv.reader((folder / FILE).read_text(encoding="utf-8").splitlines())
    assert header == HEADER
    return found


def steps(folder: Path) -> list[str]:
    return [row[0] for row in rows(folder)[::2]]


def write(folder: Path, *at: int, **options: Any) -> None:
    log = ControlLog(folder, **{"sinks": [], **options})
    for step in at:
        log.write(decision(step))
    log.close()


def test_a_row_per_decision_and_layer(tmp_path: Path) -> None:
    write(tmp_path, 0, 40)
    assert rows(tmp_path)[:2] == [
        ["0", "tempbalance", "lr", "blocks.0.fc", "mlp_up", "2.5", "64", "0.01", "1.5"],
        ["0", "tempbalance", "lr", "é,head", "lm_head", "nan", "0", "0.02", "1.0"],
    ]
    assert steps(tmp_path) == ["0", "40"]


def test_a_resumed_run_continues_the_file_and_loses_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, 0, 40)
    write(tmp_path, 80)
    assert steps(tmp_path) == ["0", "40", "80"] and not caplog.text
    with caplog.at_level(logging.WARNING):
        write(tmp_path, 40, 60)
    assert steps(tmp_path) == ["0", "40", "60"]
    aside = tmp_path / "layerwise_control.1.csv"
    assert "80,tempbalance" in aside.read_text(encoding="utf-8")
    assert "had rows of step 40 or later; the old file is kept as layerwise_control.1.csv" in caplog.text


def test_a_file_that_is_none_of_ours_is_kept(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("my,own\n1,2\n")
    write(tmp_path, 0)
    assert steps(tmp_path) == ["0"]
    assert (tmp_path / "layerwise_control.1.csv").read_text() == "my,own\n1,2\n"


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    write(tmp_path, 0)
    with (tmp_path / FILE).open("a") as file:
        file.write("40,tempbal")
    write(tmp_path, 80)
    assert steps(tmp_path) == ["0", "80"]


def test_values_and_those_per_layer(tmp_path: Path) -> None:
    memory = MemorySink()
    write(tmp_path, 0, sinks=[memory])
    summary = {"lr_min": 1.0, "lr_mean": 1.25, "lr_max": 1.5, "seconds": 0.25}
    layers = {"alpha_control_lr/blocks_0_fc": 1.5, "alpha_control_lr/__head": 1.0}
    assert memory.values == [(0, {f"alpha_control/{name}": value for name, value in summary.items()} | layers)]
    write(tmp_path, 40, sinks=[memory], per_layer_scalars=False)
    assert not any("alpha_control_lr/" in name for name in memory.values[1][1])
    assert memory.closed == 2 and memory.snapshots == []


def test_the_page_of_keys_lists_what_is_logged(tmp_path: Path) -> None:
    memory = MemorySink()
    write(tmp_path, 0, sinks=[memory])
    named = (name.replace("<setting>", "lr").replace("<layer>", r"\w+") for name in documented("control"))
    patterns = [re.compile(name) for name in named]
    keys = list(memory.values[0][1])
    assert [key for key in keys if not any(pattern.fullmatch(key) for pattern in patterns)] == []
    assert [p.pattern for p in patterns if not any(p.fullmatch(key) for key in keys)] == []


def test_a_sink_that_fails_costs_a_warning_and_no_row(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemorySink):
        def log_values(self, *args: Any) -> None:
            raise RuntimeError("server is down")

    with caplog.at_level(logging.WARNING):
        write(tmp_path, 0, 40, sinks=[Broken()])
    assert steps(tmp_path) == ["0", "40"] and caplog.text.count("server is down") == 1


def test_sinks_without_values_and_other_runs_in_the_folder(tmp_path: Path) -> None:
    class Old:
        def log(self, snapshot: object) -> None: ...
        def close(self) -> None: ...

    log = ControlLog(tmp_path / "a", sinks=[Old()])
    write(tmp_path / "a", 0)
    log.write(decision(8))
    log.close()
    assert steps(tmp_path / "a-2") == ["0"] and steps(tmp_path / "a") == ["8"]
