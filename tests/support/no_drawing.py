"""For a program that `warm.start` starts: imported `first`, it gives its loggers noise in place of cards."""

import pytest

from tests.support.pictures import noise_for_pictures

noise_for_pictures(pytest.MonkeyPatch())
