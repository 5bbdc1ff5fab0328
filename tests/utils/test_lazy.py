import threading

import pytest

from alpha_callbacks.utils.lazy import lazy_property


class Thing:
    """With a property that counts its computations."""

    def __init__(self, gate: threading.Barrier | None = None) -> None:
        self.computed, self._gate = 0, gate

    @lazy_property
    def value(self) -> int:
        """A value."""
        if self._gate is not None:
            self._gate.wait(timeout=20)
        self.computed += 1
        return self.computed

    @lazy_property
    def failing(self) -> int:
        """Never there."""
        self.computed += 1
        raise ValueError("not now")


def test_computed_once_per_instance() -> None:
    one, other = Thing(), Thing()
    assert "value" not in one.__dict__
    assert (one.value, one.value, other.value) == (1, 1, 1)
    assert one.__dict__["value"] == 1
    assert isinstance(Thing.value, lazy_property) and Thing.value.__doc__ == "A value."


def test_instances_do_not_wait_for_each_other() -> None:
    gate = threading.Barrier(2)
    things = [Thing(gate), Thing(gate)]
    threads = [threading.Thread(target=lambda thing=thing: thing.value) for thing in things]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [thing.computed for thing in things] == [1, 1]


def test_an_error_is_not_kept() -> None:
    thing = Thing()
    for attempt in (1, 2):
        with pytest.raises(ValueError, match="not now"):
            thing.failing  # noqa: B018
        assert thing.computed == attempt
