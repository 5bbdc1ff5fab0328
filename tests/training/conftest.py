"""Training is not tested by its pictures."""

import pytest

from tests.support.pictures import noise_for_pictures


@pytest.fixture(autouse=True)
def _pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    noise_for_pictures(monkeypatch)
