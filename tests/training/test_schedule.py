"""Schedules."""

from typing import Any

import pytest

from alpha_callbacks.errors import OptionError
from alpha_callbacks.training.schedule import Schedule


@pytest.mark.parametrize("every", ["checkpoint", "epoch", "train_end", 1, 500])
def test_choices(every: Any) -> None:
    assert Schedule(every).every == every


@pytest.mark.parametrize("every", ["chekpoint", "", 0, -3, True, None, 2.5])
def test_bad_choices_are_named(every: Any) -> None:
    with pytest.raises(OptionError, match="every: expected checkpoint, epoch, train_end or a number of steps from 1"):
        Schedule(every)


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
@pytest.mark.parametrize("every", [1, 2, 5])
def test_no_multiple_is_missed_whatever_the_stride(every: int, stride: int) -> None:
    """A GAN with two optimizers counts two steps a batch; gradient accumulation counts none for a while."""
    schedule, last, taken = Schedule(every), 0, []
    for step in range(0, 60, stride):
        if schedule.crossed(step, last):
            taken.append(step)
            last = step
    intervals = {step // every for step in taken}
    assert intervals == {step // every for step in range(0, 60, stride)} - {0}


@pytest.mark.parametrize("every", ["checkpoint", "epoch", "train_end"])
def test_named_schedules_have_no_steps(every: Any) -> None:
    assert not Schedule(every).crossed(1000, 0)
