"""No search for cyclic garbage while many objects are made that all stay."""

import gc
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def without_collection(make: Callable[_P, _R]) -> Callable[_P, _R]:
    """Return the same function, during whose calls Python looks for no cyclic garbage.

    Else it goes through all objects of the process again and again, a fifth to a half of the time that listing 18,000
    experts takes. What nothing refers to is freed as ever.
    """

    @wraps(make)
    def made(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not gc.isenabled():
            return make(*args, **kwargs)
        gc.disable()
        try:
            return make(*args, **kwargs)
        finally:
            gc.enable()

    return made
