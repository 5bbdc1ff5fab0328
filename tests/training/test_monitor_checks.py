"""Steps that a monitor accepts, and those that it refuses by name."""

from typing import Any

import numpy as np
import pytest
import torch

from alpha_callbacks.errors import OptionError
from alpha_callbacks.options import AnalysisOptions
from alpha_callbacks.training.monitor import Monitor
from alpha_callbacks.training.monitor_checks import checked_step


@pytest.mark.parametrize("step", [7, np.int64(7), np.uint8(7), np.array(7), torch.tensor(7), torch.tensor([7])])
def test_integers_of_any_kind_become_an_int(step: Any) -> None:
    assert checked_step(step) == 7 and type(checked_step(step)) is int


@pytest.mark.parametrize(
    "step",
    [7.0, None, True, -1, "7", np.float32(7), np.True_, torch.tensor(7.0), torch.tensor(True), torch.tensor([1, 2]),
     torch.tensor(-1), np.array([1, 2]), float("nan")],
    ids=repr,
)  # fmt: skip
def test_anything_else_is_refused_by_name(step: Any) -> None:
    with pytest.raises(OptionError, match="step: expected a whole number of optimizer steps from 0, got "):
        checked_step(step)


def test_log_checks_the_step_before_anything_is_opened(tmp_path: Any) -> None:
    monitor = Monitor(AnalysisOptions(precisions=("fp32",)), output_dir=tmp_path / "out")
    with pytest.raises(OptionError, match="step: expected a whole number"):
        monitor.log(torch.nn.Linear(32, 32), None)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"step: expected a whole number .* got 1\.5"):
        monitor.log_checkpoint(tmp_path / "a.ckpt", 1.5)  # type: ignore[arg-type]
    assert not monitor.running and not (tmp_path / "out").exists()


def test_a_converted_step_is_the_one_recorded(tmp_path: Any) -> None:
    with Monitor(AnalysisOptions(precisions=("fp32",)), output_dir=tmp_path, sinks=[]) as monitor:
        snapshot = monitor.log(torch.nn.Linear(32, 32), torch.tensor(5))  # type: ignore[arg-type]
    assert snapshot is not None and type(snapshot.step) is int and monitor.newest == 5


@pytest.mark.parametrize("huge", [1e300, 10**400])
def test_all_of_the_memory_is_an_amount_too(tmp_path: Any, huge: float) -> None:
    with Monitor(AnalysisOptions(precisions=("fp32",)), output_dir=tmp_path, sinks=[], reuse_gb=huge) as monitor:
        assert monitor.log(torch.nn.Linear(32, 32), 0) is not None
