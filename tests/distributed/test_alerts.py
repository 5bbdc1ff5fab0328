"""Alerts on two processes: found alike, and no rank goes on when the other stops."""

from pathlib import Path

import pytest

from tests.distributed.launch import launch

BREAKS = 3


@pytest.mark.parametrize("how", ["here", "background"])
def test_all_ranks_stop_after_the_same_batch(how: str, tmp_path: Path) -> None:
    first, second = launch("alert_worker.py", tmp_path, how)
    assert first["stopped"] and second["stopped"] and first["steps"] == second["steps"]
    assert first["steps"] == BREAKS if how == "here" else BREAKS < first["steps"] < 300
    assert first["found"] == second["found"] == [["non_finite", "gate", False], ["non_finite in gate", "gate", True]]
    assert first["delivered"][-1] == BREAKS and second["delivered"] == []
    assert first["output"].count("non_finite in gate: gate. Training stops.") == 1
    assert "Training stops" not in second["output"]
