"""The names of the solvers, for options that are checked where nothing is solved."""

from typing import Literal

Solver = Literal["exact", "fast"]
