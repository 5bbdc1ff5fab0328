"""What `fast` solves by fp32 arithmetic, for tests: small matrices too, whatever machine the tests run on."""

import pytest

from alpha_callbacks.solvers import shortest_way


def fast_from(size: int, patch: pytest.MonkeyPatch) -> None:
    """Let `fast` begin at so many eigenvalues, on any number of cores."""
    patch.setattr(shortest_way, "_MANY", size)
    patch.setattr(shortest_way, "_FEW", 10**6)
