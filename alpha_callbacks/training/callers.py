"""What a hook is not given, found in the frames of the functions that called it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def of_a_caller(find: Callable[[Mapping[str, Any]], T | None]) -> T | None:
    """Return what `find` makes of the local variables of the nearest caller that has it; None if none has."""
    frame = inspect.currentframe()
    try:
        while frame is not None:
            found = find(frame.f_locals)
            if found is not None:
                return found
            frame = frame.f_back
        return None
    finally:
        del frame  # it leads to this frame: a cycle
