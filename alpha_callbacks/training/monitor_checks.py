"""Checks of what a monitor is given."""

import math
from operator import index
from types import UnionType
from typing import Any

import torch
from torch import Tensor

from alpha_callbacks.errors import OptionError
from alpha_callbacks.sinks.sink import check_sinks


def check_monitor_options(
    *, on_error: Any, max_seconds: Any, threads: Any, sinks: Any, images: Any = True, reuse_gb: Any = 0
) -> None:
    """Check the options of `Monitor` that it does not hand on.

    Raises:
        OptionError: names the option, what was expected, and the value.
    """
    if on_error not in ("warn", "raise"):
        raise OptionError(f"on_error: expected warn or raise, got {on_error!r}.")
    if max_seconds is not None and not (_is_number(max_seconds, float | int) and max_seconds > 0):
        raise OptionError(f"max_seconds: expected a positive number, got {max_seconds!r}.")
    if threads is not None and not (_is_number(threads, int) and threads >= 1):
        raise OptionError(f"threads: expected a whole number from 1, got {threads!r}.")
    if not isinstance(images, bool) and not (_is_number(images, int) and images >= 0):
        raise OptionError(f"images: expected true, false or every how many states, got {images!r}.")
    if not (_is_number(reuse_gb, float | int) and 0 <= reuse_gb < math.inf):
        raise OptionError(f"reuse_gb: expected a number of gigabytes from 0, got {reuse_gb!r}.")
    check_sinks(sinks)


def checked_step(step: Any) -> int:
    """Return a step as an int; NumPy's integers and tensors that hold one are converted.

    Raises:
        OptionError: anything else: a float, None, a bool, a negative number.

    Examples:
        >>> checked_step(3), checked_step(torch.tensor(4))
        (3, 4)
    """
    problem = OptionError(f"step: expected a whole number of optimizer steps from 0, got {step!r}.")
    is_bool = getattr(step, "dtype", type(step)) in (bool, "bool", torch.bool)
    if is_bool or isinstance(step, Tensor) and (step.is_floating_point() or step.numel() != 1):
        raise problem
    try:
        number = int(step) if isinstance(step, Tensor) else index(step)
    except TypeError:
        raise problem from None
    if number < 0:
        raise problem
    return number


def _is_number(value: object, kinds: type | UnionType) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)
