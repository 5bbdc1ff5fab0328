"""Garbage is collected as before, whatever became of the call."""

import gc

import pytest

from alpha_callbacks.utils.garbage import without_collection


def test_collection_stops_for_the_call_only() -> None:
    seen = list[bool]()

    @without_collection
    def look(error: Exception | None = None) -> int:
        seen.append(gc.isenabled())
        if error is not None:
            raise error
        return 3

    assert look() == 3 and gc.isenabled()
    with pytest.raises(ValueError, match="of the call"):
        look(ValueError("of the call"))
    assert gc.isenabled()
    gc.disable()
    try:
        assert look() == 3 and not gc.isenabled(), "a user who has switched it off finds it so"
    finally:
        gc.enable()
    assert seen == [False] * 3
