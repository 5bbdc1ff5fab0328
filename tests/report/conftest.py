"""One browser for the tests of pages."""

from collections.abc import Iterator

import pytest

from tests.support.pages import close_browser


@pytest.fixture(scope="package", autouse=True)
def _one_browser() -> Iterator[None]:
    yield
    close_browser()
