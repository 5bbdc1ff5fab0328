"""Pictures that need no drawing, which has its own tests (tests/plots/test_cards.py)."""

import zlib

import numpy as np
import pytest

from alpha_callbacks.tables.table import Table


def noise_for_pictures(patch: pytest.MonkeyPatch) -> None:
    """Let loggers get noise in place of cards, different for each card and step, under the names of the real ones."""

    def card(table: Table, kind: str, *rest: str) -> tuple[str]:
        return (" ".join((kind, *rest)),)

    def pixels(text: str) -> np.ndarray:
        return np.random.default_rng(zlib.crc32(text.encode())).integers(0, 256, (40, 70, 3), dtype=np.uint8)

    for name, stand_in in (("bar_card", card), ("heat_card", card), ("_pixels", pixels)):
        patch.setattr(f"alpha_callbacks.plots.cards.draw_cards.{name}", stand_in)
