"""What kind of object a host offers, without importing the package that it comes from."""

import sys
from typing import Any


def is_a(offer: Any, *class_names: str) -> bool:
    """Return True if a class of one of these names is among the bases: several packages may have one."""
    return any(base.__name__ in class_names for base in type(offer).__mro__)


def imported(package: str) -> Any:
    """Return a package if somebody has imported it: whoever has a run in this process has."""
    return sys.modules.get(package)
